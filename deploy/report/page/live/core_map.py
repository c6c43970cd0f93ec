"""The map of the cores: chips with their tiles and cores at their places, in the colour of a quantity."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from math import log
from typing import NamedTuple

from deploy.report.markup import Markup, element, join, number
from deploy.report.page.live.figures import HEAT_COLOURS, SHARED_SCRIPT, heat_legend, live_figure
from deploy.report.page.view import View
from deploy.report.places import PlacesRecord
from deploy.report.records import Report
from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.cost.tick_cost import TIMES

_TILE_GAP, _CHIP_GAP = 0.4, 2.6
"""In cores."""

_WIDTH = 1160
_LARGEST_CORE, _SMALLEST_CORE = 26, 4
_FAR_MORE = 10  # times the median


class Quantity(NamedTuple):
    """What a core is coloured by: one value per core, or one per different use of a core."""

    key: str
    label: str
    unit: str
    values: list[float]
    is_by_use: bool


class _Scale(NamedTuple):
    """From ``low`` to ``top``: linear from 0, or logarithmic if few cores have far more than the others."""

    low: float
    top: float

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        ordered = sorted(values)
        top = ordered[-1] if ordered else 0
        low = next((value for value in ordered if value > 0), top)
        is_logarithmic = low < top > _FAR_MORE * ordered[len(ordered) // 2]
        return cls(low if is_logarithmic else 0, top)

    def colour(self, value: float) -> int:
        """Number of the colour of a value."""
        if value <= 0:
            return 0
        share = log(value / self.low) / log(self.top / self.low) if self.low else value / self.top
        return min(HEAT_COLOURS - 1, int(HEAT_COLOURS * share))


def _per_core(report: Report, quantity: Quantity) -> Sequence[float]:
    if not quantity.is_by_use:
        return quantity.values
    return [quantity.values[use] for use in report["mapping"]["places"]["use"]]


def core_map(report: Report) -> Markup:
    """Every core at its place on its chip."""
    places, shown = report["mapping"]["places"], _quantities(report)
    first = shown[0]
    scale = _Scale.of(_per_core(report, first))
    return live_figure(
        "core-map-figure",
        {
            "places": places,
            "owners": _owners(report),
            "quantities": [quantity._asdict() for quantity in shown],
            "first": first.key,
            "limits": {name: CORE_LIMITS[name].label for name in places["available"]},
        },
        element(
            "p",
            f"Colour: {first.label}{', logarithmic' * (scale.low > 0)}. ",
            heat_legend(number(scale.low), f"{number(scale.top)} {first.unit}"),
        ),
        _still(report, first),
        caption=(
            "Each square is a core that the network uses, at its place among the mesh tiles of its chip. "
            "Cores that nothing uses are outlined."
        ),
    )


def _owners(report: Report) -> list[tuple[str, int, int]]:
    """Population, replica and number of cores of each replica, in the order of the cores."""
    places, populations = report["mapping"]["places"], report["mapping"]["populations"]
    return [
        (name, replica, populations[name]["cores"] // populations[name]["replicas"])
        for name in places["edges"]
        for replica in range(populations[name]["replicas"])
    ]


def _quantities(report: Report) -> list[Quantity]:
    """What the cores may be coloured by; the first is shown without scripts."""
    places = report["mapping"]["places"]
    at = TIMES.index("computing")
    found = [
        Quantity(
            f"time-{profile}",
            f"computing time per sample, {profile}",
            "µs",
            [_rounded(1e6 * times[at]) for times in cost["core_times"]],
            False,
        )
        for profile, cost in report["costs"].items()
    ]
    found.append(Quantity("busy", "ticks in which it fires", "%", _busy_shares(report), False))
    found.append(Quantity("neurons", "neurons", "", [*places["uses"]["neurons"]], True))
    found += [
        Quantity(limit, CORE_LIMITS[limit].label, "", [*places["uses"][limit]], True)
        for limit in places["available"]
    ]
    return found


def _busy_shares(report: Report) -> list[float]:
    """Per core, the share of the steady state's ticks in which its stage fires, in per cent."""
    shares: dict[str, list[float]] = {}
    for stage in report["pipeline"]["stages"].values():
        share = _rounded(100 * stage["steady_shares"]["busy"])
        shares.setdefault(stage["population"], []).append(share)
    return [
        share
        for name, replica, cores in _owners(report)
        for share in repeat(shares[name][replica], cores)
    ]


