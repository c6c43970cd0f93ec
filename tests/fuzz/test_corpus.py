"""Every file that ever broke a reader, and what must become of it now."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from fuzz.cases import Case, Stage
from fuzz.judge import Judge
from fuzz.table import BY_NAME

CORPUS = Path(__file__).with_name("corpus")
EXPECTED = json.loads((CORPUS / "expected.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """judged(reader, seed, file, content): the verdict, with the limits of a run."""
    scratch = tmp_path_factory.mktemp("corpus")
    stages = {}

    def verdict(reader, seed, file, content):
        if reader not in stages:
            stages[reader] = Stage(BY_NAME[reader], scratch)
        stage, case = stages[reader], Case(seed, file, content, False)
        try:
            return judge.verdict(stage.reader, stage.placed(case), None)
        finally:
            stage.cleared(case)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(scratch)  # these are put back
        for name in ("TMPDIR", "QAC_DEPLOY_LIMIT_BYTES", "QAC_DEPLOY_DATA"):
            patch.setenv(name, "")
        judge = Judge(scratch)
        yield verdict


def test_every_file_has_its_outcome():
    files = {str(path.relative_to(CORPUS)) for path in CORPUS.rglob("*") if path.is_file()}
    assert files - {"expected.json"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_broke_once(name, judged):
    expected = EXPECTED[name]
    reader, content = name.partition("/")[0], (CORPUS / name).read_bytes()
    verdict = judged(reader, expected["seed"], expected["file"], content)
    assert verdict.kind == expected["outcome"], verdict
    assert expected["says"] in verdict.detail


def with_text(content, place, text):
    """An HDF5 file with a text in the place of an array."""
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        del file[place]
        file[place] = text
    return buffer.getvalue()


def with_offset(content, offset):
    """An ONNX file whose first tensor lies elsewhere in its data file."""
    model = onnx.ModelProto.FromString(content)
    for entry in model.graph.initializer[0].external_data:
        entry.value = offset if entry.key == "offset" else entry.value
    return model.SerializeToString()


def with_tensor(content, name):
    """A state_dict with one tensor more."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    buffer = io.BytesIO()
    torch.save({**state, name: torch.zeros(1)}, buffer)
    return buffer.getvalue()


def of_two_disks(content):
    """A zip archive whose locator says so: zipfile raises even when it is asked for the format alone."""
    place = content.rindex(b"PK\x06\x07") + 16
    return content[:place] + b"\x02" + content[place + 1 :]


BUILT = {
    "a model file of two disks": ("model", "model.pt", of_two_disks, "model.pt: "),
    "a training state of two disks": ("training-state", "state.pt", of_two_disks, "state.pt: "),
    "a text that turns the direction of a terminal": (
        "nir", "network.nir",
        lambda content: with_text(content, "node/nodes/conv/stride", "\u202eü"),
        "node 'conv': stride must be numbers, not \\u202eü",
    ),
    "the name of a node with an escape sequence, in an edge": (
        "nir", "network.nir",
        lambda content: with_text(content, "node/edges", np.array([["n1", "\x1b[31m"]], object)),
        "the edge 'n1' -> '\\x1b[31m' of the graph names '\\x1b[31m', which is no node of it",
    ),
    "an escape sequence as the name of a tensor": (
        "qcfs", "network.pth",
        lambda content: with_tensor(content, "\x1b[31m"),
        "network.pth: tensor '\\x1b[31m' is not part of vgg-11-wobn",
    ),
    "an offset of 4,000 digits": (
        "onnx-with-data", "network.onnx", lambda content: with_offset(content, "9" * 4_000),
        "'c0': offset must be a number of bytes, not '99999",
    ),
    "a result without a field": (
        "result", "results/table4-small.json", lambda content: content.replace(b'"rows"', b'"row"'),
        "table4-small.json: rows",
    ),
    "a result that is nested too deeply": (
        "result", "results/table4-small.json", lambda content: b"[" * 100_000,
        "table4-small.json: ",
    ),
}  # fmt: skip
"""Changes to sound files, where the file itself is large or its format changes."""


@pytest.mark.parametrize("name", BUILT)
def test_what_broke_once_built(name, judged):
    reader, file, change, says = BUILT[name]
    sound, *_ = BY_NAME[reader].seeds()
    verdict = judged(reader, 0, file, change(sound[file]))
    assert verdict.kind == "refused", verdict
    assert says in verdict.detail
