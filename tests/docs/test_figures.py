"""Every figure of README and docs/ has its command beside it, and shows what that command measured.

A picture or a table of numbers is followed, before the next heading, by a line such as
"*Made by `python benchmarks/figures pipeline`.*"; "Checked by" names a test that holds the numbers.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import typer

from benchmarks import torchvision_networks
from benchmarks.figures import pictures
from benchmarks.figures.__main__ import PARTS, blocks
from benchmarks.figures.commands import MODELS, made_with
from benchmarks.figures.pages import replaced
from benchmarks.performance import page as performance_page
from benchmarks.post_training import page as post_training_page
from deploy.cli.main import app
from deploy.reproduce.results_page import write_results_page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FIGURES = ROOT / "benchmarks" / "figures"
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
]
HEADING = re.compile(r"#{1,6} ")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)|<img [^>]*src=\"([^\"]+)\"")
MADE_BY = re.compile(r"\b(?:Made|Checked) by ((?:`[^`]+`(?:, then | and )?)+)")
PICTURES = (pictures.COMPILE, pictures.TRACE, pictures.EXPLORE)
NUMBER = re.compile(r"[(*+−-]*\d[\d.,]*")
MOST_WORDS = 5
"""Of a table's cell that is a number, such as "0.16 x the time"."""

PROSE = re.compile(
    r"\d[\d.,]*(?: ?%| percent| points?\b| ?(?:ms|µs|us|s|seconds|minutes|µJ|mJ|nJ|kB|MB|GB)\b"
    r"| times as fast| x the)"
)
COMMAND = re.compile(r"(?:`|^    |^)(?:qac-deploy|make|python)\s[\w/-]", re.MULTILINE)
NOT_MEASURED = {
    "docs/post-training.md": ("99.9 %", "0.05 percent"),  # a setting; one image of 2,000
    "docs/sana-fe.md": ("24.3 %", "11.7 %"),  # published by SANA-FE's authors
}
"""Numbers with a unit that nobody here measured."""


def figures_without_command(text):
    """Lines of pictures and tables of numbers that no "Made by" follows before the next heading."""
    missing, waiting, cells = [], [], []
    in_code = False
    lines = [*text.splitlines(), "# end"]
    for number, (line, following) in enumerate(zip(lines, [*lines[1:], ""], strict=True), 1):
        if line.startswith("```"):
            in_code = not in_code
        if in_code:
            continue
        if line.startswith("|"):
            cells.append([cell.strip() for cell in line.strip("| ").split("|")][1:])
            continue
        if cells:
            values = [cell for row in cells[2:] for cell in row if cell]
            numbers = [v for v in values if NUMBER.match(v) and len(v.split()) <= MOST_WORDS]
            if len(numbers) >= 4 and 2 * len(numbers) >= len(values):
                waiting.append(number - len(cells))
            cells = []
        if PICTURE.search(line):
            waiting.append(number)
        if MADE_BY.search(line) or (line.endswith(" by") and MADE_BY.search(f"{line} {following}")):
            waiting = []
        if HEADING.match(line):
            missing += waiting
            waiting = []
    return missing


def sections_without_command(page):
    """Measured numbers of the sections that name no command, by heading."""
    text = page.read_text("utf-8")
    found = {}
    for section in re.split(r"^(?=#{1,6} )", text, flags=re.MULTILINE):
        given = NOT_MEASURED.get(name_of(page), ())
        numbers = [n for n in PROSE.findall(section) if n not in given]
        if numbers and not COMMAND.search(section):
            found[section.splitlines()[0]] = numbers
    return found


def named_commands(text):
    """The commands of all "Made by" lines of a page."""
    return [
        command
        for line in MADE_BY.findall(" ".join(text.split()))
        for command in re.findall("`([^`]+)`", line)
    ]


@cache
def options_of_commands():
    """The options of each command of ``qac-deploy``."""
    commands = typer.main.get_command(app).commands
    return {
        name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        for name, command in commands.items()
    }


