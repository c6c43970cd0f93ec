"""Draw the pictures of the concept pages: ``python docs/pictures`` for all, or name some.

Each module has a function ``pictures`` that returns SVG text by file name. All numbers are results of the
product's own functions; the same input gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import alignment
import max_pooling
import pipeline
import timesteps

MODULES = {m.__name__: m for m in (timesteps, alignment, pipeline, max_pooling)}
OUT = Path(__file__).parent.parent / "concepts"


def main(names: list[str]) -> None:
    for name in names or MODULES:
        if name not in MODULES:
            sys.exit(f"no pictures are named '{name}'; choose from {', '.join(MODULES)}")
        for file_name, drawn in MODULES[name].pictures().items():
            (OUT / file_name).write_text(drawn, encoding="utf-8")
            print(f"docs/concepts/{file_name}")


if __name__ == "__main__":
    main(sys.argv[1:])
