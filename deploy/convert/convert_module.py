"""Networks in memory: modules with quantizers of ours or of Brevitas, plain ones, and exported programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import fx, nn
from torch.export import ExportedProgram

from deploy.convert.conversion import Conversion, Images, images_of
from deploy.convert.convert_foreign import convert_foreign, convert_plain
from deploy.convert.options import ConvertOptions
from toolchain.datasets import Dataset
from toolchain.errors import OptionError
from toolchain.importers.brevitas_format import is_brevitas_network, read_brevitas
from toolchain.importers.exported_format import read_exported
from toolchain.importers.torch_module import convert
from toolchain.method.quantizers import quantizers
from toolchain.networks.linear_maps import Shape

Module: TypeAlias = nn.Module | ExportedProgram


def name_of(module: Module) -> str:
    """Name of a module's class, for messages."""
    return type(module).__name__


def convert_module(
    module: Module,
    options: ConvertOptions,
    dataset: Dataset | None,
    on_stage: Callable[[str], None],
) -> Conversion:
    """Convert a module as it is if it has quantizers, else by post-training conversion.

    Args:
        module: stays as it is, including its mode.

    Raises:
        QacDeployError: it has no spiking form, or an option is missing or does not belong to it.
    """
    images, name = images_of(options, dataset), name_of(module)
    if isinstance(module, nn.Module) and quantizers(module):
        return _of_our_quantizers(name, module, options, images, on_stage)
    if isinstance(module, nn.Module) and is_brevitas_network(module):
        network = read_brevitas(module, _shape(name, images))
        return convert_foreign(name, network, options, images, on_stage)
    if isinstance(module, ExportedProgram):
        return convert_foreign(name, read_exported(module), options, images, on_stage)
    if isinstance(module, fx.GraphModule):
        network = read_exported(module, _shape(name, images))
        if network.is_quantized:
            return convert_foreign(name, network, options, images, on_stage)
    return convert_plain(name, module, options, images, on_stage)


def _shape(name: str, images: Images) -> Shape:
    """Shape of an image, which a module does not say.

    Raises:
        OptionError: it is not known.
    """
    if images.shape is None:
        raise OptionError(
            f"{name}: a module does not say the shape of an image; add --data, or for example --input-shape "
            f"3x32x32"
        )
    return images.shape


def _of_our_quantizers(
    name: str,
    module: nn.Module,
    options: ConvertOptions,
    images: Images,
    on_stage: Callable[[str], None],
) -> Conversion:
    if options.mean_timesteps is not None:
        raise OptionError(
            f"{name}: has quantizers, which set every T; leave out --mean-timesteps, and choose other "
            f"timesteps with `compile --timesteps`"
        )
    on_stage("compare the layer graph with the module")
    graph = convert(
        module,
        _shape(name, images),
        images.max_value,
        images.normalization,
        samples=None if images.dataset is None else images.dataset.train_pixels,
    )
    return Conversion(
        graph=graph, source="PyTorch module with quantizers of qac-deploy", runtime="PyTorch"
    )
