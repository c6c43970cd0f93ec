"""Every field of every document of ours: replaced by what it must not be, or removed, it is one clear error.

What is still a right document is read, with other values.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from deploy.build import line_journal
from deploy.build.folder import BUILD, whole_folder
from deploy.build.load import load_report, read_build
from deploy.dataset_run.journal import Journal
from deploy.explore.journal import open_journal
from deploy.report.records import MappedPopulationRecord, Report
from hw_models.core_limits import CORE_LIMITS
from hw_models.multicore.mapping.mapping_file import load_mapping
from hw_models.pe_array.array_description import load_array
from hw_models.target_description import load_target
from toolchain.errors import ModelFileError, QacDeployError, TargetError
from toolchain.files.checkpoint import content_digests, load_checkpoint
from toolchain.networks.integer_network.serialize import load_integer_network
from toolchain.schema import typed

REMOVED = object()
WRONG = (
    REMOVED, None, True, -1, 0, 1.5, 2**40, 2**63 - 1, -1e308, "", "x", "n" * 5000, "\x1b[31m\n",
    [], [1], [[]], {}, {"": 1}, {"kind": "dense"},
)  # fmt: skip


def places(document, steps=()):
    """Paths of all values of a document; of a long list, the first and last element."""
    yield steps
    if isinstance(document, dict):
        for name, part in document.items():
            yield from places(part, (*steps, name))
    elif isinstance(document, list):
        for index in sorted({0, len(document) - 1} & set(range(len(document)))):
            yield from places(document[index], (*steps, index))


def changed(document, steps, value):
    if not steps:
        return value
    first, *rest = steps
    copied = dict(document) if isinstance(document, dict) else list(document)
    if not rest and value is REMOVED:
        del copied[first]
    else:
        copied[first] = changed(document[first], rest, value)
    return copied


def mutants(document, most, kept=()):
    """Up to ``most`` documents with one other value, always the same ones.

    Args:
        kept: fields at the top that stay.
    """
    every = [
        (steps, value)
        for steps in places(document)
        if steps and steps[0] not in kept
        for value in WRONG
    ]
    chosen = np.random.default_rng(0).permutation(len(every))[:most]
    for index in chosen:
        yield every[index], changed(document, *every[index])


def require_one_clear_error(read, path, document, most=600, error=ModelFileError, kept=()):
    """Read the mutants of a document; returns the number of those that were refused.

    Args:
        read: takes a document.
    """
    refused = 0
    for (steps, value), mutant in mutants(document, most, kept):
        shown = f"{steps} {value!r:.40}"
        try:
            read(mutant)
        except QacDeployError as refusal:
            refused, found = refused + 1, refusal
        except Exception as other:
            raise AssertionError(f"{shown}: {other!r}") from other
        else:
            continue
        message = str(found)
        assert isinstance(found, error), (shown, message)
        assert str(path) in message, (shown, message)
        assert message.isprintable(), (shown, message)
        assert len(message) < len(str(path)) + 700, (shown, message)
    return refused


@pytest.fixture
def build(compiled, tmp_path):
    shutil.copytree(compiled[1], tmp_path / "build")
    return tmp_path / "build"


def written(path, read, document):
    path.write_text(json.dumps(document))
    return read()


def test_network(build):
    path = build / "network.json"
    document = json.loads(path.read_text())
    read = partial(written, path, partial(load_integer_network, build))
    assert require_one_clear_error(read, path, document) > 500


def test_mapping(build):
    path = build / "mapping.json"
    document = json.loads(path.read_text())
    network, target = load_integer_network(build), load_target(str(build / "target.yaml"))
    read = partial(written, path, partial(load_mapping, build, network, target))
    unread = ("target", "limits", "summary")
    assert require_one_clear_error(read, path, document, kept=unread) > 400


def test_report(build):
    path = build / "report.json"
    document = json.loads(path.read_text())
    read = partial(typed, kind=Report, path=path)
    assert require_one_clear_error(read, path, document, most=1000) > 700


def test_model_file(build):
    path = build / "model.pt"
    document = torch.load(path, weights_only=True)
    tensors = document.pop("tensors")

    def read(mutant):
        if isinstance(mutant, dict):
            mutant["tensors"] = tensors
            with suppress(Exception):
                mutant["digests"] = content_digests(mutant)
        torch.save(mutant, path)
        load_checkpoint(path)

    assert require_one_clear_error(read, path, document, most=200, kept=("training",)) > 120


@pytest.mark.parametrize(("name", "load"), [("target", load_target), ("array", load_array)])
def test_hardware_description(build, name, load):
    path = build / f"{name}.yaml"
    document = yaml.safe_load(path.read_text())

    def read(mutant):
        path.write_text(yaml.dump(mutant, Dumper=yaml.CSafeDumper))
        load(str(path))

    refused = require_one_clear_error(read, path, document, most=60, error=TargetError)
    assert refused > 45


RUN = {"network": "n", "engine": "exact", "samples": 4, "data": "d", "chunk_samples": 2}
CHUNK = {
    "chunk": 0,
    "predictions": [1, 2],
    "spikes": {"hidden": 3},
    "logits_sha256": "0" * 64,
}
MEASURES = {
    "interval_ticks": 5.5, "first_latency_ticks": 9, "stall_share": 0.5, "num_cores": 3, "num_chips": 1,
    "num_slots": 8, "accuracy": None, "interval_us": {"a": 1.5}, "first_latency_us": {}, "energy_nj": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("head", "line", "resume"),
    [
        (
            {"format": "qac-deploy simulation, version 3", **RUN},
            CHUNK,
            lambda path: Journal(path, RUN, resume=True),
        ),
        (
            {"format": "qac-deploy exploration, version 2", "model": "m"},
            {"design": "a b", "measures": MEASURES},
            lambda path: open_journal(path, {"model": "m"}, resume=True),
        ),
    ],
)
def test_journal(tmp_path, head, line, resume):
    path = tmp_path / "journal"
    first, digest = line_journal._line(head, "")

    def read(mutant):
        path.write_text(first + line_journal._line(mutant, digest)[0])
        resume(path).close(finished=False)

    read(line)
    assert require_one_clear_error(read, path, line) > 50


def test_all_of_a_report_is_declared(compiled, trained):
    """What is not declared would not be checked."""
    document = json.loads((compiled[1] / "report.json").read_text())
    assert json.loads(json.dumps(typed(document, Report, ""))) == document
    limits = set(MappedPopulationRecord.__annotations__) - {"cores", "replicas"}
    assert limits == CORE_LIMITS.keys()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "report.json",
            lambda document: document.pop("populations"),
            "report.json: populations is missing; compile the model again",
        ),
        (
            "report.json",
            lambda document: document["options"].update(samples=10**12),
            "report.json: options.samples must be an integer of at most 1,000,000, not 1000000000000; "
            "compile the model again",
        ),
        (
            "report.json",
            lambda document: document["pipeline"]["critical_buffers"].append(["a", "b", "c"]),
            "report.json: pipeline.critical_buffers[",
        ),
        (
            "mapping.json",
            lambda document: document["cores"][0].update(replica=999_999),
            "mapping.json: the cores of 'stem' must hold each of its neurons once",
        ),
        (
            "network.json",
            lambda document: document["populations"][0].update(shape=[1, 1, 2**60]),
            "network.json: populations[0].shape must be 3 integers of at most 16,777,216, not [1, 1, "
            "1152921504606846976]; compile the model again",
        ),
    ],
)
def test_a_build_whose_manifest_agrees(compiled, qac_deploy, tmp_path, file, change, message):
    """Whoever makes a build writes its manifest."""
    with whole_folder(tmp_path / "build", BUILD) as folder:
        shutil.copytree(compiled[1], folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        document = json.loads((folder / file).read_text())
        change(document)
        (folder / file).write_text(json.dumps(document))
    process = qac_deploy("report" if file == "report.json" else "simulate", "build")
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: build/{message}")


def test_the_documents_of_the_build_itself_are_read(compiled):
    assert load_report(compiled[1])["populations"]
    assert read_build(compiled[1]).options.samples == 16
