"""The results of one experiment over several seeds: means, spreads, and which differences are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from deploy.reproduce.experiment import Cell, Experiment, Plot


def over_seeds(results: Sequence[Experiment]) -> Experiment:
    """Means over the seeds, with the spread, largest minus smallest, of each cell that differs.

    Args:
        results: one per seed, with the same columns and as many rows.
    """
    first = results[0]
    if len(results) == 1:
        alone = "One training of each network, with seed 0: no spread is known."
        return replace(first, notes=[*first.notes, alone])
    rows, spreads = [], []
    for same_row in zip(*(r.rows for r in results), strict=True):
        cells = [_over_seeds(same_cell) for same_cell in zip(*same_row, strict=True)]
        rows.append([cell for cell, _ in cells])
        spreads.append([spread for _, spread in cells])
    shared = [note for note in first.notes if all(note in r.notes for r in results)]
    single = [
        f"Seed {seed}: {note}"
        for seed, result in enumerate(results)
        for note in result.notes
        if note not in shared
    ]
    combined = replace(first, rows=rows, spreads=spreads)
    return replace(
        combined,
        notes=[
            *shared,
            f"Means of {len(results)} trainings of each network, with seeds 0 to {len(results) - 1}; ± is "
            f"the spread, the largest value minus the smallest.",
            *equal_within_the_spread(combined),
            *single,
        ],
        plot=_mean_plot([r.plot for r in results if r.plot is not None]),
        values={**first.values, "seeds": [{"rows": r.rows, **r.values} for r in results]},
    )


def _over_seeds(cells: Sequence[Cell]) -> tuple[Cell, float | None]:
    """Mean and spread of one cell; a text that differs is shown with all its values."""
    if all(cell == cells[0] for cell in cells):
        return cells[0], None
    numbers = [cell for cell in cells if isinstance(cell, int | float)]
    if len(numbers) < len(cells):
        return " / ".join("—" if cell is None else str(cell) for cell in cells), None
    return fmean(numbers), float(max(numbers) - min(numbers))


def equal_within_the_spread(experiment: Experiment) -> list[str]:
    """A note that names the accuracies that differ by less than the larger of their spreads.

    Those of one column are compared with each other, and those of a table with one row along it. A gain is
    none if it is smaller than its own spread.
    """
    found = []
    for place, candidates in _comparisons(experiment):
        groups = [g for g in _groups(candidates) if len(g) > 1]
        if groups:
            found.append(f"{place}{', '.join(' = '.join(group) for group in groups)}")
    for index, column in enumerate(experiment.columns):
        if column.startswith("gain"):
            cells = [(str(row[0]), row[index]) for row in experiment.rows]
            none = [
                label
                for (label, gain), spreads in zip(cells, experiment.spreads, strict=True)
                if isinstance(gain, float) and abs(gain) < (spreads[index] or 0)
            ]
            if none:
                found.append(f"no {column.removesuffix(' %')} of {', '.join(none)}")
    what = "Smaller than the spread, and so no differences"
    return [f"{what}: {'; '.join(found)}."] if found else []


_Candidate = tuple[str, float, float]
"""Name, mean and spread."""


def _comparisons(experiment: Experiment) -> Iterator[tuple[str, list[_Candidate]]]:
    """What is compared with each other, with the name of its column."""
    measured = [
        index
        for index, column in enumerate(experiment.columns)
        if column.endswith("%")
        and not column.startswith("gain")
        and any(spreads[index] is not None for spreads in experiment.spreads)
    ]

    def candidate(name: str, row: int, index: int) -> Iterator[_Candidate]:
        cell = experiment.rows[row][index]
        if isinstance(cell, int | float):
            yield name, float(cell), experiment.spreads[row][index] or 0.0

    if len(experiment.rows) == 1:
        names = {index: experiment.columns[index].removesuffix(" %") for index in measured}
        yield "", [c for index, name in names.items() for c in candidate(name, 0, index)]
        return
    for index in measured:
        rows = enumerate(experiment.rows)
        column = experiment.columns[index].removesuffix(" %")
        yield f"{column}: ", [c for at, row in rows for c in candidate(str(row[0]), at, index)]


def _groups(candidates: Sequence[_Candidate]) -> list[list[str]]:
    """From the best on, those that differ from the best of their group by less than their spreads."""
    groups: list[list[_Candidate]] = []
    for candidate in sorted(candidates, key=lambda c: -c[1]):
        if groups and _are_equal(groups[-1][0], candidate):
            groups[-1].append(candidate)
        else:
            groups.append([candidate])
    return [[name for name, _, _ in group] for group in groups]


def _are_equal(one: _Candidate, other: _Candidate) -> bool:
    difference = abs(one[1] - other[1])
    return difference == 0 or difference < max(one[2], other[2])


def _mean_plot(plots: Sequence[Plot]) -> Plot | None:
    if not plots:
        return None
    means: dict[str, list[float | None]] = {}
    spreads: dict[str, list[float | None]] = {}
    for label in plots[0].series:
        same = zip(*(plot.series[label] for plot in plots), strict=True)
        cells = [_over_seeds(values) for values in same]
        means[label] = [mean if isinstance(mean, int | float) else None for mean, _ in cells]
        if any(spread is not None for _, spread in cells):
            spreads[label] = [spread for _, spread in cells]
    return replace(plots[0], series=means, spreads=spreads)
