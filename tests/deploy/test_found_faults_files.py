"""Damaged, hostile and changed files of our own: a message and exit code 2, or what ``verify`` names."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch

from deploy.build.folder import BUILD, whole_folder


@pytest.fixture
def build(small_build, tmp_path):
    return shutil.copytree(small_build, tmp_path / "build")


def refused(process, *names):
    """The message of a command that refused its input, which holds the names."""
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    for name in names:
        assert name in process.stderr
    return process.stderr


def cyclic():
    values = []
    values.append(values)
    return values


def doubled(levels):
    values = [1]
    for _ in range(levels):
        values = [values, values]
    return values


TENSORS = {
    "with a gradient": lambda t: t.clone().requires_grad_(),
    "bfloat16": lambda t: t.to(torch.bfloat16),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "sparse": lambda t: t.to_sparse(),
    "meta": lambda t: t.to("meta"),
    "nested": lambda t: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "expanded": lambda t: torch.zeros(1).expand(1 << 20, 1 << 20, 1),
}
TRAINING = {
    "NaN": float("nan"),
    "a set": {1},
    "a cycle": cyclic(),
    "shared lists": doubled(40),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_that_is_not_plain_is_refused_by_its_name(qac_deploy, small_model, tmp_path, kind):
    document = torch.load(small_model, weights_only=True)
    name = sorted(document["tensors"])[0]
    document["tensors"][name] = TENSORS[kind](document["tensors"][name])
    document["version"] = 1  # without digests, which would tell first
    del document["digests"]
    torch.save(document, tmp_path / "bad.pt")
    refused(qac_deploy("compile", "bad.pt"), "bad.pt: ", f"tensors.{name} ")
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("kind", TRAINING)
def test_values_that_are_not_plain_are_refused_in_time(qac_deploy, small_model, tmp_path, kind):
    document = torch.load(small_model, weights_only=True)
    document["training"]["x"] = TRAINING[kind]
    torch.save(document, tmp_path / "bad.pt")
    begin = time.monotonic()
    refused(qac_deploy("compile", "bad.pt"), "bad.pt: ")
    assert time.monotonic() < begin + 20


ALIASES = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--target", ALIASES),
        ("--array", ALIASES),
        ("--target", "name: !!int abc\n"),
        ("--target", "[" * 100_000),
        ("--array", "name: \xff"),
    ],
    ids=["aliases", "aliases of an array", "no integer", "deep", "no text"],
)
def test_a_yaml_file_that_is_no_description(qac_deploy, small_model, tmp_path, option, text):
    (tmp_path / "bad.yaml").write_bytes(text.encode("latin-1"))
    begin = time.monotonic()
    refused(qac_deploy("compile", small_model, option, "bad.yaml"), "bad.yaml: ")
    assert time.monotonic() < begin + 20


def resealed(build):
    """The manifest of the files as they are, which whoever makes a build can write."""
    with whole_folder(build.with_name("resealed"), BUILD) as folder:
        for path in build.iterdir():
            if path.name != "manifest.json":
                (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    shutil.rmtree(build)
    build.with_name("resealed").rename(build)


def without(field):
    def change(content):
        document = json.loads(content)
        del document[field]
        return json.dumps(document).encode()

    return change


DOCUMENTS = {
    "no text": lambda content: b"\xff\xfe" + content,
    "deep": lambda content: b"[" * 100_000 + b"]" * 100_000,
    "no field": without("populations"),
}


@pytest.mark.parametrize("damage", DOCUMENTS)
@pytest.mark.parametrize(
    ("command", "file"),
    [
        (("report", "build"), "report.json"),
        (("simulate", "build", "--samples", "1"), "network.json"),
        (("compare", "build"), "report.json"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_of_a_build_that_cannot_be_decoded(qac_deploy, build, damage, command, file):
    """Its manifest agrees, as in a build of a stranger."""
    path = build / file
    path.write_bytes(DOCUMENTS[damage](path.read_bytes()))
    resealed(build)
    refused(qac_deploy(*command), file)


def change_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.pt", "network.safetensors", "lava/weights.npz"])
def test_one_flipped_bit_of_weights_is_refused_by_every_command(qac_deploy, build, file):
    change_byte(build / file)
    refused(qac_deploy("simulate", "build"), "build", file)
    process = qac_deploy("verify", "build", "--samples", 1)
    assert process.returncode in (1, 2)
    assert "Traceback" not in process.stderr
    assert file in process.stdout + process.stderr


def change_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1) + "\n")


def move_a_core(document):
    document["cores"][0]["position"][0] += 1


CHANGES = {
    "mapping.json": lambda p: change_json(p, move_a_core),
    "report.json": lambda p: change_json(p, lambda d: d.update(mean_timesteps=1.5)),
    "report.html": lambda p: p.write_text(p.read_text().replace("core", "c0re")),
    "pe_array.json": lambda p: p.write_text(p.read_text() + "\n"),
    "pipeline.trace.json": lambda p: p.write_text(p.read_text() + "\n"),
    "lava/run.py": lambda p: p.write_text("import os\n" + p.read_text()),
}


@pytest.mark.parametrize("files", [sorted(CHANGES)[:3], sorted(CHANGES)[3:]], ids=" ".join)
def test_verify_names_the_files_that_were_changed(qac_deploy, build, files):
    for file in files:
        CHANGES[file](build / file)
    process = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert process.returncode == 1, process.stderr
    (line,) = (line for line in process.stdout.splitlines() if "files of the build" in line)
    assert "DIFFERENT" in line
    for file in files:
        assert f"{file} was changed" in line


CODE = "import pathlib; pathlib.Path({!r}).touch()\n"


@pytest.mark.lava
@pytest.mark.parametrize(
    ("command", "code"), [(("simulate", "--engine", "lava"), 0), (("verify",), 1)], ids=["simulate", "verify"]
)  # fmt: skip
def test_no_code_in_a_build_is_executed(qac_deploy, build, tmp_path, command, code):
    """Also where the manifest is of whoever put the code there."""
    marker = tmp_path / "executed"
    for file in ("run.py", "processes.py", "argparse.py", "sitecustomize.py"):
        path = build / "lava" / file
        path.write_text(CODE.format(str(marker)) + (path.read_text() if path.exists() else ""))
    resealed(build)
    name, *options = command
    process = qac_deploy(name, "build", *options, "--samples", 1)
    assert process.returncode == code, process.stdout + process.stderr
    assert code == 0 or ".py: differs from the installed version" in process.stdout
    assert not marker.exists()


@pytest.mark.parametrize("first", ["[]", '{"format": 1}', "\\xff"])
def test_a_journal_of_something_else_is_refused(qac_deploy, build, tmp_path, first):
    state = tmp_path / "build.simulation"
    state.write_bytes(first.encode().replace(b"\\xff", b"\xff") + b"\n")
    before = state.read_bytes()
    refused(qac_deploy("simulate", "build", "--resume"), "build")
    assert state.read_bytes() == before


def test_a_training_state_with_another_plan_is_refused(qac_deploy, tmp_path):
    state = tmp_path / "model.pt.qac.training"
    torch.save({"format": "qac-deploy training", "version": 1, "plan": 5}, state)
    before = state.read_bytes()
    process = qac_deploy("train", "--epochs", 1, "--resume", timeout=120)
    refused(process, state.name)
    assert state.read_bytes() == before
