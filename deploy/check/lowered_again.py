"""The images that a build was lowered on, to lower its model again."""

from __future__ import annotations

from deploy.build.load import Build
from deploy.design.design import lowering_images_of
from toolchain.datasets import load_recorded
from toolchain.errors import DataError
from toolchain.networks.layer_graph import LayerGraph
from toolchain.rounding.plan import LoweringImages


def images_of_build(build: Build, model: LayerGraph) -> LoweringImages | None:
    """The same images, from the build's data set; None if it was lowered without any.

    Raises:
        DataError: the data set is missing, or its training images have changed.
    """
    digest = build.report["lowering"]["images_sha256"]
    if digest is None:
        return None
    try:
        dataset, _ = load_recorded(build.report, build.folder)
    except DataError as error:
        raise DataError(f"the integers were fitted to images of a data set: {error}") from error
    images = lowering_images_of(model, dataset, build.options)
    if images is None or images.sha256 != digest:
        raise DataError(
            f"the integers were fitted to training images of {dataset.name}, which have changed since"
        )
    return images
