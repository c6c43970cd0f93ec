"""A network that does not fit: how large it is, and which changes would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from deploy.compile.compile_model import compile_model
from deploy.design.accuracy import Accuracy
from deploy.design.arguments import compile_command
from deploy.design.compilation import CompileOptions
from deploy.design.design import build_design
from deploy.design.limits import MOST_POPULATIONS_VARIED
from deploy.report.html import render_refusal
from deploy.report.records import RefusalRecord, Report, TriedRecord
from hw_models.target_description import TargetDescription, built_in_targets, load_target
from toolchain.errors import IntegerWidthError, MappingError, QacDeployError
from toolchain.files.checkpoint import load_checkpoint
from toolchain.files.whole_files import REPORT_PAGE, whole_file
from toolchain.networks.layer_graph import LayerGraph
from toolchain.networks.linear_maps import WeightedMap
from toolchain.passes import chosen_graph
from toolchain.printable import printable

MOST_WEIGHTS_TRIED = 2**22
"""Weights of a network from which on no changes are tried, since lowering it again takes minutes."""

_FEWER_BITS = (4, 2)


def compile_or_explain(
    model: Path,
    out: Path,
    options: CompileOptions,
    on_stage: Callable[[str], None] = lambda stage: None,
    accuracy: Accuracy | None = None,
) -> Report:
    """Compile a model file; if it does not fit, write a page with its size and the changes that would fit.

    Returns:
        The build's report.

    Raises:
        QacDeployError: as ``compile_model``; where the network does not fit, the message names the page.
    """
    try:
        return compile_model(model, out, options, on_stage, accuracy)
    except (IntegerWidthError, MappingError) as error:
        try:
            page = write_refusal(model, out, options, error, on_stage, accuracy)
            more = f"{page} shows its size and what would fit"
        except QacDeployError as failure:
            more = f"no page on what would fit was written: {failure}"
        refused = type(error)(str(error))
        refused.further = printable(more)
        raise refused from error


def write_refusal(
    model: Path,
    out: Path,
    options: CompileOptions,
    error: IntegerWidthError | MappingError,
    on_stage: Callable[[str], None] = lambda stage: None,
    accuracy: Accuracy | None = None,
) -> Path:
    """Write the page of a refused network next to its build folder, and say where.

    Args:
        out: the build folder, which stays as it is.

    Raises:
        QacDeployError: the model cannot be read, or the page cannot be written.
    """
    page = out.parent / f"{out.resolve().name}-refusal.html"
    record = refusal_record(model, out, options, error, on_stage, accuracy)
    with whole_file(page, REPORT_PAGE) as written:
        written.write_text(render_refusal(record), encoding="utf-8")
    return page


def refusal_record(
    model: Path,
    out: Path,
    options: CompileOptions,
    error: IntegerWidthError | MappingError,
    on_stage: Callable[[str], None] = lambda stage: None,
    accuracy: Accuracy | None = None,
) -> RefusalRecord:
    """What a page says of a network that ``compile_model`` refused.

    Args:
        model: the file that was refused.
        out: the build folder that was asked for.
        error: the refusal.
        accuracy: the user's own, as given to ``compile_model``.

    Raises:
        QacDeployError: the model cannot be read.
    """
    target, checkpoint = load_target(options.target), load_checkpoint(model)
    graph = chosen_graph(checkpoint.graph, options)
    function = None if accuracy is None or ":" not in accuracy.name else accuracy.name
    needed = (error.needed_cores if isinstance(error, MappingError) else None) or {}
    not_tried = _why_not_tried(graph)
    tried = (
        list(_tried(model, checkpoint.graph, target, options, function, on_stage))
        if not_tried is None
        else []
    )
    return {
        "model": {
            "file": model.name,
            "path": str(model),
            "training": checkpoint.training,
        },
        "target": {"name": target.name, "description": target.description},
        "command": compile_command(str(model), options, out=str(out), accuracy=function),
        "reason": error.reason if isinstance(error, MappingError) else str(error),
        "needed_cores": sum(needed.values()) if needed else None,
        "available_cores": target.num_cores,
        "available_chips": target.num_chips,
        "cores_per_chip": target.mesh.num_cores,
        "populations": [
            {
                "name": p.name,
                "shape": p.shape,
                "timesteps": p.timesteps,
                "kind": p.kind,
                "cores": needed.get(p.name),
            }
            for p in graph.populations
        ],
        "tried": tried,
        "not_tried": not_tried,
    }


def _why_not_tried(graph: LayerGraph) -> str | None:
    """Why no changes to a network are tried, in one sentence; None if they are."""
    for number, most, counted in (
        (num_weights(graph), MOST_WEIGHTS_TRIED, "weights"),
        (len(graph.populations), MOST_POPULATIONS_VARIED, "populations"),
    ):
        if number > most:
            return (
                f"networks of more than {most:,} {counted} are not lowered again for each change; this one "
                f"has {number:,}"
            )
    return None


def num_weights(graph: LayerGraph) -> int:
    """Weights of all maps of a network."""
    maps = (m for s in graph.synapses for m in s.maps)
    return sum(m.weight.size for m in maps if isinstance(m, WeightedMap))


def _tried(
    model: Path,
    graph: LayerGraph,
    target: TargetDescription,
    options: CompileOptions,
    function: str | None,
    on_stage: Callable[[str], None],
) -> Iterator[TriedRecord]:
    """Each change, and whether the network then fits; those that fit first, with the fewest cores first."""
    found = []
    for change, changed in _changes(graph, target, options):
        on_stage(f"trying: {change}")
        mapping, refusal, on = None, None, load_target(changed.target)
        try:
            mapping = build_design(graph, on, changed).mapping
        except QacDeployError as error:
            refusal = _shortly(error, on)
        found.append(
            TriedRecord(
                change=change,
                command=compile_command(str(model), changed, accuracy=function),
                num_cores=None if mapping is None else len(mapping.cores),
                num_chips=None if mapping is None else mapping.num_chips,
                refusal=refusal,
            )
        )
    yield from sorted(
        found, key=lambda tried: (tried["refusal"] is not None, tried["num_cores"] or 0)
    )


def _shortly(error: QacDeployError, target: TargetDescription) -> str:
    """How many cores a target lacks if that is all that it lacks, else the whole message."""
    if not isinstance(error, MappingError) or error.needed_cores is None:
        return str(error)
    needed = sum(error.needed_cores.values())
    return f"{needed:,} cores, {needed - target.num_cores:,} too many"


def _changes(
    graph: LayerGraph, target: TargetDescription, options: CompileOptions
) -> Iterator[tuple[str, CompileOptions]]:
    """Single changes that need less of a target, then two together, then other targets."""
    slots = options.slots or target.default_buffer_slots
    shallow = replace(options, slots=1, slots_of={}) if slots > 1 or options.slots_of else None
    if shallow is not None:
        yield "one slot in every buffer", shallow
    present = options.weight_bits or target.widths.weight_bits
    for bits in _FEWER_BITS:
        if bits < present:
            yield f"weights of {bits} bits", replace(options, weight_bits=bits)
            if shallow is not None:
                words = f"weights of {bits} bits, and one slot in every buffer"
                yield words, replace(shallow, weight_bits=bits)
    chosen = chosen_graph(graph, options)
    longest = max((p.timesteps for p in chosen.spiking), default=1)
    trained = max((p.timesteps for p in graph.spiking), default=1)
    for most in sorted(
        {min(longest // 2, 2 * trained), min(longest, trained) // 2} - {0}, reverse=True
    ):
        yield f"no firing window above {most} timesteps", _with_windows_up_to(options, most)
    if options.replicate:
        yield "no replicas", replace(options, replicate={})
    for name in built_in_targets():
        if name != target.name:
            yield f"the target {name}", replace(options, target=name)


def _with_windows_up_to(options: CompileOptions, most: int) -> CompileOptions:
    """The options with no T above a limit, those that the user chose included."""
    uniform = options.uniform_timesteps
    return replace(
        options,
        max_timesteps=most,
        uniform_timesteps=None if uniform is None else min(uniform, most),
        timesteps={name: min(steps, most) for name, steps in options.timesteps.items()},
    )
