"""Make figures of README and docs/ again, from commands, and write them into the pages.

    python benchmarks/figures digits pipeline
    python benchmarks/figures --only-pages         # from what was measured before

Each part writes what it measured to ``docs/figures/NAME.json`` with the commands that it ran; its page shows
exactly that. Models are trained once, into ``--work``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # run as `python benchmarks/figures`
    sys.path[0] = str(Path(__file__).parents[2])

from benchmarks.figures import (
    counts,
    digits,
    imported,
    pe_array,
    pictures,
    pipeline,
    reliability,
    sanafe,
)
from benchmarks.figures.commands import ROOT, Commands, made_with
from benchmarks.figures.pages import made_by, write_figure


@dataclass(frozen=True, kw_only=True)
class Part:
    """Figures that are made together.

    Attributes:
        page: the page of ``docs/`` that has them, or None if the part makes pictures only.
        cost: what it takes on one core, models included.
        measure: runs the commands.
        show: Markdown of each block of the page, from what was measured.
    """

    page: str | None
    cost: str
    measure: Callable[..., dict[str, Any]]
    show: Callable[[dict[str, Any]], dict[str, str]] = lambda found: {}


PARTS = {
    "digits": Part(page="trace.md", cost="1 minute", measure=digits.measure, show=digits.show),
    "dataflows": Part(page="pe-array.md", cost="seconds",
                      measure=pe_array.measure_dataflows, show=pe_array.show_dataflows),
    "import": Part(page="import.md", cost="1 minute", measure=imported.measure, show=imported.show),
    "max-pools": Part(page="own-network.md", cost="2 minutes",
                      measure=digits.measure_max_pools, show=digits.show_max_pools),
    "pictures": Part(page=None, cost="5 minutes", measure=pictures.draw),
    "export": Part(page="export.md", cost="5 minutes", measure=counts.measure, show=counts.show),
    "pipeline": Part(page="pipeline.md", cost="5 minutes",
                     measure=pipeline.measure, show=pipeline.show),
    "pe-array": Part(page="pe-array.md", cost="5 minutes",
                     measure=pe_array.measure_modes, show=pe_array.show_modes),
    "sana-fe": Part(page="sana-fe.md", cost="15 minutes",
                    measure=partial(sanafe.measure, cases=sanafe.BUILDS), show=sanafe.show_builds),
    "sana-fe-designs": Part(page="sana-fe.md", cost="15 minutes",
                            measure=partial(sanafe.measure, cases=sanafe.DESIGNS), show=sanafe.show_designs),
    "reliability": Part(page="reliability.md", cost="an hour",
                        measure=reliability.measure, show=reliability.show),
}  # fmt: skip

DRAWING = {"pictures", "pe-array"}
"""Parts that write pictures into the folder of the pages."""


def main() -> None:
    parts = "\n".join(f"  {name:16} {part.cost}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=f"parts, and what they take on one core:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="NAME", help="parts to measure")
    parser.add_argument(
        "--only-pages", action="store_true", help="write the pages, measure nothing"
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".figures",
                        help="folder of models and builds (default: .figures)")  # fmt: skip
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the pages")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.parts if name not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not arguments.parts and not arguments.only_pages:
        parser.error(f"name the parts to measure, of {', '.join(PARTS)}; see --help")
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name in arguments.parts:
        measure(name, arguments.work.resolve(), arguments.docs)
    write_pages(arguments.docs, arguments.parts or PARTS)


def measure(name: str, work: Path, docs: Path) -> None:
    """Run the commands of a part and keep what they gave."""
    commands = Commands(folder=work)
    run = PARTS[name].measure
    found = run(commands, docs=docs) if name in DRAWING else run(commands)
    document = {"made_with": made_with(), "commands": commands.ran, "found": found}
    file = docs / "figures" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


def blocks(name: str, docs: Path) -> dict[str, str]:
    """The blocks of a part's page, each with the line that names its command."""
    document = json.loads((docs / "figures" / f"{name}.json").read_text("utf-8"))
    line = made_by(f"python benchmarks/figures {name}", document["made_with"])
    shown = PARTS[name].show(document["found"])
    return {block: figure.strip("\n") + f"\n\n{line}" for block, figure in shown.items()}


def write_pages(docs: Path, names: Any) -> None:
    """Put what was measured into the pages; parts without a measurement are left as they are."""
    for name in names:
        page = PARTS[name].page
        if page is not None and (docs / "figures" / f"{name}.json").is_file():
            for block, figure in blocks(name, docs).items():
                write_figure(docs / page, block, figure)


if __name__ == "__main__":
    main()
