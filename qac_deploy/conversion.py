"""From a trained network to a model file."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qac_deploy.data import Data, as_dataset
from qac_deploy.messages import speaks_python
from qac_deploy.model import Model
from qac_deploy.numbers import optional, real_number, whole_number
from qac_deploy.paths import as_path
from qac_deploy.progress import progress_line
from qac_deploy.threads import one_at_a_time
from toolchain.errors import OptionError
from toolchain.files.digest import file_sha256

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

    from toolchain.datasets import Dataset


@speaks_python
@one_at_a_time
def convert(
    source: str | PathLike[str] | nn.Module | ExportedProgram,
    data: Data | None = None,
    *,
    out: str | PathLike[str] = "model.pt",
    mean_timesteps: float | None = None,
    normalize: str | tuple[Sequence[float], Sequence[float]] | None = None,
    input_shape: tuple[int, int, int] | None = None,
    max_value: int | None = None,
    samples: int | None = None,
    finetune: int | None = None,
    arch: str | None = None,
    levels: int | None = None,
    classes: int | None = None,
    image: int | None = None,
    reset: str | None = None,
    timesteps: int | None = None,
    dt: float | None = None,
    progress: bool | None = None,
) -> Model:
    """Convert a trained network to a spiking network, and write it as a model file.

    The network is executed as it was trained and compared with what it became; if they differ, nothing is
    written. Nothing in a file is executed.

    Args:
        source: a module from ``quantize`` that was trained; a plain ReLU module, with ``data`` and
            ``mean_timesteps``; a module of Brevitas or from ``convert_pt2e``; a program of ``torch.export``;
            or a file: ONNX, ``.pt2``, NIR or a QCFS checkpoint.
        data: the data set that the network was trained on. The model file names it, so that ``compile``
            finds it.
        out: model file to write.
        mean_timesteps: budget for the mean T of a plain ReLU network (post-training conversion).
        normalize: what the network takes: ``pixels / max_value`` (None), normalized further (``cifar-10``,
            ``cifar-100``, ``imagenet``, or a pair of means and standard deviations per channel), or pixels as
            they are (``pixels``).
        input_shape: (channels, height, width) of an image, if neither file nor data set says it.
        max_value: largest pixel, without a data set; 255 by default.
        samples: training images that post-training conversion uses.
        finetune: epochs in which post-training conversion trains the weights as well.
        arch, levels, classes, image: of a QCFS checkpoint: architecture, levels L, number of classes, height
            and width of an image.
        reset, timesteps, dt: of a NIR graph: ``soft`` or ``hard`` reset, T of every population, and the time
            of a step.
        progress: None shows what is done in terminals and notebooks alone.

    Returns:
        The model, with notes on what was compared, left out or decided.

    Raises:
        QacDeployError: the network has no spiking form, an option is missing or does not belong to it, or the
            data set does not fit.
    """
    from deploy.convert.convert_network import convert_network
    from deploy.convert.options import ConvertOptions
    from toolchain.files.whole_files import MODEL_FILE, require_replaceable_file

    network, path = _network(source), as_path(out, "--out")
    require_replaceable_file(path, MODEL_FILE)
    dataset = _dataset(data)
    options = ConvertOptions(
        data=fspath(data) if isinstance(data, str | PathLike) else getattr(data, "name", None),
        normalize=_normalization_text(normalize),
        input_shape=_shape(input_shape),
        max_value=optional(whole_number, "--max-value", max_value),
        arch=arch,
        levels=optional(whole_number, "--levels", levels),
        classes=optional(whole_number, "--classes", classes),
        image=optional(whole_number, "--image", image),
        reset=reset,
        timesteps=optional(whole_number, "--timesteps", timesteps),
        dt=optional(real_number, "--dt", dt),
        mean_timesteps=optional(real_number, "--mean-timesteps", mean_timesteps),
        samples=optional(whole_number, "--samples", samples),
        finetune=optional(whole_number, "--finetune", finetune),
    )
    with progress_line("reading the network", progress) as show:
        report = convert_network(network, path, options, show, dataset)
    return Model(
        path=path,
        graph=report.conversion.graph,
        training=report.training,
        conversion=report,
        sha256=file_sha256(path),
    )


@speaks_python
def load_model(path: str | PathLike[str]) -> Model:
    """Read a model file from anyone; nothing in it is executed.

    Raises:
        QacDeployError: the file is missing, damaged or no model file.
    """
    from toolchain.files.checkpoint import load_checkpoint

    file = as_path(path, "the model file")
    if file.is_dir():
        raise OptionError(f"{file}: is a folder; a build is read by load_build")
    checkpoint = load_checkpoint(file)
    digest = file_sha256(file)
    return Model(path=file, graph=checkpoint.graph, training=checkpoint.training, sha256=digest)


def _network(source: Any) -> Any:
    """A path, or a module or program as it is.

    Raises:
        OptionError: it is something else.
    """
    if isinstance(source, str | PathLike):
        return Path(source)
    from torch import nn
    from torch.export import ExportedProgram

    if isinstance(source, nn.Module | ExportedProgram):
        return source
    name = source.__name__ if isinstance(source, type) else type(source).__name__
    hint = f"; pass an instance, {name}()" if isinstance(source, type) else ""
    raise OptionError(f"convert takes a file, a torch.nn.Module or a program, not {name}{hint}")


def _dataset(data: Data | None) -> Dataset | None:
    """A data set that is loaded already; the conversion loads those that are named."""
    if data is None or isinstance(data, str | PathLike):
        return None
    return as_dataset(data)


def _normalization_text(
    normalize: str | tuple[Sequence[float], Sequence[float]] | None,
) -> str | None:
    """Means and standard deviations as the command line writes them."""
    if normalize is None or isinstance(normalize, str):
        return normalize
    try:
        means, stds = ([float(number) for number in part] for part in normalize)
    except (TypeError, ValueError):
        raise OptionError(
            f"--normalize must be a name, or a pair of means and standard deviations such as ((0.286,), "
            f"(0.353,)), not {normalize!r}"
        ) from None
    return "/".join(",".join(map(repr, part)) for part in (means, stds))


def _shape(input_shape: Sequence[int] | None) -> tuple[int, int, int] | None:
    if input_shape is None:
        return None
    try:
        channels, height, width = map(index, input_shape)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise OptionError(
            f"--input-shape must be (channels, height, width), such as (3, 32, 32), not {input_shape!r}"
        )
    return channels, height, width
