"""The report as one self-contained HTML page."""

from __future__ import annotations

import html
import json
from typing import Any


def render_html(report: dict[str, Any]) -> str:
    """The page for a ``report.json`` document; it loads nothing from elsewhere."""
    title = html.escape(f"{report['model']['file']} on {report['target']['name']}")
    body = html.escape(json.dumps(report, indent=1))
    return f"<!doctype html>\n<meta charset='utf-8'>\n<title>{title}</title>\n<pre>{body}</pre>\n"
