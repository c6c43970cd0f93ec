"""The report as one self-contained HTML page: nothing is loaded from elsewhere."""

from __future__ import annotations

from deploy.report.markup import element, fragment
from deploy.report.page.frame import page
from deploy.report.page.refusal import REFUSAL_TABS
from deploy.report.page.tabs import REPORT_TABS
from deploy.report.records import RefusalRecord, Report


def render_html(report: Report) -> str:
    """The page for a ``report.json`` document; equal documents give equal bytes."""
    title = f"{report['model']['file']} on {report['target']['name']}"
    banner = fragment(element("h1", title), element("span", "fits", class_="verdict fits"))
    return page(report, REPORT_TABS, f"{title}: deployment report", banner)


def render_refusal(refusal: RefusalRecord) -> str:
    """The page for a network that does not fit its target."""
    title = f"{refusal['model']['file']} on {refusal['target']['name']}"
    verdict = element("span", "does not fit", class_="verdict refused")
    banner = fragment(element("h1", title), verdict)
    return page(refusal, REFUSAL_TABS, f"{title}: does not fit", banner)
