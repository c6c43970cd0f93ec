"""Image data sets as pixel integers. Nothing is downloaded, and no content of a data file is executed."""

from toolchain.datasets.dataset import Dataset
from toolchain.datasets.digest import samples_sha256
from toolchain.datasets.lookup import (
    DATASETS,
    can_be_found,
    data_record,
    load_dataset,
    load_recorded,
    with_digest,
)
from toolchain.datasets.pixel_source import PixelSource

__all__ = [
    "DATASETS",
    "Dataset",
    "PixelSource",
    "can_be_found",
    "data_record",
    "load_dataset",
    "load_recorded",
    "samples_sha256",
    "with_digest",
]
