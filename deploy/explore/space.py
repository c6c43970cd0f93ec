"""The designs that an exploration can choose from: parameters with their choices, and the options they give.

The first choice of every parameter is the design as ``compile`` makes it by default. Different choices may
give the same options, such as a number of slots for one buffer that all buffers have anyway; a design is
known by its options.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from math import prod
from typing import Any, TypeAlias

from deploy.design.compilation import CompileOptions
from deploy.design.design import edge_name
from deploy.report.records import plain
from hw_models.multicore.pipeline.initiation_interval import initiation_interval
from hw_models.multicore.pipeline.pipeline import Pipeline
from hw_models.target_description import TargetDescription
from toolchain.errors import OptionError
from toolchain.networks.layer_graph import ALIGNMENT_METHODS, LayerGraph
from toolchain.networks.layer_graph.maximum import compared_populations, possible_alignments

Choices: TypeAlias = tuple[int, ...]
"""The index of the choice of each parameter."""


_MOST_NAMED = 3
"""Most populations or edges that a label names; it counts more."""


class Vary(Enum):
    """What an exploration varies; the values are those of ``--vary``."""

    WEIGHT_BITS = "weight-bits"
    TIMESTEPS = "timesteps"
    ALIGNMENT = "alignment"
    SLOTS = "slots"
    EDGE_SLOTS = "edge-slots"
    REPLICAS = "replicas"


COUNTS: Mapping[Vary, tuple[int, ...]] = {
    Vary.WEIGHT_BITS: (8, 4, 2),
    Vary.SLOTS: (1, 2, 3, 4),
    Vary.EDGE_SLOTS: (1, 2, 3, 4),
    Vary.REPLICAS: (1, 2),
}
"""Values that are tried unless others are given; timesteps go from the trained T down to 1."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One thing that differs between designs.

    Attributes:
        vary: None for the target.
        where: the population or edge that it belongs to; empty if it belongs to the whole design.
        choices: the first one is the default.
    """

    vary: Vary | None
    where: str
    choices: tuple[Any, ...]

    @property
    def name(self) -> str:
        kind = "target" if self.vary is None else self.vary.value
        return f"{kind} {self.where}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Space:
    """The designs of a model.

    Attributes:
        parameters: those of the integer network first, so that designs with one network follow each other.
        base: options that no parameter changes.
        trained: T of each spiking population of the model.
        default_slots: slots of a buffer, by target.
        default_bits: weight bits, by target.
        groups: for each population with a parameter for its T, those with the same T.
        sources: spiking sources of each spiking population.
    """

    parameters: tuple[Parameter, ...]
    base: CompileOptions
    trained: Mapping[str, int]
    default_slots: Mapping[str, int]
    default_bits: Mapping[str, int]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of combinations of choices."""
        return prod(len(parameter.choices) for parameter in self.parameters)

    @property
    def default(self) -> Choices:
        return (0,) * len(self.parameters)

    def combinations(self) -> Iterator[Choices]:
        """All combinations, the default first."""
        return itertools.product(*(range(len(p.choices)) for p in self.parameters))

    def options(self, choices: Choices) -> CompileOptions:
        """The options of a design, without those that are the default anyway."""
        chosen: dict[Vary | None, dict[str, Any]] = {None: {"": self.base.target}}
        for parameter, index in zip(self.parameters, choices, strict=True):
            chosen.setdefault(parameter.vary, {})[parameter.where] = parameter.choices[index]
        target = chosen[None][""]
        bits = chosen.get(Vary.WEIGHT_BITS, {}).get("")
        slots = chosen.get(Vary.SLOTS, {}).get("") or self.default_slots[target]
        own_slots = {
            edge: own for edge, own in chosen.get(Vary.EDGE_SLOTS, {}).items() if own is not None
        }
        most, timesteps = self._timesteps(chosen.get(Vary.TIMESTEPS, {}))
        return replace(
            self.base,
            target=target,
            weight_bits=None if bits == self.default_bits[target] else bits,
            max_timesteps=most,
            timesteps=timesteps,
            alignments={
                name: method
                for name, method in chosen.get(Vary.ALIGNMENT, {}).items()
                if method is not None and not self._single_step(name, most, timesteps)
            },
            slots=None if slots == self.default_slots[target] else slots,
            slots_of={edge: own for edge, own in own_slots.items() if own != slots},
            replicate={n: count for n, count in chosen.get(Vary.REPLICAS, {}).items() if count > 1},
        )

    def _timesteps(self, chosen: Mapping[str, int]) -> tuple[int | None, dict[str, int]]:
        """The cap on all T, and the T of single populations that differ from it or from the trained one."""
        if not chosen:
            return self.base.max_timesteps, dict(self.base.timesteps)
        wanted = {n: min(own, chosen.get("", own)) for n, own in chosen.items() if n} or {}
        everywhere = {
            name: wanted.get(
                next((first for first, group in self.groups.items() if name in group), name),
                min(steps, chosen.get("", steps)),
            )
            for name, steps in self.trained.items()
        }
        most = max(everywhere.values(), default=1)
        cap = most if most < max(self.trained.values(), default=1) else None
        after_cap = {name: min(steps, most) for name, steps in self.trained.items()}
        single = {n: t for n, t in wanted.items() if t != after_cap[n]}
        return cap, single

    def _single_step(self, name: str, most: int | None, timesteps: Mapping[str, int]) -> bool:
        """Whether a population and its sources all have T = 1, so that every alignment is the same."""
        around = (name, *self.sources.get(name, ()))
        steps = (timesteps.get(n, min(self.trained[n], most or self.trained[n])) for n in around)
        return all(step == 1 for step in steps)

    def record(self) -> list[dict[str, Any]]:
        """The parameters as plain data."""
        return [{"name": p.name, "choices": list(p.choices)} for p in self.parameters]


