"""The timeline of a pipeline in a notebook: the picture of the report, with its colours written into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.report.markup import NOTHING, Markup, element, fragment
from deploy.report.page.still_timeline import still_timeline

if TYPE_CHECKING:
    from deploy.report.records import PipelineRecord

_MOST_TICKS = 240
"""Ticks in a picture; windows of more ticks would be too narrow to read."""

_SAMPLES = (
    "#2f6db3", "#2f7f5d", "#7a5aa8", "#22718a", "#9c4f7c", "#5365a0", "#4d7434", "#646873",
)  # fmt: skip
_STALLS = {"starved": "#d9a016", "blocked": "#d2551c", "drained": "#8590a1"}
_FEW_STAGES = 30
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,sans-serif"


def draw_timeline(pipeline: PipelineRecord) -> Markup:
    """Firing windows and stalls of every stage over the first ticks of the run."""
    shown = min(pipeline["num_ticks"], _MOST_TICKS)
    many = len(pipeline["stages"]) > _FEW_STAGES
    cut = shown < pipeline["num_ticks"]

    def paint(kind: str) -> dict[str, object]:
        small = 9.5 if many else 13
        match kind:
            case "picture":
                return {
                    "style": f"width:100%;max-width:1000px;display:block;overflow:visible;font-family:{_FONT}"
                }
            case "grid":
                return {"stroke": "currentColor", "stroke_width": 0.7, "stroke_opacity": 0.22}
            case "axis":
                return {
                    "fill": "currentColor", "fill_opacity": 0.75, "font_size": 12, "text_anchor": "middle",
                }  # fmt: skip
            case "stage":
                return {"fill": "currentColor", "font_size": small}
            case "in-box":
                return {"fill": "#fff", "font_size": small - 1, "text_anchor": "middle"}
            case _ if kind.startswith("sample-"):
                return {"fill": _SAMPLES[int(kind.removeprefix("sample-"))]}
            case _:
                return {"fill": _STALLS[kind], "fill_opacity": 0.55 if kind == "drained" else 1}

    return fragment(
        still_timeline(pipeline, paint, shown),
        _legend(),
        element(
            "div",
            f"Ticks 0 to {shown} of {pipeline['num_ticks']:,}; report.html has all of them.",
            style="opacity:.72",
        )
        if cut
        else NOTHING,
    )


def _legend() -> Markup:
    entries = (
        (_SAMPLES[0], "12px", "busy: fires; one colour per sample, with its number"),
        (_STALLS["starved"], "5px", "starved: waits for spikes of a source"),
        (_STALLS["blocked"], "8px", "blocked: waits for a free slot at a target"),
        (_STALLS["drained"], "3px", "drained: no sample"),
    )
    return element(
        "div",
        *(
            element(
                "span",
                element(
                    "span",
                    style=f"display:inline-block;width:12px;height:{height};background:{colour};"
                    f"margin-right:6px",
                ),
                words,
                style="margin-right:18px;white-space:nowrap",
            )
            for colour, height, words in entries
        ),
        style="font-size:.9em;opacity:.85;line-height:1.7",
    )
