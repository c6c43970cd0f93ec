"""Every way in which a file of someone else comes in: sound files, changes to them, and their reader."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from fuzz import readings, seeds
from fuzz.mutations.archives import change_safetensors, change_zip
from fuzz.mutations.binary import change_gzip, change_idx, change_image
from fuzz.mutations.damage import damage
from fuzz.mutations.documents import change_json, change_yaml
from fuzz.mutations.networks import change_hdf5, change_onnx

Agreement = Callable[[Any, Any], bool]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One kind of file.

    Attributes:
        name: for people and for folders of findings.
        files: the files that are changed, one at a time.
        seeds: sound files, each with all others that are read beside it.
        read: takes the folder of a case; returns its content. Raises QacDeployError to refuse it.
        change: makes another file of one, as someone who knows the format would.
        own: whether a changed file that is read must agree with a sound one: ours, which have digests.
        checked: whether that holds for damage to bytes: formats that have checksums.
        agrees: the content of a changed file with that of a sound one.
        share: of the time, compared with the others.
        slow: whether a case takes more than a twentieth of a second.
    """

    name: str
    files: tuple[str, ...]
    seeds: Callable[[], Iterable[seeds.Files]]
    read: Callable[[Path], Any]
    change: Callable[[bytes, Random], bytes]
    own: bool = False
    checked: bool = False
    agrees: Agreement = operator.eq
    share: float = 1.0
    slow: bool = False


def _of_build(name: str, change: Callable[[bytes, Random], bytes]) -> list[Reader]:
    """A file of a build, under digests that it does not match, and under some that it does."""
    files, short = (f"build/{name}",), name.replace("/", "-")
    reader = partial(Reader, files=files, seeds=seeds.builds, change=change)
    changed = reader(name=f"build-{short}", read=readings.build, own=True, checked=True, share=0.5)
    if name == "manifest.json":
        return [changed]
    return [changed, reader(name=f"sealed-{short}", read=readings.sealed_build, slow=True)]


def _image(kind: str) -> Reader:
    return Reader(
        name=f"images-{kind.lower()}", files=("data/train/class/a.png",),
        seeds=partial(seeds.image_folders, kind), read=readings.data("data"), change=change_image,
        checked=kind == "PNG",
    )  # fmt: skip


_IDX = tuple(
    f"data/{p}-ubyte" for p in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3")
)

READERS: tuple[Reader, ...] = (
    # data sets
    Reader(name="npz", files=("data.npz",), seeds=seeds.npz_files, read=readings.data("data.npz"),
           change=change_zip, checked=True),
    Reader(name="idx", files=_IDX, seeds=seeds.idx_folders, read=readings.data("data"), change=change_idx),
    Reader(name="idx-gz", files=tuple(f"{name}.gz" for name in _IDX), seeds=seeds.packed_idx_folders,
           read=readings.data("data"), change=change_gzip, checked=True),
    Reader(name="cifar-10", files=("cifar-10/data_batch_3.bin", "cifar-10/test_batch.bin"),
           seeds=seeds.cifar10_files, read=readings.data("cifar-10", built_in=True), change=damage),
    Reader(name="cifar-100", files=("cifar-100/train.bin",), seeds=seeds.cifar100_files,
           read=readings.data("cifar-100", built_in=True), change=damage),
    *map(_image, ("PNG", "JPEG", "BMP", "WEBP")),
    # networks of other tools
    Reader(name="onnx", files=("network.onnx",), seeds=seeds.onnx_files, change=change_onnx,
           read=readings.converted("network.onnx"), share=3, slow=True),
    Reader(name="onnx-with-data", files=("network.onnx", "weights.bin"), seeds=seeds.onnx_files_with_data,
           change=change_onnx, read=readings.converted("network.onnx"), slow=True),
    Reader(name="nir", files=("network.nir",), seeds=seeds.nir_files, change=change_hdf5,
           read=readings.converted("network.nir", timesteps=2, max_value=15), share=4, slow=True),
    Reader(name="exported-program", files=("network.pt2",), seeds=seeds.programs, change=change_zip,
           read=readings.converted("network.pt2"), checked=True, share=4, slow=True),
    Reader(name="qcfs", files=("network.pth",), seeds=seeds.qcfs_checkpoints, change=change_zip,
           read=readings.qcfs_checkpoint, checked=True, share=2, slow=True),
    Reader(name="safetensors", files=("network.safetensors",), seeds=seeds.safetensors_files,
           change=change_safetensors, read=readings.converted("network.safetensors"), share=0.2),
    # files of ours
    Reader(name="model", files=("model.pt",), seeds=seeds.models, read=readings.model, change=change_zip,
           own=True, checked=True, share=2),
    Reader(name="training-state", files=("state.pt",), seeds=seeds.training_states,
           read=readings.training_state, change=change_zip, own=True, checked=True),
    *_of_build("manifest.json", change_json),
    *_of_build("report.json", change_json),
    *_of_build("network.json", change_json),
    *_of_build("network.safetensors", change_safetensors),
    *_of_build("mapping.json", change_json),
    *_of_build("target.yaml", change_yaml),
    *_of_build("array.yaml", change_yaml),
    *_of_build("model.pt", change_zip),
    *_of_build("lava/network.json", change_json),
    *_of_build("lava/weights.npz", change_zip),
    Reader(name="simulation-journal", files=("journal",), seeds=seeds.simulation_journals, own=True,
           checked=True, read=readings.simulation_journal, change=change_json, agrees=operator.le),
    Reader(name="exploration-journal", files=("journal",), seeds=seeds.exploration_journals, own=True,
           checked=True, read=readings.exploration_journal, change=change_json, agrees=operator.le),
    Reader(name="result", files=("results/table4-small.json",), seeds=seeds.results, read=readings.result,
           change=change_json, share=0.5),
    Reader(name="target-yaml", files=("description.yaml",), seeds=seeds.targets, read=readings.target,
           change=change_yaml),
    Reader(name="array-yaml", files=("description.yaml",), seeds=seeds.arrays, read=readings.array,
           change=change_yaml),
)  # fmt: skip

BY_NAME = {reader.name: reader for reader in READERS}