def complaint(command):
    """Why a command cannot be run, or None."""
    program, *arguments = shlex.split(command)
    words = [argument for argument in arguments[1:] if not argument.startswith("-")]
    options = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    if program == "make":
        targets = re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [target for target in arguments if target not in targets]
        return f"no make target {unknown[0]}" if unknown else None
    if program == "qac-deploy":
        known = options_of_commands().get(arguments[0])
        if known is None:
            return f"no command {arguments[0]}"
    elif program == "python":
        if arguments[:2] == ["-m", "pytest"]:
            return next(
                (f"no file {a}" for a in arguments if "/" in a and not (ROOT / a).exists()), None
            )
        path = ROOT / arguments[0]
        if not path.exists():
            return f"no file {arguments[0]}"
        files = path.rglob("*.py") if path.is_dir() else [path]
        known = {
            option for f in files for option in re.findall(r'"(--[\w-]+)"', f.read_text("utf-8"))
        }
        parts = {FIGURES: PARTS, DOCS / "pictures": {file.stem for file in path.glob("*.py")}}
        if unknown := set(words) - set(parts.get(path, words)):
            return f"no part {', '.join(unknown)}"
    else:
        return f"{program} is not one of python, make, qac-deploy"
    unknown = [option for option in options if option not in known]
    return f"no option {unknown[0]}" if unknown else None


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_figure_names_its_command(page):
    assert figures_without_command(page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_named_exist(page):
    text = page.read_text("utf-8")
    assert {c: complaint(c) for c in named_commands(text) if complaint(c)} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_measured_numbers_in_prose_have_a_command_in_their_section(page):
    assert sections_without_command(page) == {}


def test_a_measured_number_without_a_command_is_found(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\nIt takes 1.5 ms.\n\n## B\n\nStalls drop to 25 %: `qac-deploy compile m.pt`.\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert sections_without_command(page) == {"# A": ["1.5 ms"]}


def test_a_figure_without_a_command_is_found():
    picture, table = (
        "![Time](time.png)\n",
        "| a | b | c |\n|---|---|---|\n| x | 1.5 % | 20 |\n| y | -3 | 4 |\n",
    )
    made = "\n*Made by `make benchmark`.*\n"
    assert figures_without_command(f"# A\n\n{picture}") == [3]
    assert figures_without_command(f"# A\n\n{table}") == [3]
    assert figures_without_command(f"# A\n\n{table}\n{picture}{made}") == []
    assert figures_without_command(f"# A\n\n{picture}\n## B\n{made}") == [3]
    assert figures_without_command(f"# A\n{made}\n{picture}") == [5]
    assert figures_without_command(f"# A\n{picture}\n*Time. Made by\n`make benchmark`.*\n") == []
    assert figures_without_command("| option | what it does |\n|---|---|\n| `-3` | three |\n") == []
    assert figures_without_command(f"```\n{picture}```\n") == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("make pictures", None),
        ("make coffee", "no make target coffee"),
        ("qac-deploy compile model.pt --optimize stalls", None),
        ("qac-deploy compile model.pt --optimise stalls", "no option --optimise"),
        ("qac-deploy bake model.pt", "no command bake"),
        ("python benchmarks/performance --only engines --device cuda", None),
        ("python benchmarks/performance --gpu", "no option --gpu"),
        ("python benchmarks/nothing.py", "no file benchmarks/nothing.py"),
        ("python benchmarks/figures digits", None),
        ("python benchmarks/figures nothing", "no part nothing"),
        ("python docs/pictures max_pooling", None),
        ("python docs/pictures nothing", "no part nothing"),
        ("python -m pytest tests/test_nothing.py", "no file tests/test_nothing.py"),
        ("draw picture.png", "draw is not one of python, make, qac-deploy"),
    ],
)
def test_a_command_that_does_not_exist_is_found(command, why):
    assert complaint(command) == why
    assert named_commands(f"*Made by `{command}` (qac-deploy 1.0.0).*") == [command]


@pytest.mark.parametrize("name", PARTS)
def test_a_page_shows_what_was_measured(name):
    """Nothing between the marks of a figure is written by hand."""
    if PARTS[name].page is not None:
        text = (DOCS / PARTS[name].page).read_text("utf-8")
        for block, figure in blocks(name, DOCS).items():
            assert replaced(text, block, figure) == text


