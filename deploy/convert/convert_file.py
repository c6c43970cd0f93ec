"""Make a model file of a network from another tool, compared with that tool's own execution of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from typing_extensions import assert_never

from deploy.convert.options import DEFAULT_MAX_VALUE, ConvertOptions, normalization_of
from deploy.convert.recognise import Format, recognise
from deploy.design.accuracy import measure_accuracy
from deploy.design.check_fits import check_fits
from deploy.design.fidelity import MEASURED_SAMPLES, affordable_samples
from toolchain.datasets import DATASETS, Dataset, data_record, load_dataset
from toolchain.errors import DataError, ModelFileError, OptionError, errors_of_file
from toolchain.files.checkpoint import FORMAT as MODEL_FORMAT
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.files.plain_torch_file import load_plain_zip
from toolchain.importers.foreign.foreign_network import ForeignNetwork, RuntimeAgreement
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.input_layout import for_images, image_shape_of
from toolchain.importers.torch_module import Normalization, convert
from toolchain.method.float_snn import run_float_snn
from toolchain.networks.layer_graph import LayerGraph, has_classes
from toolchain.networks.linear_maps import Shape

if TYPE_CHECKING:
    from toolchain.post_training import PostTrained

QCFS_LEVELS, QCFS_CLASSES, QCFS_IMAGE, QCFS_NORMALIZATION = 8, 10, 32, "cifar-10"
"""What the public QCFS code trains with, where the user does not say otherwise."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A layer graph, and what is said about it.

    Attributes:
        source: what the file is.
        runtime: what the graph was compared with.
        agreement: counts that were compared, and those that differ by rounding; None where ``convert`` alone
            compares.
        compared: what was counted: spike counts, or single spikes of a network that runs step by step.
        post_training: the steps that made it of a plain ReLU network; None for others.
        notes: what was left out, assumed or decided.
        record: what the model file keeps beside the data set.
    """

    graph: LayerGraph
    source: str
    runtime: str
    agreement: RuntimeAgreement | None = None
    compared: str = "spike counts"
    post_training: PostTrained | None = None
    notes: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MeasuredAccuracy:
    """Accuracy of the float network that was made, on the first test images."""

    samples: int
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """What was written.

    Attributes:
        accuracy: None without a data set, or where the logits are not those of classes.
        data_note: why the data set was recorded without being read; None if it was read.
    """

    model: str
    conversion: Conversion
    accuracy: MeasuredAccuracy | None
    data_note: str | None
    training: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Images:
    """What the network is given, and how; the shape may be known from its file alone."""

    shape: Shape | None
    max_value: int
    normalization: Normalization | None
    dataset: Dataset | None


def convert_file(
    path: Path,
    out: Path,
    options: ConvertOptions,
    on_stage: Callable[[str], None] = lambda words: None,
) -> ConversionReport:
    """Recognise a file, read it, compare it with its own runtime, and write a model file.

    Args:
        on_stage: called with what is done next.

    Raises:
        QacDeployError: the file is damaged, of another kind or has no spiking form, an option does not
            belong to it, or the data set does not fit. Nothing is written then.
    """
    file_format = recognise(path)
    options.require_of(file_format)
    dataset, data_note = None, None
    if options.data is not None:
        dataset, data_note = _data_set(options.data, required=file_format is not Format.STATE_DICT)
    with warnings.catch_warnings(record=True) as caught, errors_of_file(path):
        warnings.simplefilter("always")
        conversion = _converted(path, file_format, options, dataset, on_stage)
    said = (str(warning.message) for warning in caught if warning.category is UserWarning)
    conversion = replace(conversion, notes=tuple(dict.fromkeys((*conversion.notes, *said))))
    training: dict[str, Any] = {
        "imported_from": f"{path.name}: {conversion.source}",
        "compared_with": conversion.runtime,
        "normalization": options.normalize,
        **conversion.record,
        "data": options.data,
    }
    accuracy = None
    if dataset is not None:
        check_fits(conversion.graph, dataset)
        training |= data_record(dataset, out)
        on_stage("measure the accuracy")
        accuracy = _accuracy(conversion, dataset)
    save_checkpoint(out, Checkpoint(conversion.graph, training))
    return ConversionReport(
        model=str(out),
        conversion=conversion,
        accuracy=accuracy,
        data_note=data_note,
        training=training,
    )


def _converted(
    path: Path,
    file_format: Format,
    options: ConvertOptions,
    dataset: Dataset | None,
    on_stage: Callable[[str], None],
) -> Conversion:
    images = _given_images(options, dataset)
    match file_format:
        case Format.STATE_DICT:
            return _of_state_dict(path, options, dataset)
        case Format.NIR:
            return _of_nir(path, options, images)
        case Format.ONNX:
            from toolchain.importers.onnx_format import read_onnx

            network = read_onnx(path, images.shape, images.max_value, images.normalization)
            return _of_foreign(path, network, options, images, on_stage)
        case Format.EXPORTED:
            from toolchain.importers.exported_format import read_exported

            return _of_foreign(path, read_exported(path), options, images, on_stage)
        case _:
            assert_never(file_format)


def _data_set(name: str, *, required: bool) -> tuple[Dataset | None, str | None]:
    """The data set, or why one that is known by its name cannot be read here.

    The networks of the QCFS code are for known data sets, which may be elsewhere. Of others nothing is known.
    """
    try:
        return load_dataset(name), None
    except DataError as error:
        if required or name not in DATASETS:
            raise
        return None, f"{name} is recorded without a digest of its samples: {error}"


def _of_state_dict(path: Path, options: ConvertOptions, dataset: Dataset | None) -> Conversion:
    from toolchain.importers.qcfs_format.importing import load_qcfs_network

    if options.arch is None:
        document = load_plain_zip(path, "export the network with torch.onnx.export")
        if isinstance(document, Mapping) and document.get("format") == MODEL_FORMAT:
            raise ModelFileError(
                f"{path}: is a model file already; run `qac-deploy compile {path}`"
            )
        raise OptionError(
            f"{path}: holds weights without a network; name the network of the QCFS code with --arch, or "
            f"export your own with torch.onnx.export or torch.export.save"
        )
    levels = options.levels or QCFS_LEVELS
    size = options.image or QCFS_IMAGE
    normalize = options.normalize or QCFS_NORMALIZATION
    shape = 3, size, size
    module = load_qcfs_network(path, options.arch, shape, options.classes or QCFS_CLASSES, levels)
    samples = None
    if dataset is not None and (dataset.input_shape, dataset.max_value) == (shape, 255):
        samples = dataset.train_pixels
    normalization = _for_channels(normalization_of(normalize, 255), 3)
    graph = convert(module, shape, 255, normalization, samples=samples)
    return Conversion(
        graph=graph,
        source=f"QCFS checkpoint of {options.arch}",
        runtime="the network in torch",
        record={"architecture": options.arch, "levels": levels, "normalization": normalize},
    )


def _of_foreign(
    path: Path,
    network: ForeignNetwork,
    options: ConvertOptions,
    images: _Images,
    on_stage: Callable[[str], None],
) -> Conversion:
    """A network with quantizers as it is, a plain one by post-training conversion."""
    image = images.shape
    if image is None and network.input_shape is not None:
        image = image_shape_of(network.input_shape)
    if image is None:
        raise OptionError(
            f"{path}: does not say the shape of an image; add --data, or for example --input-shape 3x32x32"
        )
    network = for_images(network, image)
    normalization = _for_channels(images.normalization, image[0])
    if not network.is_quantized:
        return _of_plain(path, network, options, images, on_stage)
    if options.mean_timesteps is not None:
        raise OptionError(
            f"{path}: has quantizers, which set every T; leave out --mean-timesteps, and choose other "
            f"timesteps with `compile --timesteps`"
        )
    on_stage(f"compare the network with {network.runtime}")
    imported = import_network(
        network,
        image,
        images.max_value,
        normalization,
        samples=None if images.dataset is None else images.dataset.train_pixels,
    )
    return Conversion(
        graph=imported.graph,
        source=imported.source,
        runtime=imported.runtime,
        agreement=imported.agreement,
        notes=imported.notes,
        record={"rounding_ties": imported.agreement.num_ties},
    )


def _of_plain(
    path: Path,
    network: ForeignNetwork,
    options: ConvertOptions,
    images: _Images,
    on_stage: Callable[[str], None],
) -> Conversion:
    if options.mean_timesteps is None or images.dataset is None:
        raise OptionError(
            f"{path}: has no quantizers, and post-training conversion chooses them from "
            f"images: add --data and a budget of timesteps, such as --mean-timesteps 4"
        )
    from toolchain.post_training import PostTrainingPlan, convert_post_training

    plan = PostTrainingPlan(mean_timesteps=options.mean_timesteps)
    if options.samples is not None:
        plan = replace(plan, samples=options.samples)
    if options.finetune is not None:
        plan = replace(plan, finetune_epochs=options.finetune)
    result = convert_post_training(
        network,
        images.dataset,
        plan,
        images.normalization,
        on_progress=lambda name, done, total: on_stage(f"{name}: {done:,} of {total:,}"),
    )
    return Conversion(
        graph=result.graph,
        source=result.source,
        runtime=result.judge,
        post_training=result,
        notes=result.notes,
        record={
            "post_training": asdict(plan),
            "float_accuracy": None if result.test is None else result.test.float_network,
        },
    )


def _of_nir(path: Path, options: ConvertOptions, images: _Images) -> Conversion:
    """A spiking network, which runs step by step as its own tool runs it."""
    from toolchain.importers.nir_format import import_nir

    imported = import_nir(
        path,
        reset=options.reset or "soft",
        timesteps=options.timesteps,
        dt=options.dt,
        input_shape=images.shape,
        max_value=images.max_value,
        normalization=images.normalization,
        samples=None if images.dataset is None else images.dataset.train_pixels,
    )
    return Conversion(
        graph=imported.graph,
        source=imported.source,
        runtime=imported.runtime,
        agreement=imported.agreement,
        compared="spikes",
        notes=imported.notes,
        record={
            "reset": "soft",
            "timesteps": options.timesteps,
            "rounding_ties": imported.agreement.num_ties,
        },
    )


def _given_images(options: ConvertOptions, dataset: Dataset | None) -> _Images:
    """The images that a network takes, as far as the data set or the user says it."""
    image, max_value = options.input_shape, options.max_value
    if dataset is not None:
        for option, given, found in (
            ("--input-shape", image, dataset.input_shape),
            ("--max-value", max_value, dataset.max_value),
        ):
            if given not in (None, found):
                raise OptionError(
                    f"{option} is {given}, but that of data set {dataset.name} is {found}; leave it out"
                )
        image, max_value = dataset.input_shape, dataset.max_value
    max_value = max_value or DEFAULT_MAX_VALUE
    normalization = normalization_of(options.normalize, max_value)
    if image is not None:
        normalization = _for_channels(normalization, image[0])
    return _Images(shape=image, max_value=max_value, normalization=normalization, dataset=dataset)


def _for_channels(normalization: Normalization | None, channels: int) -> Normalization | None:
    """The same with one mean and std for each channel, where there is one for all."""
    if normalization is None:
        return None
    one_for_all = {
        name: values * channels
        for name, values in (("mean", normalization.mean), ("std", normalization.std))
        if len(values) == 1
    }
    return replace(normalization, **one_for_all)


def _accuracy(conversion: Conversion, dataset: Dataset) -> MeasuredAccuracy | None:
    graph, measured = conversion.graph, conversion.post_training
    if measured is not None and measured.test is not None:
        return MeasuredAccuracy(samples=measured.test.samples, accuracy=measured.test.converted)
    if not has_classes(graph.readout):
        return None
    most = affordable_samples(graph, MEASURED_SAMPLES)
    samples = min(len(dataset.test_labels), most)
    run = run_float_snn(graph, dataset.test_pixels[:samples], dtype=torch.float32)
    accuracy = measure_accuracy(graph.readout, run.logits, dataset.test_labels[:samples], None)
    assert accuracy is not None
    assert math.isfinite(accuracy)
    return MeasuredAccuracy(samples=samples, accuracy=accuracy)
