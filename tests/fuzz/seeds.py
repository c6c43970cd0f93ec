"""Sound files of every reader, as small as they can be, and the same on every machine of one release."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz import readings

Files = dict[str, bytes]
"""Contents by their names in a folder."""


def files_of(folder: Path) -> Files:
    """All files below a folder, by their paths in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# ---------------------------------------------------------------------------------- files of ours


@cache
def _model() -> bytes:
    """A residual network with integers in its file (the channels that a slice keeps), T = 2 and 3."""
    import torch
    from torch import nn

    from toolchain.files.checkpoint import Checkpoint, save_checkpoint
    from toolchain.importers.torch_module import convert
    from toolchain.method.quantizers import FixedTimestepQuantizer

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.first = nn.Conv2d(1, 2, 3, padding=1), FixedTimestepQuantizer(2)
            self.inner, self.second = nn.Conv2d(2, 2, 3, padding=1), FixedTimestepQuantizer(3)
            self.classes = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(self.conv(x))
            x = self.second(self.inner(x) + x)
            return self.classes(x[:, 1:].flatten(1))

    torch.manual_seed(0)
    graph = convert(Network().eval(), (1, 4, 4), 15)
    training = {"data": None, "epochs": 2, "accuracy": 0.5, "note": "small"}
    return _written("model.pt", lambda path: save_checkpoint(path, Checkpoint(graph, training)))


def models() -> Iterable[Files]:
    yield {"model.pt": _model()}


def training_states() -> Iterable[Files]:
    from toolchain.training.resume import TrainingProgress, save_training_state

    parts = readings.training_parts()
    readings.train_a_step(*parts[:2])
    progress = TrainingProgress(epoch=1, price=0.25, seconds=1.5)
    yield {
        "state.pt": _written(
            "state.pt", lambda path: save_training_state(path, readings.RUN, *parts, progress)
        )
    }


@cache
def _build() -> Files:
    """A build folder without its page, which nothing reads."""
    from deploy.compile.compile_model import compile_model
    from deploy.design.compilation import CompileOptions

    with _folder() as folder:
        (folder / "model.pt").write_bytes(_model())
        compile_model(folder / "model.pt", folder / "build", CompileOptions(samples=2))
        return files_of(folder / "build")


def builds() -> Iterable[Files]:
    yield {f"build/{name}": content for name, content in _build().items()}


def simulation_journals() -> Iterable[Files]:
    from deploy.dataset_run.journal import ChunkResult, Journal

    def write(path: Path) -> None:
        journal = Journal(path, readings.SIMULATION, resume=False)
        for chunk in range(3):
            result = ChunkResult(
                predictions=[chunk, 1, 2], spikes={"a": 5 + chunk, "b": 0}, logits_sha256="0" * 64
            )
            journal.write(chunk, result)
        journal.close(finished=False)

    yield {"journal": _written("journal", write)}


def exploration_journals() -> Iterable[Files]:
    from deploy.explore.journal import open_journal

    measures = {
        "interval_ticks": 2.5, "first_latency_ticks": 7, "stall_share": 0.25, "num_cores": 3, "num_chips": 1,
        "num_slots": 4, "accuracy": 0.5, "interval_us": {"p": 1.5}, "first_latency_us": {"p": 2.5},
        "energy_nj": {"p": 3.5},
    }  # fmt: skip

    def write(path: Path) -> None:
        journal = open_journal(path, readings.EXPLORATION, resume=False)
        journal.write("one", {"measures": measures})
        journal.write("two", {"refused": "too large"})
        journal.close(finished=False)

    yield {"journal": _written("journal", write)}


def results() -> Iterable[Files]:
    """A result of ``reproduce``, from which its page is written."""
    result = {
        "title": "Table 4", "columns": ["T", "ours %", "mean"], "rows": [["1T", 0.5, 2], ["2T", None, 3.5]],
        "notes": ["A note."], "command": "qac-deploy reproduce table4", "version": "1.0.0",
    }  # fmt: skip
    yield {"results/table4-small.json": json.dumps(result).encode()}


def targets() -> Iterable[Files]:
    from hw_models.target_description import built_in_targets

    yield from _descriptions(built_in_targets())


def arrays() -> Iterable[Files]:
    from hw_models.pe_array.array_description import built_in_arrays

    yield from _descriptions(built_in_arrays())


def _descriptions(names: Iterable[str]) -> Iterable[Files]:
    from hw_models.figures import BUILT_IN

    for name in names:
        yield {"description.yaml": (BUILT_IN / f"{name}.yaml").read_bytes()}


# -------------------------------------------------------------------------------- networks of others


def onnx_files() -> Iterable[Files]:
    """Quantize/clip/dequantize and QONNX; each with a join and a pool."""
    for quantize in (
        lambda n, scale, name: n.qcdq(scale, 5, name=name),
        lambda n, scale, name: n.quant(scale, 3, name=name),
    ):
        yield {"network.onnx": _onnx(quantize).SerializeToString()}


def _onnx(quantize: Callable[..., str]) -> Any:
    from onnx_networks import joined_and_pooled

    return joined_and_pooled(quantize).model()


def onnx_files_with_data() -> Iterable[Files]:
    """A network whose weights are in a file beside it."""
    from onnx import TensorProto

    model, data = _onnx(lambda n, scale, name: n.qcdq(scale, 5, name=name)), b""
    for tensor in model.graph.initializer:
        if tensor.raw_data:
            where = {"location": "weights.bin", "offset": len(data), "length": len(tensor.raw_data)}
            data += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in where.items():
                tensor.external_data.add(key=key, value=str(value))
    yield {"network.onnx": model.SerializeToString(), "weights.bin": data}