def design_space(
    graph: LayerGraph,
    pipeline: Pipeline,
    targets: Mapping[str, TargetDescription],
    base: CompileOptions,
    vary: Mapping[Vary, Sequence[int | str] | None],
) -> Space:
    """The space of a model's designs.

    Slots of single buffers are varied where the branches of a join meet, and on the critical cycle of the
    default design; replicas are those of populations on this cycle and with the longest firing windows.

    Args:
        pipeline: of the default design.
        targets: by the name or path that chooses each; the first is the default.
        vary: what is varied, with the values to try; None tries the usual ones.

    Raises:
        OptionError: a value is not possible.
    """
    return Space(
        parameters=tuple(_parameters(graph, pipeline, targets, vary)),
        base=replace(base, target=next(iter(targets))),
        trained={p.name: p.timesteps for p in graph.spiking},
        default_slots={name: target.default_buffer_slots for name, target in targets.items()},
        default_bits={name: target.widths.weight_bits for name, target in targets.items()},
        groups={
            group[0].name: tuple(p.name for p in group) for group in compared_populations(graph)
        },
        sources={p.name: _spiking_sources(graph, p.name) for p in graph.spiking},
    )


def _parameters(
    graph: LayerGraph,
    pipeline: Pipeline,
    targets: Mapping[str, TargetDescription],
    vary: Mapping[Vary, Sequence[int | str] | None],
) -> Iterator[Parameter]:
    if len(targets) > 1:
        yield Parameter(vary=None, where="", choices=tuple(targets))
    first = next(iter(targets.values()))
    if Vary.WEIGHT_BITS in vary:
        default = first.widths.weight_bits
        widest = min(target.widths.weight_bits for target in targets.values())
        bits = _counts(Vary.WEIGHT_BITS, vary, most=widest)
        yield from _parameter(Vary.WEIGHT_BITS, "", bits, default)
    if Vary.TIMESTEPS in vary:
        yield from _timesteps(graph, vary)
    if Vary.ALIGNMENT in vary:
        methods = vary[Vary.ALIGNMENT] or ALIGNMENT_METHODS
        for method in methods:
            if method not in ALIGNMENT_METHODS:
                raise OptionError(
                    f"--vary alignment: must be one of {', '.join(ALIGNMENT_METHODS)}, not '{method}'"
                )
        for population in graph.spiking:
            possible = possible_alignments(graph, population.name)
            own = {s.alignment for s in graph.incoming(population.name)}
            others = [m for m in methods if m in possible and {m} != own]
            if others and _spiking_sources(graph, population.name):
                yield from _parameter(Vary.ALIGNMENT, population.name, others, None)
    critical = initiation_interval(pipeline)
    if Vary.SLOTS in vary:
        slots = _counts(Vary.SLOTS, vary)
        yield from _parameter(Vary.SLOTS, "", slots, first.default_buffer_slots)
    if Vary.EDGE_SLOTS in vary:
        edges = [buffer.edge for buffer in pipeline.buffers]
        into = Counter(target for _, target in edges)
        limiting = {buffer.edge for buffer in critical.buffers}
        for edge in dict.fromkeys(edges):
            if into[edge[1]] > 1 or edge in limiting:
                slots = _counts(Vary.EDGE_SLOTS, vary)
                yield from _parameter(Vary.EDGE_SLOTS, edge_name(*edge), slots, None)
    if Vary.REPLICAS in vary:
        longest = max(pipeline.windows.values())
        for name, window in pipeline.windows.items():
            limits = window == longest or name in critical.populations
            if limits and pipeline.incoming(name):
                yield from _parameter(Vary.REPLICAS, name, _counts(Vary.REPLICAS, vary), 1)


