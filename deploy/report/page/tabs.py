"""Every view of the report, tab by tab: to add a view, list it here."""

from __future__ import annotations

from deploy.report.page.array_views import COMPARISON
from deploy.report.page.first_screen import OVERVIEW
from deploy.report.page.hardware_views import CORES, SENSITIVITY, SOURCES
from deploy.report.page.layer_graph import GRAPH
from deploy.report.page.live.activity_map import ACTIVITY
from deploy.report.page.live.core_map import CORE_MAP
from deploy.report.page.live.design_plot import DESIGN_PLOT
from deploy.report.page.live.stall_steps import STALL_STEPS
from deploy.report.page.live.timeline import TIMELINE
from deploy.report.page.lowering_view import LOWERING
from deploy.report.page.pipeline_views import (
    ALIGNMENTS,
    DESIGNS,
    LIMIT,
    PATHS,
    STALLS,
    TIMES,
)
from deploy.report.page.view import Tab
from deploy.report.records import Report

REPORT_TABS: tuple[Tab[Report], ...] = (
    Tab(title="Overview", views=(OVERVIEW,)),
    Tab(title="Layer graph", views=(GRAPH, LOWERING)),
    Tab(title="Timeline", views=(TIMELINE, PATHS)),
    Tab(title="Stalls", views=(LIMIT, STALL_STEPS, STALLS, ALIGNMENTS)),
    Tab(title="Time", views=(TIMES, SENSITIVITY)),
    Tab(title="Cores", views=(CORE_MAP, CORES)),
    Tab(title="Activity", views=(ACTIVITY,)),
    Tab(title="Designs", views=(DESIGN_PLOT, DESIGNS)),
    Tab(title="PE array", views=(COMPARISON,)),
    Tab(title="Sources", views=(SOURCES,)),
)
