"""Networks of other tools, and plain ReLU networks: compared with their own runtime, then converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from torch import nn

from deploy.convert.conversion import Conversion, Images, for_channels
from deploy.convert.options import ConvertOptions
from toolchain.errors import OptionError
from toolchain.importers.foreign.foreign_network import ForeignNetwork
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.foreign.input_layout import for_images, image_shape_of


def convert_foreign(
    name: str,
    network: ForeignNetwork,
    options: ConvertOptions,
    images: Images,
    on_stage: Callable[[str], None],
) -> Conversion:
    """A network with quantizers as it is, a plain one by post-training conversion."""
    image = images.shape
    if image is None and network.input_shape is not None:
        image = image_shape_of(network.input_shape)
    if image is None:
        raise OptionError(
            f"{name}: does not say the shape of an image; add --data, or for example --input-shape 3x32x32"
        )
    network = for_images(network, image)
    normalization = for_channels(images.normalization, image[0])
    if not network.is_quantized:
        return convert_plain(name, network, options, images, on_stage)
    if options.mean_timesteps is not None:
        raise OptionError(
            f"{name}: has quantizers, which set every T; leave out --mean-timesteps, and choose other "
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


def convert_plain(
    name: str,
    network: ForeignNetwork | nn.Module,
    options: ConvertOptions,
    images: Images,
    on_stage: Callable[[str], None],
) -> Conversion:
    """A plain ReLU network by post-training conversion.

    Raises:
        OptionError: there is no data set, or no budget of timesteps.
    """
    if options.mean_timesteps is None or images.dataset is None:
        in_memory = isinstance(network, nn.Module)
        raise OptionError(
            f"{name}: has no quantizers, and post-training conversion chooses them from "
            f"images: add --data and a budget of timesteps, such as --mean-timesteps 4"
            + "; to train the timesteps instead, quantize the module before you train it"
            * in_memory
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