def _timesteps(
    graph: LayerGraph, vary: Mapping[Vary, Sequence[int | str] | None]
) -> Iterator[Parameter]:
    """A cap on every T, and the T of each population, or of each group with the same T."""
    followers = {p.name for group in compared_populations(graph) for p in group[1:]}
    longest = max((p.timesteps for p in graph.spiking), default=1)
    given = vary[Vary.TIMESTEPS]
    values = range(longest, 0, -1) if given is None else _counts(Vary.TIMESTEPS, vary)
    singles = [p for p in graph.spiking if p.name not in followers]
    if len(singles) > 1:
        caps = [steps for steps in values if steps <= longest]
        yield from _parameter(Vary.TIMESTEPS, "", caps, longest)
    for population in singles:
        steps = [value for value in values if value <= population.timesteps]
        yield from _parameter(Vary.TIMESTEPS, population.name, steps, population.timesteps)


def _parameter(vary: Vary, where: str, values: Sequence[Any], default: Any) -> Iterator[Parameter]:
    """A parameter whose first choice is the default; none if it has no other choice."""
    choices = (default, *(value for value in dict.fromkeys(values) if value != default))
    if len(choices) > 1:
        yield Parameter(vary=vary, where=where, choices=choices)


def _counts(
    what: Vary, vary: Mapping[Vary, Sequence[int | str] | None], most: int | None = None
) -> list[int]:
    """The numbers to try.

    Args:
        most: largest one that is possible; larger ones are refused if they were given.
    """
    given = vary[what]
    if given is None:
        return [count for count in COUNTS[what] if most is None or count <= most]
    least = 2 if what is Vary.WEIGHT_BITS else 1
    upper = most if most is not None else 1_000
    for value in given:
        if not isinstance(value, int) or not least <= value <= upper:
            raise OptionError(
                f"--vary {what.value}: must be whole numbers from {least} to {upper}, not '{value}'"
            )
    return [int(value) for value in given]


def _spiking_sources(graph: LayerGraph, name: str) -> tuple[str, ...]:
    """The sources of a population that fire; pixels come at once, whatever the alignment."""
    spiking = {p.name for p in graph.spiking}
    return tuple(s.source for s in graph.incoming(name) if s.source in spiking)


def design_key(options: CompileOptions) -> str:
    """A digest of the options that a design is known by."""
    return hashlib.sha256(json.dumps(plain(options), sort_keys=True).encode()).hexdigest()[:16]


def in_words(options: CompileOptions, base: CompileOptions) -> str:
    """What differs from the design as compiled by default."""
    parts = []
    if options.target != base.target:
        parts.append(f"on {options.target}")
    if options.weight_bits is not None:
        parts.append(f"{options.weight_bits}-bit weights")
    if options.max_timesteps is not None:
        parts.append(f"T ≤ {options.max_timesteps}")
    if options.slots is not None:
        parts.append(f"{options.slots} slot{'s' * (options.slots > 1)}")
    named = (
        ("T = {} in", options.timesteps, "populations"),
        ("{} into", options.alignments, "populations"),
        ("{} slot{s} on", options.slots_of, "edges"),
        ("{} replica{s} of", options.replicate, "populations"),
    )
    for before, values, things in named:
        by_value: dict[Any, list[str]] = {}
        for name, value in values.items():
            by_value.setdefault(value, []).append(name)
        for value, names in by_value.items():
            who = ", ".join(names) if len(names) <= _MOST_NAMED else f"{len(names)} {things}"
            parts.append(f"{before.format(value, s='' if value == 1 else 's')} {who}")
    return "; ".join(parts) or "as compiled by default"
