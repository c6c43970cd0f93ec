"""How each reader is called, and the content that two readings are compared by.

Every function takes the folder of a case, and returns the decoded content as a digest, or as a set of parts.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_BYTES = 64 << 20
"""Most memory that a data file may take, far below the limit of a case."""

RUN = {"plan": {"epochs": 3}, "data": "digits"}
SIMULATION = {"network": "n", "engine": "exact", "samples": 9, "data": "d", "chunk_samples": 3}
EXPLORATION = {"model": "m", "data": None, "accuracy": None, "targets": {"t": "x"}}


def _digest(content: Any) -> str:
    """SHA-256 of nested records and arrays."""
    digest = sha256()

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            for name in sorted(value, key=repr):
                digest.update(f"{name!r}:".encode("utf-8", "surrogatepass"))
                add(value[name])
        elif isinstance(value, list | tuple):
            digest.update(f"[{len(value)}]".encode())
            for part in value:
                add(part)
        elif hasattr(value, "detach"):
            add(value.detach().numpy())
        elif isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str} {value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        elif type(value) is int:
            digest.update(hex(value).encode())  # of any length, unlike its decimals
        else:
            digest.update(f"{type(value).__name__} {value!r}".encode("utf-8", "surrogatepass"))

    add(content)
    return digest.hexdigest()


def _of_graph(graph: Any) -> tuple[Any, ...]:
    from toolchain.networks.map_records import write_synapse
    from toolchain.networks.population_records import write_population

    arrays: dict[str, np.ndarray] = {}
    populations = [write_population(p, arrays) for p in graph.populations]
    return populations, [write_synapse(s, arrays) for s in graph.synapses], arrays


# ---------------------------------------------------------------------------------- files of ours


def model(folder: Path) -> str:
    """The layer graph and the record of its training; its structure is read a second way by compile."""
    from toolchain.files.checkpoint import load_checkpoint, load_structure

    load_structure(folder / "model.pt")
    checkpoint = load_checkpoint(folder / "model.pt")
    return _digest((_of_graph(checkpoint.graph), checkpoint.training))


def training_parts() -> tuple[Any, Any, Any]:
    """A network, an optimizer with a state of its own, and a schedule."""
    import torch
    from torch import nn

    from toolchain.method.quantizers import TimestepQuantizer

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), TimestepQuantizer(), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    return module, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)


def train_a_step(module: Any, optimizer: Any) -> None:
    import torch

    module(torch.ones(2, 3)).sum().backward()
    optimizer.step()


def training_state(folder: Path) -> str:
    from toolchain.training.resume import load_training_state, read_progress

    parts = training_parts()
    read_progress(folder / "state.pt")
    progress = load_training_state(folder / "state.pt", RUN, *parts)
    return _digest(
        ([part.state_dict() for part in parts], progress.epoch, progress.price, progress.seconds)
    )


def build(folder: Path) -> str:
    """All that commands read of a build whose files match their digests."""
    from deploy.build.load import load_build

    loaded = load_build(folder / "build")
    return _of_build(loaded)


def _of_build(loaded: Any) -> str:
    from hw_models.multicore.mapping.mapping_file import mapping_document
    from toolchain.networks.integer_network.serialize import describe_network

    return _digest(
        (
            json.loads(json.dumps(loaded.report)),
            describe_network(loaded.network),
            mapping_document(loaded.mapping),
            loaded.target.file.document,
            loaded.array.file.document,
        )
    )


def sealed_build(folder: Path) -> str:
    """A build of a stranger, whose digests are those of its files whatever they hold.

    It is opened, shown, compared with itself, and its bundle is checked as ``verify`` does.
    """
    from rich.console import Console

    from deploy.build.folder import BUILD, whole_folder
    from deploy.build.load import load_build, load_report, load_report_and_digests
    from deploy.check.verify import _bundle
    from deploy.report.difference.difference import Side, difference
    from deploy.report.difference.page import render_difference
    from deploy.report.difference.terminal import print_difference
    from deploy.report.terminal import print_summary
    from toolchain.errors import QacDeployError
    from toolchain.files.checkpoint import load_checkpoint
    from toolchain.files.whole_files import MANIFEST

    sealed = folder.parent / "sealed"
    with whole_folder(sealed, BUILD) as new:
        for path in sorted((folder / "build").rglob("*")):
            name = path.relative_to(folder / "build")
            if path.is_file() and str(name) != MANIFEST:
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_bytes(path.read_bytes())
    console = Console(file=io.StringIO(), width=100)
    with suppress(QacDeployError):
        print_summary(load_report(sealed), console)
    with suppress(QacDeployError):
        report, digests = load_report_and_digests(sealed)
        found = difference(*[Side(folder="sealed", report=report, digests=digests)] * 2)
        print_difference(found, console)
        render_difference(found)
    loaded = load_build(sealed)
    load_checkpoint(sealed / "model.pt")
    _bundle(loaded)
    return _of_build(loaded)


def simulation_journal(folder: Path) -> frozenset[str]:
    """The finished chunks: a journal that was cut holds fewer of them."""
    from deploy.dataset_run.journal import Journal

    journal = Journal(folder / "journal", SIMULATION, resume=True)
    journal.close(finished=False)
    return frozenset(map(repr, journal.finished.items()))


def exploration_journal(folder: Path) -> frozenset[str]:
    from deploy.explore.journal import open_journal

    journal = open_journal(folder / "journal", EXPLORATION, resume=True)
    journal.close(finished=False)
    return frozenset(map(repr, journal.finished.items()))


def target(folder: Path) -> str:
    from hw_models.target_description import load_target

    return _digest(load_target(str(folder / "description.yaml")).file.document)


def array(folder: Path) -> str:
    from hw_models.pe_array.array_description import load_array

    return _digest(load_array(str(folder / "description.yaml")).file.document)


def result(folder: Path) -> str:
    from deploy.reproduce.results_page import write_results_page

    copied = folder.parent / "copied" / "results"
    copied.mkdir(parents=True, exist_ok=True)
    for path in (folder / "results").iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    return write_results_page(copied).read_text()


# -------------------------------------------------------------------------------- networks of others


def converted(name: str, **options: Any) -> Any:
    """``convert`` of a file: it executes the network as its own tool does, compares, and writes a model."""

    def read(folder: Path) -> str:
        from deploy.convert.convert_network import convert_network
        from deploy.convert.options import ConvertOptions
        from toolchain.files.checkpoint import load_checkpoint

        out = folder.parent / "converted.pt"
        convert_network(folder / name, out, ConvertOptions(**options))
        return _digest(_of_graph(load_checkpoint(out).graph))

    return read


_QCFS = "vgg-11-wobn", (3, 32, 32), 4, 4, 1 / 64
"""Architecture, shape of an image, classes, levels and width."""


def qcfs_network() -> dict[str, Any]:
    """The state_dict of a thin network of the public QCFS code, with its names."""
    import torch

    from toolchain.importers.qcfs_format.networks import build_qcfs_network
    from toolchain.method.quantizers import FixedTimestepQuantizer

    name, shape, classes, levels, width = _QCFS
    torch.manual_seed(0)
    state = build_qcfs_network(
        name, shape, classes, lambda: FixedTimestepQuantizer(levels), width
    ).state_dict()
    return {
        f"{n.removesuffix('alpha')}thresh" if n.endswith(".alpha") else n: tensor
        for n, tensor in state.items()
        if not n.endswith(".t")
    }


def qcfs_checkpoint(folder: Path) -> str:
    """The weights of the network, which ``convert`` compares with the layer graph that it makes of them."""
    from deploy.convert.recognise import recognise
    from toolchain.importers.qcfs_format.importing import load_qcfs_network
    from toolchain.importers.torch_module import convert

    recognise(folder / "network.pth")
    name, shape, classes, levels, width = _QCFS
    module = load_qcfs_network(folder / "network.pth", name, shape, classes, levels, width)
    return _digest(_of_graph(convert(module, shape, 255)))


# ---------------------------------------------------------------------------------------- data sets


def data(name: str, *, built_in: bool = False) -> Any:
    """A data set by its path in the folder of a case, or a built-in one whose files lie there."""

    def read(folder: Path) -> str:
        from toolchain.datasets import load_dataset

        os.environ["QAC_DEPLOY_DATA"] = str(folder)
        loaded = load_dataset(name if built_in else str(folder / name), LIMIT_BYTES)
        pixels = loaded.train_pixels[:8], loaded.test_pixels[:8]
        labels = loaded.train_labels, loaded.test_labels
        return _digest((loaded.num_classes, loaded.max_value, pixels, labels, loaded.test_sha256))

    return read
