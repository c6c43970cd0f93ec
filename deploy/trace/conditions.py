"""The conditions at which a trace stops: a small grammar, in the words of the report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from typing_extensions import assert_never

from deploy.trace.neurons import neuron_text, parse_neuron
from deploy.trace.run import traceable
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.multicore.pipeline.pipeline_ticks import ACTIVITIES, Activity
from toolchain.errors import TraceError
from toolchain.networks.integer_network import IntegerNetwork

Quantity: TypeAlias = Literal["potential", "reached", "input"]
Comparison: TypeAlias = Literal[">=", "<=", "==", "!=", ">", "<"]
End: TypeAlias = Literal["starts", "ends"]


def _examples(name: str) -> str:
    """Every kind of condition, of one population."""
    return (
        f"'{name} fires', '{name}[5] fires', '{name}[0:0:5] potential > 100' (or input, reached; "
        f"{', '.join(get_args(Comparison))}), '{name} blocked' (or busy, starved, drained), "
        f"'{name} starts sample 2' (or ends)"
    )


_NUMBER = r"(-?\d{1,18})"
_NEURON = re.compile(r"\[([^\]]*)\]")
_COMPARES = re.compile(
    rf"({'|'.join(get_args(Quantity))})\s*({'|'.join(get_args(Comparison))})\s*{_NUMBER}"
)
_WINDOW = re.compile(r"(starts|ends)(?:\s+sample\s+(\d{1,9}))?")
_UNTIL = re.compile(r"(tick|sample)\s+(\d{1,9})")


@dataclass(frozen=True, kw_only=True)
class Fires:
    """A neuron spikes, or any of the population if it is None."""

    population: str
    neuron: int | None


@dataclass(frozen=True, kw_only=True)
class Compares:
    """A quantity of a neuron, or of any of the population, meets a comparison with a value."""

    population: str
    neuron: int | None
    quantity: Quantity
    comparison: Comparison
    value: int


@dataclass(frozen=True, kw_only=True)
class IsIn:
    """One of these stages of a population is busy, starved, blocked or drained."""

    population: str
    stages: tuple[str, ...]
    activity: Activity


@dataclass(frozen=True, kw_only=True)
class AtWindow:
    """A firing window starts or ends: that of one sample, or any."""

    population: str
    end: End
    sample: int | None


@dataclass(frozen=True, kw_only=True)
class AtTick:
    """The run has come to a tick."""

    tick: int


Condition: TypeAlias = Fires | Compares | IsIn | AtWindow | AtTick


def parse_break(text: str, network: IntegerNetwork, pipeline: Pipeline) -> Condition:
    """A condition of ``--break``; see ``_examples``.

    Populations may have any name: the longest name with which the text begins is meant.

    Raises:
        TraceError: the text is no condition, or names what is not in the network.
    """
    stages = {name: pipeline.stages(name) for name in pipeline.windows}
    every = {**{s: (s,) for own in stages.values() for s in own}, **stages}
    name = max((n for n in every if text.strip().startswith(n)), key=len, default=None)
    if name is None:
        raise TraceError(
            f"--break '{text}': must begin with a population: {', '.join(stages)}; such as "
            f"{_examples(next(iter(stages)))}"
        )
    rest = text.strip()[len(name) :]
    neuron_given = _NEURON.match(rest)
    words = rest[neuron_given.end() :] if neuron_given else rest
    event = " ".join(words.split())
    if event in ACTIVITIES and not neuron_given:
        owner = next(
            population for population, own in stages.items() if set(every[name]) <= set(own)
        )
        return IsIn(population=owner, stages=every[name], activity=event)
    if (found := _WINDOW.fullmatch(event)) and not neuron_given and name in stages:
        sample = None if found[2] is None else int(found[2])
        return AtWindow(population=name, end=cast(End, found[1]), sample=sample)
    compares = _COMPARES.fullmatch(event)
    if name not in stages or (event != "fires" and not compares):
        raise TraceError(
            f"--break '{text}': '{rest.strip()}' is no condition; such are {_examples(name)}"
        )
    population = traceable(network, name)
    neuron = parse_neuron(neuron_given[1], name, population.shape) if neuron_given else None
    if compares:
        return Compares(
            population=name,
            neuron=neuron,
            quantity=cast(Quantity, compares[1]),
            comparison=cast(Comparison, compares[2]),
            value=int(compares[3]),
        )
    if population.kind == "readout":
        raise TraceError(
            f"--break '{text}': the readout {name} adds up its input and never fires; use its potential, "
            f"such as '{name}[0] potential > 100'"
        )
    return Fires(population=name, neuron=neuron)


def parse_until(text: str, readout: str) -> Condition:
    """A condition of ``--until``: a tick, or a sample whose result is then complete.

    Raises:
        TraceError: the text is none of them.
    """
    found = _UNTIL.fullmatch(" ".join(text.split()))
    if not found:
        raise TraceError(
            f"--until '{text}': must be such as 'tick 40' or 'sample 3'; --break takes events such as "
            f"'join fires'"
        )
    number = int(found[2])
    if found[1] == "tick":
        return AtTick(tick=number)
    return AtWindow(population=readout, end="ends", sample=number)


def population_of(condition: Condition) -> str | None:
    """The population that a condition is about; None for a tick."""
    match condition:
        case Fires() | Compares() | IsIn() | AtWindow():
            return condition.population
        case AtTick():
            return None
        case _:
            assert_never(condition)


def describe_neuron(network: IntegerNetwork, population: str, neuron: int) -> str:
    """``join[5] (0:0:5)``."""
    index, _, where = neuron_text(neuron, network[population].shape).partition(" ")
    return f"{population}[{index}] {where}".rstrip()
