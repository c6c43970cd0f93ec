"""Names and texts of others in every place that a file can give: each output shows them as text alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree
from html.parser import HTMLParser
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from builders import float_connect, float_dense, float_network_of, float_spiking
from installed_command import in_terminal, run_command

from hw_models.figures import BUILT_IN
from toolchain.files.checkpoint import Checkpoint, save_checkpoint
from toolchain.printable import printable

MARKUP = "[red]</script><script>alert(1)</script>&amp;'\"\\"
NOT_PRINTING = "\x1b[31m\x07\u202e\u200b\u2028"

LONG, UPPER, DECOMPOSED = f"{MARKUP}$\\frac$`id`|*_*:smile:[/bold]{'n' * 80}", "a\u0308", "\u00e4"
POPULATIONS = (LONG, UPPER, DECOMPOSED, "A\u0308", "../-x %s", "=1+1,\\", "constructor", "0")
"""A chain; all are printable, as a model file must have it."""

MODEL = f"-m o'del\n{NOT_PRINTING}[b]\udcff.pt"
DATA = f"-da ta\n{NOT_PRINTING}[b]$x$.npz"
BUILD = f"-b uild\n{NOT_PRINTING}[b]"
TARGET = f"target\n{NOT_PRINTING}{MARKUP}$x$"
ARRAY = f"array\n{NOT_PRINTING}{MARKUP}$x$"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, its data and hardware files, and what compiling them printed."""
    folder = tmp_path_factory.mktemp("place")
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 255, (40, 4, 4, 1)).astype(np.uint8),
        "test_images": rng.integers(0, 255, (20, 4, 4, 1)).astype(np.uint8),
        "train_labels": np.arange(40) % 3,
        "test_labels": np.arange(20) % 3,
    }
    np.savez(folder / DATA, **arrays)
    sizes = dict.fromkeys(POPULATIONS, 6)
    chain = ["input", *POPULATIONS, MARKUP]
    network = float_network_of(
        *(float_spiking(name, (6, 1, 1), 2, 0.5, bias=0.1) for name in POPULATIONS),
        *(
            float_connect(a, b, float_dense(rng.normal(size=(sizes.get(b, 3), sizes.get(a, 16))) / 3))
            for a, b in pairwise(chain)
        ),
        image=(1, 4, 4), max_value=255, unit=1 / 255, readout=MARKUP, classes=3,
    )  # fmt: skip
    save_checkpoint(folder / "model.pt", Checkpoint(network, {"data": DATA}))
    os.rename(folder / "model.pt", os.fsencode(folder / MODEL))
    for built_in, name in (("loihi-sim", TARGET), ("pe-array", ARRAY)):
        document = yaml.safe_load((BUILT_IN / f"{built_in}.yaml").read_text())
        document |= {"name": name, "description": name}
        if "profiles" in document:
            document["profiles"] = {name: document["profiles"].popitem()[1]}
        (folder / f"{built_in}.yaml").write_text(yaml.safe_dump(document))
    process = run_command(
        "compile", f"./{MODEL}", "--target", "loihi-sim.yaml", "--array", "pe-array.yaml",
        "--data", f"./{DATA}", "--out", BUILD, "--samples", 4, "--thresholds", 1, cwd=folder,
    )  # fmt: skip
    require_plain(process)
    return SimpleNamespace(folder=folder, compiled=process)


def require_plain(process):
    """Every character prints, or ends a line."""
    assert process.returncode == 0, process.stdout + process.stderr
    for text in (process.stdout, process.stderr):
        assert text.replace("\n", "").isprintable(), ascii(text)


def words_that_bash_reads(command, folder):
    """The arguments that a pasted command gets."""
    script = f"qac-deploy() {{ printf '%s\\0' \"$@\"; }}; {command}"
    output = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, check=True
    ).stdout
    return [os.fsdecode(word) for word in output.split(b"\0")[:-1]]