@pytest.mark.parametrize("name", PARTS)
def test_the_commands_that_were_measured_exist(name):
    """Those that the JSON file of a part lists, and no more models than it says."""
    document = json.loads((DOCS / "figures" / f"{name}.json").read_text("utf-8"))
    commands = [c for c in document["commands"] if not c.startswith("python: ")]
    assert {c: complaint(c) for c in commands if complaint(c)} == {}


@pytest.mark.parametrize("command", [*MODELS.values(), *PICTURES])
def test_the_commands_of_models_and_pictures_exist(command):
    assert complaint(f"qac-deploy {command}") is None


def test_the_generated_pages_are_those_of_their_measurements(tmp_path, monkeypatch):
    """docs/performance.md, post-training.md, torchvision.md and results.md, without drawing their plots."""
    monkeypatch.setattr(performance_page, "plot_engines", lambda document, path: None)
    monkeypatch.setattr(post_training_page, "_plot", lambda found, path: None)
    for folder in ("performance", "post-training", "torchvision", "results"):
        shutil.copytree(DOCS / folder, tmp_path / folder)
    shutil.copy(DOCS / "post-training.md", tmp_path)
    performance_page.write_page(tmp_path / "performance")
    post_training_page.write_page(tmp_path)
    torchvision_networks.write_page(tmp_path)
    write_results_page(tmp_path / "results")
    for page in ("performance.md", "post-training.md", "torchvision.md", "results.md"):
        assert (tmp_path / page).read_text("utf-8") == (DOCS / page).read_text("utf-8"), page


def found_by(name):
    return json.loads((DOCS / "figures" / f"{name}.json").read_text("utf-8"))["found"]


def test_readme_says_what_was_measured():
    """Its numbers are those of docs/figures/ and docs/performance.md."""
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    digits = found_by("digits")
    now, then = digits["now"], digits["then"]
    more = {1: "One more shortens", 2: "Two more shorten", 3: "Three more shorten"}
    us = [design["interval_us"]["davies2018"] for design in (now, then)]
    first_page = " ".join((DOCS / "index.md").read_text("utf-8").split())
    said = (
        f"on {now['num_cores']} cores. {more[then['num_cores'] - now['num_cores']]} the time between results "
        f"from {us[0]:.0f} to {us[1]:.0f} µs"
    )
    assert said in readme
    assert said in first_page
    designs = found_by("pipeline")["designs"]
    first, sized = (d["stall_share"] for d in designs if d["mean_timesteps"] == designs[0]["mean_timesteps"]
                    and d["verdict"] == "kept" and not d["replicas"])  # fmt: skip
    assert f"stalls drop from {first:.0%} to {sized:.0%}".replace("%", " %") in readme
    measured = (DOCS / "performance.md").read_text("utf-8").partition("### resnet-18")[2]
    (ann,) = re.findall(r"\*\*([\d.]+)\*\* x the float ANN's time", measured.partition("###")[0])
    peer = re.findall(
        r"T = (?:4|16): \*\*(\d+)\*\* times as fast as SpikingJelly", measured.partition("###")[0]
    )
    (lava,) = re.findall(r"\*\*([\d,]+)\*\* times as fast as Lava", measured.partition("###")[0])
    assert f"| {ann} x the time | {' / '.join(peer)} x as fast | {lava} x as fast |" in readme


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "dataflows", "import"])
def test_a_figure_measured_again_is_the_same(name, tmp_path):
    """On a processor with other instructions, sums round otherwise and training gives another network."""
    before = json.loads((DOCS / "figures" / f"{name}.json").read_text("utf-8"))
    here = made_with()
    if any(before["made_with"][key] != here[key] for key in ("torch", "processor")):
        pytest.skip(f"made with {before['made_with']}, not {here}")
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / PARTS[name].page, docs)
    command = [
        sys.executable,
        "benchmarks/figures",
        name,
        "--work",
        tmp_path / "work",
        "--docs",
        docs,
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    again = json.loads((docs / "figures" / f"{name}.json").read_text("utf-8"))
    assert again["found"] == before["found"]
    assert again["commands"] == before["commands"]
