"""A build is known by its manifest: it is read only as it was written, and only it is ever replaced."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time

import pytest
from installed_command import run_command
from typer.testing import CliRunner

from deploy.build.folder import BUILD, SANAFE_EXPORT, changes_of, require_unchanged, whole_folder
from deploy.build.load import load_build
from deploy.build.one_folder import of_one_folder
from deploy.check.verify import compare_files
from deploy.cli.main import app
from toolchain.errors import ModelFileError
from toolchain.files.whole_files import PREFIX


@pytest.mark.parametrize("out", [".", "../work", ".."])
def test_the_current_folder_is_not_replaced(trained, tmp_path, out):
    """A shell in it would be left in a deleted folder, where the build cannot be seen."""
    here = tmp_path / "top" / "work"
    here.mkdir(parents=True)
    process = run_command("compile", trained[1], "--out", out, cwd=here)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {out}: is the current folder, or one above it")
    assert list(tmp_path.rglob("*")) == [here.parent, here]


@pytest.fixture
def build(compiled, tmp_path):
    return shutil.copytree(compiled[1], tmp_path / "build")


def files_of(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def write_folder(path, kind=BUILD, **files):
    with whole_folder(path, kind) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
    return path


def compile_refused(trained, tmp_path, out="build"):
    """The message of a compile run that changes nothing, and what was there."""
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    process = run_command("compile", trained[1], "--out", out, cwd=tmp_path)
    assert process.returncode == 2, process.stdout
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert not list(tmp_path.glob(f"{PREFIX}*"))
    return process.stderr


def test_a_folder_with_a_file_of_a_builds_name_is_no_build(trained, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "network.json").write_text("{}")
    (tmp_path / "p" / "thesis.tex").write_text("years of work")
    message = compile_refused(trained, tmp_path, "p")
    assert (
        "p: exists and is not a build folder, so it is not replaced: it has no manifest" in message
    )


def test_a_file_and_an_edit_of_the_users_in_a_build_are_kept_and_named(trained, build, tmp_path):
    (build / "lava" / "notes.txt").write_text("mine")
    with (build / "lava" / "processes.py").open("a") as file:
        file.write("# mine\n")
    assert compile_refused(trained, tmp_path) == (
        "error: build: is not replaced, since your changes in it would be lost: lava/processes.py was "
        "changed; lava/notes.txt was not written by qac-deploy; move it away, or choose another with --out\n"
    )


def test_a_build_as_it_was_written_is_replaced_through_a_link(trained, build, tmp_path):
    (build / "report.html").unlink()  # nothing is lost with it
    (tmp_path / "link").symlink_to("build")
    process = run_command("compile", trained[1], "--out", "link", "--slots", 3, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "link").is_symlink()
    assert load_build(build).options.slots == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["build", "link"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: (p / "a").write_text("edited"), "a was changed"),
        (lambda p: (p / "thesis.tex").write_text("mine"), "thesis.tex was not written"),
        (lambda p: (p / "empty").mkdir(), "empty was not written"),
        (lambda p: (p / "link").symlink_to(p.parent), "link was not written"),
        (lambda p: [(p / "a").rename(p.parent / "a"), (p / "a").symlink_to("../a")], "a was changed"),
        (lambda p: os.mkfifo(p / "pipe"), "pipe was not written"),
        (lambda p: (p / "manifest.json").write_text("{}"), "manifest.json: format is missing; "),
        (lambda p: (p / "manifest.json").write_text("{"), "manifest.json: was changed"),
        (lambda p: (p / "manifest.json").unlink(), "has no manifest.json"),
        (lambda p: write_folder(p.parent / "x", SANAFE_EXPORT).rename(p / "x"), "x/manifest.json was not"),
    ],
)  # fmt: skip
def test_what_is_the_users_in_any_form_keeps_a_folder(tmp_path, change, named):
    folder = write_folder(tmp_path / "build", a="1", b="2")
    change(folder)
    with pytest.raises(ModelFileError, match=named):
        write_folder(folder, a="new")
    assert (folder / "a").read_text() != "new"


def test_a_folder_of_another_kind_is_not_replaced(tmp_path):
    write_folder(tmp_path / "sanafe", SANAFE_EXPORT, a="1")
    with pytest.raises(ModelFileError, match=r"sanafe: exists and is not a build folder"):
        write_folder(tmp_path / "sanafe", BUILD, a="2")


def test_an_edit_while_the_folder_is_being_made_keeps_it(tmp_path):
    folder = write_folder(tmp_path / "build", a="1")

    def replace():
        with whole_folder(folder, BUILD) as new:
            (new / "a").write_text("2")
            (folder / "a").write_text("edited meanwhile")

    with pytest.raises(ModelFileError, match="a was changed"):
        replace()
    assert (folder / "a").read_text() == "edited meanwhile"


@pytest.mark.parametrize(
    "command",
    [
        ("compile", "{model}", "--out", "build/lava/again"),
        ("export", "build", "--format", "nir", "--out", "build/network.nir"),
        ("convert", "x.pth", "--arch", "resnet-20", "--out", "build/model.pt"),
        ("export", "build", "--format", "sanafe", "--out", "build/sanafe"),
    ],
)
def test_nothing_is_written_into_a_build(qac_deploy, trained, build, tmp_path, command):
    process = qac_deploy(*(part.format(model=trained[1]) for part in command))
    assert process.returncode == 2
    assert "which stays as qac-deploy wrote it; choose another with --out" in process.stderr
    assert str(changes_of(build, BUILD)) == ""


def test_a_changed_byte_in_any_file_of_a_build_is_noticed(build):
    """Also in the manifest itself, and a file that is missing or was added."""
    assert compare_files(build).status == "equal"
    names = files_of(build)
    assert {"manifest.json", "lava/run.py", "mapping.json", "report.html", "model.pt"} <= {*names}
    for name in names:
        path = build / name
        content = path.read_bytes()
        for at in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            if name == "manifest.json":
                with pytest.raises(ModelFileError, match=r"manifest\.json: "):
                    compare_files(build)
            else:
                assert compare_files(build).detail == f"{name} was changed"
        path.unlink()
        if name != "manifest.json":
            assert compare_files(build).detail == f"{name} is missing"
        path.write_bytes(content)
    (build / "lava" / "argparse.py").write_text("")
    assert compare_files(build).detail == "lava/argparse.py was not written by qac-deploy"


def test_any_changed_byte_of_a_manifest_is_noticed(tmp_path):
    folder = write_folder(tmp_path / "build", a="1", b="2")
    content = (folder / "manifest.json").read_bytes()
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        (folder / "manifest.json").write_bytes(changed)
        with pytest.raises(ModelFileError, match=r"manifest\.json: "):
            changes_of(folder, BUILD)


@pytest.mark.parametrize(
    ("file", "num_rungs"), [("pe_array.json", 1), ("mapping.json", 1), ("lava/run.py", 2)]
)
def test_verify_names_the_changed_file(qac_deploy, build, file, num_rungs):
    with (build / file).open("a") as opened:
        opened.write("\n")
    process = qac_deploy("verify", "build", "--samples", 1, "--lava-python", "no")
    assert process.returncode == 1
    assert f"DIFFERENT  files of the build: {file} was changed\n" in process.stdout
    # a line at the end changes nothing else, but sources must also be the installed ones
    assert process.stdout.count("DIFFERENT") == num_rungs


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate"],
        ["simulate", "--engine", "lava"],
        ["report"],
        ["compare"],
        ["cross-check"],
        *(["export", "--format", form] for form in ("nir", "netx", "sanafe")),
    ],
    ids=" ".join,
)
def test_no_other_command_uses_a_build_that_was_changed(build, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    document = json.loads((build / "report.json").read_text())
    document["mapping"]["cores"] = 1
    (build / "report.json").write_text(json.dumps(document, indent=1) + "\n")
    command, *options = arguments
    error = CliRunner().invoke(app, [command, "build", *options]).exception
    assert isinstance(error, ModelFileError)  # `main` ends with exit code 2
    assert str(error).startswith("build: is not as it was written: report.json was changed; ")


def test_the_report_of_a_changed_build_is_refused(qac_deploy, build):
    (build / "lava" / "run.py").unlink()
    process = qac_deploy("report", "build")
    assert process.returncode == 2
    assert process.stderr == (
        "error: build: is not as it was written: lava/run.py is missing; `qac-deploy compile model.pt` makes "
        "another; if the changes are yours, choose another folder with --out\n"
    )


def test_what_is_read_is_of_one_folder(tmp_path):
    """A folder is replaced again and again while it is read, file by file."""

    def write(number):
        with whole_folder(tmp_path / "build", BUILD) as folder:
            (folder / "a").write_text(str(number))
            (folder / "b").write_text(str(number))

    def replace_often():
        for number in range(30):
            write(number)
            time.sleep(0.01)

    def read():
        require_unchanged(tmp_path / "build", BUILD)
        try:
            first = (tmp_path / "build" / "a").read_text()
            time.sleep(0.001)
            return first, (tmp_path / "build" / "b").read_text()
        except OSError as error:
            raise ModelFileError(str(error)) from error

    write(-1)
    writer = threading.Thread(target=replace_often)
    writer.start()
    pairs = set()
    while writer.is_alive():
        pairs.add(of_one_folder(tmp_path / "build", read))
    writer.join()
    assert len(pairs) > 1
    assert all(a == b for a, b in pairs)


def test_a_build_replaced_without_end_is_said(tmp_path):
    write_folder(tmp_path / "build", a="1")

    def read():
        with whole_folder(tmp_path / "build", BUILD) as folder:
            (folder / "a").write_text("2")

    with pytest.raises(
        ModelFileError, match="build: was replaced 20 times while it was read; wait"
    ):
        of_one_folder(tmp_path / "build", read)
