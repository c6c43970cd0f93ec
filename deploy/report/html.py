"""The report as one self-contained HTML page: nothing is loaded from elsewhere."""

from __future__ import annotations

from deploy.report.markup import Markup, breakable, element, fragment
from deploy.report.page.frame import page
from deploy.report.page.refusal import REFUSAL_TABS
from deploy.report.page.tabs import REPORT_TABS
from deploy.report.records import RefusalRecord, Report


def render_html(report: Report) -> str:
    """The page for a ``report.json`` document; equal documents give equal bytes."""
    title = _title(report)
    return page(report, REPORT_TABS, f"{title}: report", _banner(title, "fits", "fits"))


def render_refusal(record: RefusalRecord) -> str:
    """The page for a network that does not fit its target; equal records give equal bytes."""
    title = _title(record)
    banner = _banner(title, "does not fit", "refused")
    return page(record, REFUSAL_TABS, f"{title}: does not fit", banner)


def _title(document: Report | RefusalRecord) -> str:
    return f"{document['model']['file']} on {document['target']['name']}"


def _banner(title: str, verdict: str, kind: str) -> Markup:
    return fragment(
        element("h1", breakable(title)), element("span", verdict, class_=f"verdict {kind}")
    )
