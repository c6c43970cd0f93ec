"""How many timesteps each activation gets, under a limit on their mean.

The error of the logits is taken as the sum of what each activation causes alone, as methods for mixed
precision do (HAWQ-V2, Dong et al., 2020). The sum is minimized exactly, by dynamic programming over the
total of the timesteps. An exchange then moves timesteps between pairs, judged by the measured error of all
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_GAIN = 0.01
"""Share of the measured error that an exchange must remove; less is within the noise of the images."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensitivity:
    """Error of the logits if one group alone is quantized, at some T.

    Attributes:
        timesteps: the T at which it was measured, rising.
        errors: by name of the group, one for each T.
        weights: number of activations of each group, which share its T.
    """

    timesteps: tuple[int, ...]
    errors: Mapping[str, tuple[float, ...]]
    weights: Mapping[str, int]

    def at_every_step(self, largest: int) -> dict[str, np.ndarray]:
        """Errors at T = 1 to ``largest``: interpolated, both axes logarithmic, and never rising with T."""
        steps = np.log(np.arange(1, largest + 1))
        measured = np.log(self.timesteps)
        result = {}
        for name, errors in self.errors.items():
            logarithms = np.log(np.maximum(errors, 1e-300))
            result[name] = np.minimum.accumulate(np.exp(np.interp(steps, measured, logarithms)))
        return result


def allocate(
    errors: Mapping[str, np.ndarray], weights: Mapping[str, int], budget: int
) -> dict[str, int]:
    """The timesteps with the least sum of errors, of those whose weighted total is within a budget.

    Args:
        errors: by name, the error at T = 1, 2, ...
        weights: how often the T of a name counts.
        budget: limit of the total, at least the sum of the weights.
    """
    names = list(errors)
    best = np.zeros(budget + 1)  # least error of the names so far, by what they may use
    chosen: list[np.ndarray] = []
    for name in names:
        after = np.full(budget + 1, np.inf)
        choice = np.zeros(budget + 1, int)
        for steps, error in enumerate(errors[name], start=1):
            cost = steps * weights[name]
            if cost > budget:
                break
            candidate = np.full(budget + 1, np.inf)
            candidate[cost:] = best[: budget + 1 - cost] + error
            better = candidate < after
            after[better], choice[better] = candidate[better], steps
        best = after
        chosen.append(choice)
    assert np.isfinite(best[budget]), "the budget is below one timestep each"
    timesteps, left = {}, budget
    for name, choice in zip(reversed(names), reversed(chosen), strict=True):
        timesteps[name] = int(choice[left])
        left -= timesteps[name] * weights[name]
    return {name: timesteps[name] for name in names}


def exchange(
    start: Mapping[str, int],
    errors: Mapping[str, np.ndarray],
    weights: Mapping[str, int],
    budget: int,
    measure: Callable[[Mapping[str, int]], float],
    *,
    most_measurements: int,
    on_measurement: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Move timesteps between pairs of names while the measured error falls.

    Pairs are tried in the order of the change that ``errors`` predicts, best first, with moves of an eighth
    of the giver's timesteps and of one.

    Args:
        measure: error of all together.
        most_measurements: calls of ``measure`` after which the search ends.
    """
    current, least = dict(start), measure(start)
    tried = {tuple(current.values())}
    done = 0
    while done < most_measurements:
        moves = [
            m for m in _moves(current, errors, weights, budget) if tuple(m.values()) not in tried
        ]
        for candidate in moves:
            if done == most_measurements:
                return current
            tried.add(tuple(candidate.values()))
            found = measure(candidate)
            done += 1
            on_measurement(done, most_measurements)
            if found < (1 - LEAST_GAIN) * least:
                current, least = candidate, found
                break
        else:
            return current
    return current


def _moves(
    current: Mapping[str, int],
    errors: Mapping[str, np.ndarray],
    weights: Mapping[str, int],
    budget: int,
) -> list[dict[str, int]]:
    """Allocations within the budget that give one name more timesteps, best predicted change first."""
    names = list(current)
    used = sum(current[n] * weights[n] for n in names)
    moves: list[tuple[float, int, dict[str, int]]] = []
    givers: Sequence[str | None] = [None, *names]
    for giver in givers:
        for size in {1, max(1, current[giver] // 8)} if giver else {1}:
            freed = 0
            if giver is not None:
                if current[giver] - size < 1:
                    continue
                freed = size * weights[giver]
            for taker in names:
                gained = (budget - used + freed) // weights[taker]
                gained = min(gained, len(errors[taker]) - current[taker])
                if taker == giver or gained < 1:
                    continue
                moved = dict(current)
                moved[taker] += gained
                if giver is not None:
                    moved[giver] -= size
                changed = {taker} | ({giver} if giver else set())
                change = sum(
                    float(errors[n][moved[n] - 1] - errors[n][current[n] - 1]) for n in changed
                )
                moves.append((change, len(moves), moved))
    return [moved for _, _, moved in sorted(moves, key=lambda move: move[:2])]
