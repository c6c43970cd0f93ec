"""Section of the HTML report that holds the pipeline against the PE array."""

from __future__ import annotations

from deploy.report.array_document import STALLS
from deploy.report.array_findings import (
    findings,
    headline,
    off_chip_bytes,
    port_bytes,
    refusal_line,
    silicon,
    skipping_rows,
)
from deploy.report.markup import (
    Markup,
    element,
    join,
    number,
    per_cent,
    scrolling,
    section,
    table,
)
from deploy.report.records import ArrayRecord, ModeRecord, Report
from deploy.report.tables import comparison_table

_BAR_WIDTH, _LABEL_WIDTH, _BAR_ROW = 620, 130, 34


def comparison(report: Report) -> Markup:
    on_array, rows = report["pe_array"], report["comparison"]
    refusal = refusal_line(on_array)
    if not rows and refusal is None:
        return Markup("")
    return section(
        "comparison",
        "Pipeline against PE array",
        "estimate",
        element(
            "p",
            "Both compute the same integers, so their accuracy is the same. Cycles, stalls and traffic of "
            "the array are exact counts; seconds and joules are those times the coefficients below, which "
            "come from different processes and scopes: the array's leave out control and leakage.",
            class_="quiet",
        ),
        scrolling(comparison_table(rows).for_page()) if rows else Markup(""),
        *(_array(on_array) if refusal is None else [element("p", refusal, class_="callout")]),
    )


def _array(on_array: ArrayRecord) -> list[Markup]:
    shown = [n for n in STALLS if any(mode["stalls"][n] for mode in on_array["estimates"])]
    legend = element(
        "div",
        element("span", element("i", class_="iterations"), "iterations of the loop"),
        *(element("span", element("i", class_=f"wait-{n}"), f"waits for {n}") for n in shown),
        element("span", element("i", class_="edges"), "fill and drain"),
        class_="legend",
    )
    skipped = on_array["skipping_samples"]
    return [
        element("p", headline(on_array), class_="quiet"),
        *(element("p", sentence) for sentence in findings(on_array)),
        legend,
        scrolling(cycle_bars(on_array)),
        *([_skipping(on_array)] if skipped else []),
        element("p", silicon(on_array), class_="quiet"),
        *(_layers(mode) for mode in on_array["estimates"]),
    ]


def cycle_bars(on_array: ArrayRecord) -> Markup:
    """One bar a mode, all at one scale: where the cycles of a sample go."""
    modes = on_array["estimates"]
    longest = max(mode["total_cycles"] for mode in modes)
    drawn = []
    for index, mode in enumerate(modes):
        y, x = index * _BAR_ROW, float(_LABEL_WIDTH)
        parts: list[Markup] = [element("text", mode["mode"], x=0, y=y + 18)]
        spent = {"iterations": mode["cycles"]}
        spent |= {f"wait-{name}": mode["stalls"][name] for name in STALLS}
        spent |= {"edges": mode["fill_and_drain_cycles"]}
        for kind, cycles in spent.items():
            if not cycles:
                continue
            size = cycles / longest * _BAR_WIDTH
            title = element("title", f"{mode['mode']}: {kind} {cycles:,} cycles")
            parts.append(element("rect", title, x=x, y=y + 3, width=size, height=22, class_=kind))
            x += size
        parts.append(
            element("text", f"{mode['total_cycles']:,}", x=x + 6, y=y + 18, class_="quiet")
        )
        drawn.append(join(parts))
    width, height = _LABEL_WIDTH + _BAR_WIDTH + 110, _BAR_ROW * len(modes)
    return element(
        "svg", *drawn, width=width, height=height, viewBox=f"0 0 {width} {height}",
        role="img", aria_label="cycles of a sample on the PE array by cause",
    )  # fmt: skip


def _skipping(on_array: ArrayRecord) -> Markup:
    kinds = list(on_array["estimates"][0]["skipping"])
    headings = [kind.replace("_", " ") for kind in kinds]
    return join(
        [
            element(
                "p",
                f"Cycles with zero operands skipped, counted on {on_array['skipping_samples']} test "
                "samples (mean of exact counts): lanes in lockstep, each lane on its own, or only "
                "non-zero operands packed; with the share of the cycles and of the energy. Lanes that do "
                "not stay together read weights of their own, which can cost more than the zeros save.",
            ),
            scrolling(table(["Mode", "none", *headings], skipping_rows(on_array))),
        ]
    )


def _layers(mode: ModeRecord) -> Markup:
    rows = []
    for layer in mode["layers"]:
        roof = layer["roofline"]
        free = roof["stall_free_bytes_per_cycle"]
        waits = {name: cycles for name, cycles in layer["stalls"].items() if cycles}
        rows.append(
            [
                layer["name"],
                layer["frames"],
                number(layer["total_cycles"]),
                per_cent(layer["utilisation"]),
                ", ".join(f"{name} {cycles:,}" for name, cycles in waits.items()) or "nothing",
                number(port_bytes(layer) / 1000),
                number(off_chip_bytes(layer) / 1000),
                number(roof["attained"]),
                number(min(roof["compute_roof"], roof["bandwidth_roof"])),
                "none" if free is None else f"{free:,}",
                number(sum(layer["energy_pj"].values()) / 1000),
            ]
        )
    headings = [
        "Pass", "frames", "cycles", "in use", "Waits for (cycles)", "ports, kB", "off chip, kB",
        "accumulations/cycle", "roof", "stall-free B/cycle", "energy, nJ",
    ]  # fmt: skip
    return element(
        "details",
        element("summary", f"{mode['mode']}: layer by layer"),
        scrolling(table(headings, rows)),
    )
