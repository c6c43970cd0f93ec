"""From a model file to a build, and back from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from qac_deploy.build import Build
from qac_deploy.data import Data
from qac_deploy.messages import speaks_python
from qac_deploy.model import Model
from qac_deploy.numbers import optional, real_number, whole_number
from qac_deploy.paths import as_path
from qac_deploy.progress import progress_line
from qac_deploy.suggestions import ALL
from toolchain.errors import DataError, ModelFileError, OptionError

if TYPE_CHECKING:
    from deploy.design.accuracy import Accuracy, AccuracyFunction
    from toolchain.networks.layer_graph import AlignmentMethod


@speaks_python
def compile(
    model: Model | str | PathLike[str],
    out: str | PathLike[str] = "build",
    *,
    target: str | PathLike[str] = "loihi-sim",
    array: str | PathLike[str] = "pe-array",
    unrolling: Sequence[int] | None = None,
    optimize: str | None = None,
    interval: int | None = None,
    accuracy_budget: float = 0.0,
    accuracy: AccuracyFunction | str | None = None,
    data: Data | None = None,
    timesteps: int | Mapping[str, int] | None = None,
    max_timesteps: int | None = None,
    alignment: AlignmentMethod | None = None,
    align: Mapping[str, AlignmentMethod] | None = None,
    slots: int | Mapping[str, int] | None = None,
    replicate: Mapping[str, int] | None = None,
    tile_work: Mapping[str, int] | None = None,
    exchange_cores: bool = False,
    weight_bits: int | None = None,
    thresholds: int | None = None,
    lowering: str = "images",
    samples: int = 16,
    progress: bool | None = None,
) -> Build:
    """Compile a model for a target: integers, cores, buffers, stalls, Lava processes and a report.

    Args:
        model: a model or its file.
        out: build folder; an earlier build there is replaced.
        target: chip, by name or YAML file.
        array: PE array to compare with, by name or YAML file.
        unrolling: M, N, S and V of the array; None takes the array's own.
        optimize: search a better design for ``stalls``, ``cores``, ``latency``, ``energy``, ``time`` or
            ``traffic``.
        interval: ticks between results that ``optimize="stalls"`` is to reach with replicas.
        accuracy_budget: percentage points of accuracy that the search may lose.
        accuracy: your own function of logits ``(N, C, H, W)`` and labels, or ``"FILE.py:FUNCTION"``; None
            takes the share of right classes.
        data: data set to measure on; None takes the one that the model file names.
        timesteps: T of all spiking populations, or ``{name: T}``; ``"*"`` stands for all others.
        max_timesteps: upper limit of every T.
        alignment: ``average``, ``replicate`` or ``truncate`` for every edge; None keeps the model's own.
        align: alignment of the edges into single populations, ``{"join": "truncate"}``.
        slots: slots of every alignment buffer, or ``{"stem->join": 3}``; ``"*"`` stands for all others.
        replicate: replicas of single populations, ``{"conv3": 2}``.
        tile_work: most events per timestep and core of single populations.
        exchange_cores: exchange cores, so that spikes take fewer hops.
        weight_bits: bits of a weight, 2 to 8; None takes the target's.
        thresholds: different thresholds per population; None takes the target's.
        lowering: ``images`` fits weights and biases to training images, ``plain`` rounds each weight to
            nearest.
        samples: samples in the pipeline run that the report shows.
        progress: None shows what is done in terminals and notebooks alone.

    Raises:
        QacDeployError: the model or a description cannot be used, or the network does not fit; the message
            then names a page with the changes that would fit.
    """
    from deploy.compile.refusal import compile_or_explain
    from deploy.design.accuracy import as_accuracy
    from deploy.design.compilation import CompileOptions

    every_slots, slots_of = _for_all_and_single("--slots", slots)
    every_timesteps, timesteps_of = _for_all_and_single("--timesteps", timesteps)
    options = CompileOptions(
        target=str(target),
        array=str(array),
        unrolling=None
        if unrolling is None
        else [whole_number("--unrolling", size) for size in unrolling],
        alignment=alignment,
        alignments=dict(align or {}),
        slots=every_slots,
        slots_of=slots_of,
        replicate=_integers("--replicate", replicate),
        tile_work=_integers("--tile-work", tile_work),
        exchange_cores=bool(exchange_cores),
        weight_bits=optional(whole_number, "--weight-bits", weight_bits),
        thresholds=optional(whole_number, "--thresholds", thresholds),
        lowering=lowering,
        max_timesteps=optional(whole_number, "--max-timesteps", max_timesteps),
        uniform_timesteps=every_timesteps,
        timesteps=timesteps_of,
        optimize=optimize,
        interval=optional(whole_number, "--interval", interval),
        accuracy_budget=real_number("--accuracy-budget", accuracy_budget),
        data=_data_name(data),
        samples=whole_number("--samples", samples),
    )
    file, folder = _model_file(model), as_path(out, "--out")
    measure = _accuracy(accuracy) if isinstance(accuracy, str) else as_accuracy(accuracy)
    with progress_line("compiling", progress) as show:
        report = compile_or_explain(file, folder, options, show, measure)
    build = Build.load(folder)
    if build.contents.report != json.loads(json.dumps(report)):
        raise ModelFileError(
            f"{folder}: was replaced at once by another compilation; choose another folder"
        )
    return build


@speaks_python
def load_build(folder: str | PathLike[str]) -> Build:
    """Read a build folder, after comparing all of its files with their digests.

    Raises:
        QacDeployError: the folder is no build, or a file of it was changed; the message names it.
    """
    path = as_path(folder, "the build folder")
    if path.is_file():
        raise OptionError(
            f"{path}: is a file, and load_build takes the folder that compile writes; a model file is read "
            f"by load_model, and compiled by compile"
        )
    return Build.load(path)


def _model_file(model: object) -> Path:
    """The file of a model.

    Raises:
        OptionError: it is no model yet.
        ModelFileError: the file holds another model by now.
    """
    if isinstance(model, Model):
        model.require_unchanged()
        return model.path
    if isinstance(model, str | PathLike):
        return Path(model)
    raise OptionError(
        f"compile takes a model or its file, not {type(model).__name__}; make a model with "
        f"convert(module, data)"
    )


def _accuracy(text: str) -> Accuracy:
    from deploy.design.accuracy import load_accuracy

    return load_accuracy(text)


def _data_name(data: Data | None) -> str | None:
    """Name or path of a data set, by which a build finds it again."""
    from toolchain.datasets import can_be_found

    if data is None or isinstance(data, str | PathLike):
        return None if data is None else str(data)
    if not can_be_found(data.name):
        raise DataError(
            f"data set '{data.name}' is not in a file, and a build names its data set; save it as .npz, and "
            f"pass its path"
        )
    return data.name


def _for_all_and_single(
    option: str, chosen: int | Mapping[str, int] | None
) -> tuple[int | None, dict[str, int]]:
    """The number for all, and those for single names."""
    if not isinstance(chosen, Mapping):
        return optional(whole_number, option, chosen), {}
    numbers = _integers(option, chosen)
    return numbers.pop(ALL, None), numbers


def _integers(option: str, chosen: Mapping[str, int] | None) -> dict[str, int]:
    if chosen is None:
        return {}
    if not isinstance(chosen, Mapping):
        raise OptionError(f"{option} must be a dictionary of numbers by name, not {chosen!r}")
    return {str(name): whole_number(f"{option} of {name}", n) for name, n in chosen.items()}
