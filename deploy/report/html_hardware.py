"""Sections of the HTML report on the hardware: cores, and the figures behind the estimates."""

from __future__ import annotations

from typing import Any

from deploy.report.markup import (
    Markup,
    element,
    number,
    per_cent,
    scrolling,
    section,
    table,
)


def cores(report: dict[str, Any]) -> Markup:
    mapping = report["mapping"]
    limits = (
        "compartments", "synapse_words", "input_axons", "output_axons", "threshold_profiles"
    )  # fmt: skip
    rows = [
        [
            name,
            record["cores"],
            record["replicas"],
            *(f"{record[n][0]:,} ({per_cent(record[n][0] / record[n][1])})" for n in limits),
        ]
        for name, record in mapping["populations"].items()
    ]
    return section(
        "mapping",
        "Cores",
        "exact",
        element(
            "p",
            f"{mapping['num_cores']:,} of {mapping['available_cores']:,} cores, on {mapping['num_chips']} "
            f"of {mapping['available_chips']} chips and {mapping['num_tiles']} mesh tiles. From a neuron to "
            f"a core it reaches on its chip, a spike takes {mapping['mean_hops']:.2f} hops on average; "
            f"{per_cent(mapping['share_between_chips'])} leave their chip. Highest use of a core, by "
            f"population:",
            class_="quiet",
        ),
        table(["Population", "cores", "replicas", *(n.replace("_", " ") for n in limits)], rows),
    )


def sensitivity(report: dict[str, Any]) -> Markup:
    if not report["sensitivity"]:
        return Markup("")
    pipeline, profiles = report["pipeline"], list(report["costs"])

    def costs(row: dict[str, Any]) -> list[str]:
        if not row["energy_nj"]:
            return [""] * (2 * len(profiles))  # it does not fit
        return [number(row[f][p]) for p in profiles for f in ("interval_us", "energy_nj")]

    rows = [
        [
            row["figure"],
            f"{row['value']:g} → {row['tried']:g}",
            "does not fit" if row["num_cores"] is None else f"{row['num_cores']:,}",
            "" if row["interval_ticks"] is None else number(row["interval_ticks"]),
            *costs(row),
        ]
        for row in report["sensitivity"]
    ]
    today = [
        element("b", "as compiled"), "", f"{report['mapping']['num_cores']:,}",
        number(pipeline["interval_ticks"]),
        *(
            number(report["costs"][p][field] * scale)
            for p in profiles
            for field, scale in (("interval_s", 1e6), ("energy_per_sample_j", 1e9))
        ),
    ]  # fmt: skip
    headings = [f"{unit}, {p}" for p in profiles for unit in ("µs between results", "nJ a sample")]
    return section(
        "sensitivity",
        "If an assumed figure were wrong",
        "estimate",
        element(
            "p",
            "Each assumed figure of the target halved and doubled, one at a time: what compiling for that "
            "target gives, with the same choices. "
            "Designs of more than 1,000 cores are not mapped again.",
            class_="quiet",
        ),
        scrolling(
            table(["Figure", "value", "cores", "ticks between results", *headings], [today, *rows])
        ),
    )


def sources(report: dict[str, Any]) -> Markup:
    rows = [
        [
            f["figure"],
            number(f["value"]),
            element("span", f["kind"], class_=f"kind {f['kind']}"),
            f["source"],
        ]
        for f in report["provenance"]
    ]
    return section(
        "sources",
        "What is exact, what is an estimate",
        None,
        element(
            "p",
            "Spike counts, spike trains, logits, ticks, stalls and the PE array's cycles are exact and "
            "equal in every engine. Seconds and joules are estimates; so is whatever rests on a figure "
            "marked assumed.",
        ),
        element(
            "details", element("summary", f"All {len(rows)} hardware figures and their sources"),
            table(["Figure", "value", "Kind", "Source"], rows),
        ),
    )  # fmt: skip
