"""Networks in files: by their format, each with the reader of that format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from typing_extensions import assert_never

from deploy.convert.conversion import Conversion, Images, for_channels, images_of
from deploy.convert.convert_foreign import convert_foreign
from deploy.convert.options import ConvertOptions, normalization_of
from deploy.convert.recognise import Format
from toolchain.datasets import Dataset
from toolchain.errors import ModelFileError, OptionError
from toolchain.files.checkpoint import FORMAT as MODEL_FORMAT
from toolchain.files.plain_torch_file import load_plain_zip
from toolchain.importers.torch_module import convert
from toolchain.shell_words import shell_command

QCFS_LEVELS, QCFS_CLASSES, QCFS_IMAGE, QCFS_NORMALIZATION = 8, 10, 32, "cifar-10"
"""What the public QCFS code trains with, where the user does not say otherwise."""


def convert_file(
    path: Path,
    file_format: Format,
    options: ConvertOptions,
    dataset: Dataset | None,
    on_stage: Callable[[str], None],
) -> Conversion:
    """Read a file of a known format, and convert its network.

    Raises:
        QacDeployError: the file is damaged or has no spiking form, or an option is missing.
    """
    images = images_of(options, dataset)
    match file_format:
        case Format.STATE_DICT:
            return _of_state_dict(path, options, dataset)
        case Format.NIR:
            return _of_nir(path, options, images)
        case Format.ONNX:
            from toolchain.importers.onnx_format import read_onnx

            network = read_onnx(path, images.shape, images.max_value, images.normalization)
            return convert_foreign(str(path), network, options, images, on_stage)
        case Format.EXPORTED:
            from toolchain.importers.exported_format import read_exported

            return convert_foreign(str(path), read_exported(path), options, images, on_stage)
        case Format.MODULE:
            raise AssertionError("a module is no file")
        case _:
            assert_never(file_format)


def _of_state_dict(path: Path, options: ConvertOptions, dataset: Dataset | None) -> Conversion:
    from toolchain.importers.qcfs_format.importing import load_qcfs_network

    if options.arch is None:
        document = load_plain_zip(path, "export the network with torch.onnx.export")
        if isinstance(document, Mapping) and document.get("format") == MODEL_FORMAT:
            command = shell_command("qac-deploy", "compile", path)
            raise ModelFileError(f"{path}: is a model file already; run `{command}`")
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
    normalization = for_channels(normalization_of(normalize, 255), 3)
    graph = convert(module, shape, 255, normalization, samples=samples)
    return Conversion(
        graph=graph,
        source=f"QCFS checkpoint of {options.arch}",
        runtime="the network in torch",
        record={"architecture": options.arch, "levels": levels, "normalization": normalize},
    )


def _of_nir(path: Path, options: ConvertOptions, images: Images) -> Conversion:
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