class Page(HTMLParser):
    """Counts tags, and gathers what runs."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.tags, self.is_script = [], set(), False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.is_script = tag == "script" and dict(attributes).get("type") != "application/json"
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data):
        if self.is_script:
            self.scripts.append(data)


def require_safe_page(path):
    text = path.read_text(encoding="utf-8")
    assert text.translate({10: "", 9: "", 0xA0: ""}).isprintable()
    assert not any("alert(1)" in script for script in Page(text).scripts)
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL):
        json.loads(data)


def test_compile_and_report_show_names_as_text(place):
    folder, said = place.folder, place.compiled.stdout
    for name in POPULATIONS:
        assert name in said or name[:30] in said
    assert f"{printable(TARGET)}" in said
    require_plain(run_command("report", f"./{BUILD}", cwd=folder))
    require_safe_page(folder / BUILD / "report.html")
    (command,) = re.findall(r"^next: (.*)$", said, re.MULTILINE)
    assert words_that_bash_reads(command, folder)[:2] == ["simulate", f"./{BUILD}"]
    suggested = re.findall(r"^    (qac-deploy compile .*)$", said, re.MULTILINE)
    for command in suggested:
        assert words_that_bash_reads(command, folder)[:2] == ["compile", f"./{MODEL}"]


def test_a_terminal_gets_only_our_own_escape_sequences(place):
    shown = in_terminal(40, "report", f"./{BUILD}", cwd=place.folder)
    assert shown.replace("\n", "").isprintable()
    assert MARKUP[:12] in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "{build}"),
        ("trace", "{build}", "--population", LONG, "--plot", "trace.svg"),
        pytest.param(("compare", "{build}", "--plot", "compare.svg"), marks=pytest.mark.slow),
        ("report", "--diff", "{build}", "{build}", "--out", "diff.html"),
        ("export", "{build}", "--format", "c", "--out", "-c\n\x1b[31m"),
        ("export", "{build}", "--format", "onnx"),
        pytest.param(("export", "{build}", "--format", "nir"), marks=pytest.mark.slow),
        pytest.param(("export", "{build}", "--format", "netx"), marks=pytest.mark.slow),
        pytest.param(
            ("export", "{build}", "--format", "sanafe"),
            marks=[pytest.mark.sanafe, pytest.mark.slow],
        ),
        pytest.param(("verify", "{build}"), marks=[pytest.mark.lava, pytest.mark.slow]),
        pytest.param(("cross-check", "{build}"), marks=[pytest.mark.sanafe, pytest.mark.slow]),
        pytest.param(("calibrate", "{model}", "--samples", "8", "--epochs", "1"), marks=pytest.mark.slow),
        pytest.param(
            ("explore", "{model}", "--budget", "3", "--workers", "1", "--out", "-e\n\x1b[31m"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda arguments: " ".join(word for word in arguments if word.isidentifier()),
)  # fmt: skip
def test_no_command_prints_or_draws_what_is_not_text(place, arguments):
    folder = place.folder
    names = {"build": f"./{BUILD}", "model": f"./{MODEL}"}
    words = [names.get(word.strip("{}"), word) if word[:1] == "{" else word for word in arguments]
    process = run_command(*words, cwd=folder)
    require_plain(process)
    for path in folder.glob("*.svg"):
        xml.etree.ElementTree.parse(path)
    for page in [*folder.glob("*.html"), *folder.glob("*/*.html")]:
        require_safe_page(page)
    if "make -C" in process.stdout:
        (made,) = re.findall("`(make .*)`", process.stdout)
        assert shutil.which("cc")
        subprocess.run(["bash", "-c", f"{made} >&2"], cwd=folder, check=True)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("report", f"no\n{NOT_PRINTING}{MARKUP}\udcff"), "no\\n\\x1b[31m\\x07\\u202e\\u200b\\u2028[red]"),
        (("compile", f"./{MODEL}", "--target", f"{NOT_PRINTING}[b]"), "\\x1b[31m"),
        (("train", "--data", f"{NOT_PRINTING}[b]"), "\\x1b[31m"),
        (("trace", f"./{BUILD}", "--population", f"{NOT_PRINTING}[b]"), "\\x1b[31m"),
        (("simulate", f"./{BUILD}", "--engine", f"{NOT_PRINTING}[b]"), "\\x1b[31m"),
        (("convert", f"./{MODEL}"), "\\x1b[31m"),
        ((f"{NOT_PRINTING}[b]",), "\\x1b[31m"),
    ],
    ids=lambda value: value[0][:8] if isinstance(value, tuple) and value[0].isprintable() else "",
)  # fmt: skip
def test_errors_show_names_as_text(place, arguments, shown):
    process = run_command(*arguments, cwd=place.folder)
    assert process.returncode == 2
    assert process.stderr.replace("\n", "").isprintable(), ascii(process.stderr)
    assert shown in process.stderr