def _rounded(value: float) -> float:
    """Three digits, which keeps the page small."""
    return float(f"{value:.3g}")


def _still(report: Report, quantity: Quantity) -> Markup:
    """The map as one picture, with a path per colour; as many chips side by side as the page is wide."""
    places = report["mapping"]["places"]
    of_chip = places["width"] * places["height"] * places["cores_per_tile"]
    chips = sorted({core // of_chip for core in places["core"]})
    wide, high = _chip_size(places)
    columns = max(1, min(len(chips), int(_WIDTH / (_SMALLEST_CORE * (wide + _CHIP_GAP)))))
    unit = min(_LARGEST_CORE, _WIDTH / (columns * (wide + _CHIP_GAP)))
    corner = {
        chip: ((i % columns) * (wide + _CHIP_GAP), (i // columns) * (high + _CHIP_GAP) + 1.6)
        for i, chip in enumerate(chips)
    }
    values = _per_core(report, quantity)
    scale = _Scale.of(values)
    paths: list[list[str]] = [[] for _ in range(HEAT_COLOURS)]
    for core, value in zip(places["core"], values, strict=True):
        x, y = _place_on_chip(core % of_chip, places)
        left, up = corner[core // of_chip]
        paths[scale.colour(value)].append(_square(left + x, up + y))
    free = "".join(
        _square(left + x, up + y)
        for left, up in corner.values()
        for x, y in (_place_on_chip(core, places) for core in range(of_chip))
    )
    drawn = (
        element("path", d="".join(path), class_=f"heat-{n}") for n, path in enumerate(paths) if path
    )
    names = (
        element("text", f"chip {chip}", x=left, y=up - 0.4, font_size=1.1)
        for chip, (left, up) in corner.items()
        if unit * wide > 60
    )
    rows = -(-len(chips) // columns)
    size = (columns * (wide + _CHIP_GAP), rows * (high + _CHIP_GAP) + 1)
    return element(
        "svg", element("path", d=free, class_="free"), join(drawn), join(names),
        viewBox=f"0 0 {size[0]:.1f} {size[1]:.1f}", width=float(size[0] * unit), role="img",
        aria_label=f"{len(values):,} cores on {len(chips):,} chips, coloured by {quantity.label}",
    )  # fmt: skip


def _chip_size(places: PlacesRecord) -> tuple[float, float]:
    """Width and height of a chip, in cores."""
    across, down = _tile_shape(places["cores_per_tile"])
    return (
        places["width"] * (across + _TILE_GAP) - _TILE_GAP,
        places["height"] * (down + _TILE_GAP) - _TILE_GAP,
    )


def _tile_shape(cores: int) -> tuple[int, int]:
    """Columns and rows of the cores of a tile, about a square."""
    across = next(n for n in range(1, cores + 1) if n * n >= cores)
    return across, -(-cores // across)


def _place_on_chip(core: int, places: PlacesRecord) -> tuple[float, float]:
    tile, within = divmod(core, places["cores_per_tile"])
    across, down = _tile_shape(places["cores_per_tile"])
    return (
        tile % places["width"] * (across + _TILE_GAP) + within % across,
        tile // places["width"] * (down + _TILE_GAP) + within // across,
    )


def _square(x: float, y: float) -> str:
    return f"M{x + 0.05:.5g} {y + 0.05:.5g}h.9v.9h-.9z"


CORE_MAP = View(
    id="core-map",
    title="Map of the cores",
    standing="places and uses exact, times estimated",
    basis=lambda report: "as mapped; busy ticks of the steady state",
    render=core_map,
    scripts=(SHARED_SCRIPT, "core_map.js"),
)