def nir_files() -> Iterable[Files]:
    """A convolution, a pool, a join and a nested graph."""
    import nir

    yield {"network.nir": _written("network.nir", lambda path: nir.write(path, _nir_network()))}


def _nir_network():
    import nir

    rng = np.random.default_rng(0)

    def weights(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def neurons(*shape):
        return nir.IF(np.ones(shape), np.full(shape, 0.75), np.zeros(shape))

    nodes = {
        "input": nir.Input({"input": np.array([1, 4, 4])}),
        "conv": nir.Conv2d((4, 4), weights(2, 1, 3, 3), 1, 1, 1, 1, weights(2)),
        "n1": neurons(2, 4, 4),
        "same": nir.Conv2d((4, 4), weights(2, 2, 3, 3), 1, "same", 1, 1, weights(2)),
        "n2": neurons(2, 4, 4),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        "matrix": nir.Affine(weights(3, 8), weights(3)),
        "last": neurons(3),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [
        ("input", "conv"), ("conv", "n1"), ("n1", "same"), ("same", "n2"), ("n1", "n2"), ("n2", "pool"),
        ("pool", "flat"), ("flat", "matrix"), ("matrix", "last"), ("last", "output"),
    ]  # fmt: skip
    return nir.NIRGraph(nodes, edges)


def programs() -> Iterable[Files]:
    """An exported program whose quantizer is of ours, and one without (which needs images)."""
    import torch
    from torch import nn

    from toolchain.method.quantizers import FixedTimestepQuantizer

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), FixedTimestepQuantizer(3), nn.Flatten(), nn.Linear(32, 3)
    )
    batch = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            network.eval(), (torch.zeros(2, 1, 4, 4),), dynamic_shapes=batch
        )
    yield {"network.pt2": _written("network.pt2", lambda path: torch.export.save(program, path))}


def qcfs_checkpoints() -> Iterable[Files]:
    """The state_dict alone, and in a training checkpoint with an optimizer's state."""
    import torch

    state = readings.qcfs_network()
    for document in (
        state,
        {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1, "betas": (0.9, 0.99)}},
    ):
        yield {
            "network.pth": _written(
                "network.pth", lambda path, held=document: torch.save(held, path)
            )
        }


def safetensors_files() -> Iterable[Files]:
    from safetensors.numpy import save

    yield {"network.safetensors": save({"weight": np.ones((2, 2), np.float32)})}


# ---------------------------------------------------------------------------------------- data sets


def npz_files() -> Iterable[Files]:
    """Stored and compressed, with and without the optional arrays."""
    pixels, labels = _pixels(6), np.arange(6) % 3
    arrays = {
        "train_images": pixels, "train_labels": labels,
        "test_images": pixels[:3], "test_labels": labels[:3],
    }  # fmt: skip
    more = {"num_classes": np.array(4), "max_value": np.array(255), "layout": np.array("NCHW")}
    for save, held in ((np.savez, arrays | more), (np.savez_compressed, arrays)):
        buffer = io.BytesIO()
        save(buffer, **held)
        yield {"data.npz": buffer.getvalue()}


def idx_folders() -> Iterable[Files]:
    yield _idx(lambda content: content, "")


def packed_idx_folders() -> Iterable[Files]:
    yield _idx(lambda content: gzip.compress(content, mtime=0), ".gz")


def _idx(pack: Callable[[bytes], bytes], suffix: str) -> Files:
    files = {}
    for part, count in (("train", 6), ("t10k", 3)):
        images = struct.pack(">4BIII", 0, 0, 8, 3, count, 4, 4) + _pixels(count).tobytes()
        labels = struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(n % 3 for n in range(count))
        files[f"data/{part}-images-idx3-ubyte{suffix}"] = pack(images)
        files[f"data/{part}-labels-idx1-ubyte{suffix}"] = pack(labels)
    return files


def cifar10_files() -> Iterable[Files]:
    names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    yield {f"cifar-10/{name}": _records(1) for name in names}


def cifar100_files() -> Iterable[Files]:
    yield {f"cifar-100/{name}": _records(2) for name in ("train.bin", "test.bin")}


def _records(label_bytes: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3072), np.uint8)
    labels = np.tile(np.arange(2, dtype=np.uint8)[:, None], label_bytes)
    return np.concatenate([labels, pixels], axis=1).tobytes()


def image_folders(image_format: str) -> Iterable[Files]:
    """A grey, a colour and, where the format has it, a transparent, a palette and a 16-bit image."""
    from PIL import Image

    chance = np.random.default_rng(0)
    colours = chance.integers(0, 256, (9, 12, 4), np.uint8)
    images = {
        "RGB": Image.fromarray(colours[..., :3]),
        "L": Image.fromarray(colours[..., 0]),
        "P": Image.fromarray(colours[..., :3]).convert("P"),
        "RGBA": Image.fromarray(colours),
        "I;16": Image.fromarray(colours[..., 0].astype(np.uint16) * 200),
    }
    modes = {
        "PNG": tuple(images),
        "JPEG": ("RGB", "L"),
        "BMP": ("RGB", "L", "P"),
        "WEBP": ("RGB", "RGBA"),
    }
    for mode in modes[image_format]:
        buffer = io.BytesIO()
        images[mode].save(buffer, image_format)
        content = buffer.getvalue()
        yield {f"data/{part}/class/a.png": content for part in ("train", "test")}


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4), np.uint8)


# --------------------------------------------------------------------------------------------------


class _folder:
    """A folder for files that only a library's own function can write."""

    def __enter__(self) -> Path:
        import tempfile

        self._path = Path(tempfile.mkdtemp())
        return self._path

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._path)


def _written(name: str, write: Callable[[Path], object]) -> bytes:
    with _folder() as folder:
        write(folder / name)
        return (folder / name).read_bytes()
