"""Check options of a compile run before anything is read: choices, ranges, and what excludes what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite, prod

from deploy.design.compilation import CompileOptions
from deploy.design.limits import MOST_OF_A_RESOURCE, MOST_SHOWN
from deploy.design.lowerings import LOWERINGS
from deploy.optimize.objectives import OBJECTIVES
from toolchain.errors import OptionError
from toolchain.networks.layer_graph import ALIGNMENT_METHODS


def check_options(options: CompileOptions) -> None:
    """Check what does not depend on the network.

    Raises:
        OptionError: naming the option, its value and what it must be.
    """
    for option, value, least, most in (
        ("--weight-bits", options.weight_bits, 2, 8),
        ("--thresholds", options.thresholds, 1, None),
        ("--max-timesteps", options.max_timesteps, 1, None),
        ("--timesteps", options.uniform_timesteps, 1, MOST_OF_A_RESOURCE),
        ("--slots", options.slots, 1, MOST_OF_A_RESOURCE),
        ("--interval", options.interval, 1, None),
        ("--samples", options.samples, 1, MOST_SHOWN),
    ):
        if value is not None:
            _check_range(option, value, least, most)
    named: dict[str, Mapping[str, int]] = {
        "--timesteps": options.timesteps,
        "--slots": options.slots_of,
        "--replicate": options.replicate,
        "--tile-work": options.tile_work,
    }
    for option, values in named.items():
        for name, value in values.items():
            _check_range(f"{option} of {name}", value, 1, MOST_OF_A_RESOURCE)
    if not (isfinite(options.accuracy_budget) and 0 <= options.accuracy_budget <= 100):
        raise OptionError(
            f"--accuracy-budget must be from 0 to 100 percentage points, not {options.accuracy_budget:g}"
        )
    _check_choice("--lowering", options.lowering, LOWERINGS)
    if options.alignment is not None:
        _check_choice("--alignment", options.alignment, ALIGNMENT_METHODS)
    for name, method in options.alignments.items():
        _check_choice(f"--align of {name}", method, ALIGNMENT_METHODS)
    if options.unrolling is not None:
        _check_unrolling(list(options.unrolling))
    _check_search(options)


def _check_search(options: CompileOptions) -> None:
    """Options that a search takes or replaces."""
    takes_interval = False
    if options.optimize is not None:
        _check_choice("--optimize", options.optimize, OBJECTIVES)
        takes_interval = OBJECTIVES[options.optimize].takes_interval
    if options.interval is not None and not takes_interval:
        objectives = " or ".join(name for name, o in OBJECTIVES.items() if o.takes_interval)
        raise OptionError(
            f"--interval is an aim of --optimize {objectives}: add it, or leave out --interval"
        )
    if options.interval is not None and options.replicate:
        raise OptionError("--interval chooses the replicas itself: leave out --replicate")
    if options.accuracy_budget and options.optimize is None:
        raise OptionError(
            "--accuracy-budget is what --optimize may lose: add --optimize, or leave it out"
        )
    if options.exchange_cores and options.optimize is not None:
        raise OptionError(
            "--exchange-cores is a step of --optimize, which tries it itself: leave it out"
        )


def _check_unrolling(sizes: list[int]) -> None:
    if len(sizes) != 4 or min(sizes) < 1:
        raise OptionError(
            f"--unrolling must be four whole numbers M, N, S and V of at least 1, such as 16,4,2,8, not "
            f"{', '.join(map(str, sizes))}"
        )
    if prod(sizes) > MOST_OF_A_RESOURCE:
        raise OptionError(
            f"--unrolling must be at most {MOST_OF_A_RESOURCE:,} elements, not {prod(sizes):,}"
        )


def _check_choice(option: str, value: str, choices: Iterable[str]) -> None:
    known = list(choices)
    if value not in known:
        raise OptionError(f"{option} must be one of {', '.join(known)}, not '{value}'")


def _check_range(option: str, value: int, least: int, most: int | None) -> None:
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most:,}"
        raise OptionError(f"{option} must be {limits}, not {value:,}")
