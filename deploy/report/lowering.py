"""How the integers of a build were chosen: records, a table of the steps, and a sentence."""

from __future__ import annotations

from deploy.design.compilation import Design
from deploy.report.records import LoweringRecord, LoweringStepRecord, Report, plain
from deploy.report.tables import Emphasis, Table, names, numbers, tabulate
from toolchain.rounding.plan import Lowering


def lowering_record(design: Design) -> LoweringRecord:
    """What a report says of lowering."""
    lowering = design.lowering or Lowering(network=design.network)
    images = lowering.images
    return {
        "fitted_images": 0 if images is None else len(images.fitted),
        "held_out_images": 0 if images is None else len(images.held_out),
        "images_sha256": None if images is None else images.sha256,
        "steps": [plain(step) for step in lowering.steps],
        "notes": list(lowering.notes),
    }


def lowering_table(report: Report) -> Table:
    """Each step, and how near its integer network is to the float one on held-out images."""
    steps = report["lowering"]["steps"]
    with_classes = any(step["same_class"] is not None for step in steps)
    return tabulate(
        "integers, step by step",
        steps,
        names("Step", "step", lambda s: s["name"]),
        numbers("equal counts, %", "counts %", lambda s: f"{100 * s['equal_counts']:.2f}"),
        *([numbers("same class, %", "class %", _same_class)] if with_classes else []),
        numbers("logit error", "logit error", lambda s: f"{s['logit_error']:.2e}"),
        names("", "", lambda s: "kept" if s["kept"] else "undone"),
        emphasis=lambda s: Emphasis.NONE if s["kept"] else Emphasis.FAINT,
    )


def lowering_sentences(report: Report) -> list[str]:
    """What the steps were fitted to, and what was left out."""
    lowering = report["lowering"]
    sentences = list(lowering["notes"])
    if lowering["steps"]:
        sentences.insert(
            0,
            f"integers are fitted to {lowering['fitted_images']} training images; each step is compared with "
            f"the float network on {lowering['held_out_images']} others, and undone if it does not lower the "
            f"logit error",
        )
    return sentences


def _same_class(step: LoweringStepRecord) -> str | None:
    return None if step["same_class"] is None else f"{100 * step['same_class']:.2f}"
