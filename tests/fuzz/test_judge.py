"""The judge finds each kind of fault in a reader that has it, and cases are the same every time."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from fuzz import judge as judging
from fuzz.cases import case_of
from fuzz.judge import Judge
from fuzz.table import BY_NAME, READERS, Reader

from toolchain.errors import ModelFileError, QacDeployError


def wait(folder):
    end = time.process_time() + 5
    while time.process_time() < end:
        pass


def changing(folder):
    (folder / "file").write_bytes(b"other")


def refusing(text):
    def read(folder):
        raise ModelFileError(text)

    return read


FAULTS = {
    "traceback": lambda folder: {}["missing"],
    "executed": lambda folder: Path("executed").touch(),
    "slow": wait,
    "large": lambda folder: bytes(1 << 22) * 4 and bytearray(b"x" * (1 << 25)) and None,
    "changed a file": changing,
    "different": lambda folder: "other content",
    "message": refusing("x" * 10_000),
}
ESCAPES = {
    "opens '/etc/passwd'": lambda folder: Path("/etc/passwd").read_bytes(),
    "opens '/tmp/executed": lambda folder: Path("/tmp/executed").write_bytes(b""),
    "starts [": lambda folder: subprocess.run(["true"], check=True),
    "os.system": lambda folder: os.system("true"),
    "os.rmdir": lambda folder: os.rmdir("/nonexistent/folder"),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("judge")
    case = scratch / "case"
    case.mkdir()
    (case / "file").write_bytes(b"content")

    def verdict(read, sound=("content",)):
        reader = Reader(name="fake", files=("file",), seeds=list, read=read, change=lambda c, _: c)
        return judge.verdict(reader, case, list(sound))

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(scratch)  # these are put back
        for name in ("TMPDIR", "QAC_DEPLOY_LIMIT_BYTES"):
            patch.setenv(name, "")
        patch.setattr(judging, "MOST_SECONDS", 0.2)
        patch.setattr(judging, "MOST_BYTES", 1 << 24)
        judge = Judge(scratch)
        yield verdict


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_found(kind, judged):
    sound = ("content",) if kind == "different" else ()
    assert judged(FAULTS[kind], sound).kind == kind


@pytest.mark.parametrize("what", ESCAPES)
def test_what_leaves_the_folder_is_found(what, judged):
    verdict = judged(ESCAPES[what], ())
    assert verdict.kind == "left its folder"
    assert what in verdict.detail
    Path("/tmp/executed").unlink(missing_ok=True)


def test_what_is_right(judged):
    assert judged(lambda folder: "content").kind == "accepted"
    assert judged(refusing("file: field is 3, but must be 2; remedy")).kind == "refused"


@pytest.mark.parametrize("name", BY_NAME)
def test_cases_are_the_same_every_time_and_not_the_sound_file(name):
    reader = BY_NAME[name]
    sound = list(reader.seeds())
    cases = [case_of(reader, sound, number) for number in range(6)]
    assert cases == [case_of(reader, sound, number) for number in range(6)]
    assert len({case.content for case in cases}) > 1
    assert all(case.content != sound[case.seed][case.file] for case in cases)
    for held in sound:
        assert set(held) & set(reader.files)


def test_every_sound_file_is_read(tmp_path, monkeypatch):
    """All but those that ``convert`` names and refuses."""
    from fuzz.cases import Stage

    monkeypatch.setenv("QAC_DEPLOY_DATA", "")
    for reader in READERS:
        if reader.slow or reader.name.startswith(("sealed", "build")):
            continue
        stage = Stage(reader, tmp_path)
        assert (None in stage.contents()) == (reader.name == "safetensors"), reader.name
    assert issubclass(ModelFileError, QacDeployError)
