"""Which designs are tried: all of a small space, in a fixed order, or those that NSGA-II proposes.

Designs are proposed in batches of constant size, and their outcomes are told in order. So the designs depend
neither on where nor on when they are measured, and a run that starts again with known outcomes takes the same
way.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeAlias

from deploy.explore.space import Choices, Space
from toolchain.errors import OptionError

BATCH_DESIGNS = 50
"""Designs that are measured at once: a generation of the sampler."""

_FEWEST_NEW = 0.5
"""Share of new designs in a batch below which the rest of the next one is drawn at random."""

_MOST_COUNTED = 8
"""Combinations of choices per design of the budget up to which the different designs are counted."""

_SHARE_OF_SINGLE = 4
"""Part of the budget that designs with a single change may take."""

_MOST_REPEATS = 20
"""Batches without a new design after which the space counts as exhausted."""

Costs: TypeAlias = tuple[float, ...] | None
"""Of a design, lower is better; None if it cannot be built."""

Proposals: TypeAlias = Generator[list[Choices], list[Costs], None]
"""Yields batches of designs and is sent their costs."""


def every_design(designs: Sequence[Choices]) -> Proposals:
    """All designs, in their order."""
    for start in range(0, len(designs), BATCH_DESIGNS):
        yield list(designs[start : start + BATCH_DESIGNS])


def sampled_designs(
    space: Space, budget: int, num_measures: int, seed: int, key: Callable[[Choices], str]
) -> Proposals:
    """Designs that NSGA-II proposes from the costs of those before.

    The first are the default design and those that differ from it in one parameter. If most of a batch was
    proposed before, designs drawn at random take its place in the next one.

    Args:
        key: by which two designs are the same.

    Raises:
        OptionError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise OptionError(
            f"a space of {space.size:,} designs is searched by Optuna: pip install 'qac-deploy[explore]', "
            f"raise --budget to try all of them, or vary less with --vary"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.NSGAIISampler(population_size=BATCH_DESIGNS, seed=seed)
    study = optuna.create_study(directions=["minimize"] * num_measures, sampler=sampler)
    dice = random.Random(seed)
    names = [parameter.name for parameter in space.parameters]
    proposed: set[str] = set()
    repeats = 0
    enqueued = list(itertools.islice(single_changes(space), max(budget // _SHARE_OF_SINGLE, 1)))
    while repeats < _MOST_REPEATS:
        for choices in enqueued:
            study.enqueue_trial(dict(zip(names, choices, strict=True)))
        trials = [study.ask() for _ in range(BATCH_DESIGNS)]
        batch: list[Choices] = [
            tuple(
                trial.suggest_int(name, 0, len(parameter.choices) - 1)
                for name, parameter in zip(names, space.parameters, strict=True)
            )
            for trial in trials
        ]
        new = {key(choices) for choices in batch} - proposed
        proposed |= new
        for trial, costs in zip(trials, (yield batch), strict=True):
            if costs is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, costs)
        repeats = 0 if new else repeats + 1
        enqueued = []
        if len(new) < _FEWEST_NEW * BATCH_DESIGNS:
            enqueued = _unseen(space, BATCH_DESIGNS - len(new), dice, key, proposed)


def single_changes(space: Space) -> Iterator[Choices]:
    """The default design, and every design with another choice of one parameter."""
    yield space.default
    for at, parameter in enumerate(space.parameters):
        for index in range(1, len(parameter.choices)):
            yield (*space.default[:at], index, *space.default[at + 1 :])


def _unseen(
    space: Space,
    count: int,
    dice: random.Random,
    key: Callable[[Choices], str],
    proposed: set[str],
) -> list[Choices]:
    """Designs drawn at random that were not proposed yet; fewer if few are left."""
    found: dict[str, Choices] = {}
    for _ in range(20 * count):
        choices = tuple(dice.randrange(len(p.choices)) for p in space.parameters)
        if (name := key(choices)) not in proposed:
            found.setdefault(name, choices)
        if len(found) == count:
            break
    return list(found.values())


def all_designs(space: Space, budget: int, key: Callable[[Choices], str]) -> list[Choices] | None:
    """All different designs of a space, if the budget allows them; None if it does not.

    Args:
        key: by which two designs are the same.
    """
    if space.size > _MOST_COUNTED * budget:
        return None
    designs: dict[str, Choices] = {}
    for choices in space.combinations():
        designs.setdefault(key(choices), choices)
        if len(designs) > budget:
            return None
    return list(designs.values())
