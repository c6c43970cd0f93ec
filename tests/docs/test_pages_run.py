"""Every code block and command of README and docs/ runs as a reader would run it, or says why not."""

from __future__ import annotations

import json
import re

import pytest
from markdown_pages import DOCS, PAGES, code_blocks, page_name
from page_files import (
    copy_first_result,
    my_network,
    write_nir,
    write_own_data,
    write_quantized_onnx,
    write_relu_onnx,
)
from page_runner import PageError, kind_of, reason_not_run, run_page

WITH_CODE = [
    page for page in PAGES if any(kind_of(block) != "shown" for block in code_blocks(page))
]
WRITERS = {
    "README.md": (write_own_data, write_relu_onnx, write_quantized_onnx),
    "docs/import.md": (write_quantized_onnx, write_relu_onnx),
    "docs/import-nir.md": (write_nir,),
    "docs/post-training.md": (write_relu_onnx,),
}
"""Files that the reader of a page has already; those of a first result are there for every page."""

SESSION = {"README.md": {"MyNetwork": my_network}}


@pytest.fixture
def reader(compiled, tmp_path_factory):
    """Runs a page in a new folder; returns the folder and what became of each block."""

    def run(page):
        folder = tmp_path_factory.mktemp(page.stem)
        copy_first_result(folder, compiled[1])
        for write in WRITERS.get(page_name(page), ()):
            write(folder)
        return folder, run_page(page, folder, SESSION.get(page_name(page)))

    return run


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=page_name)
def test_every_block_runs(page, reader):
    folder, outcomes = reader(page)
    to_run = [b for b in code_blocks(page) if kind_of(b) != "shown" and not reason_not_run(b)]
    assert [outcome.block for outcome in outcomes if outcome.ran] == to_run
    for check in CHECKS.get(page_name(page), ()):
        check(folder)


def neuron_updates_take_their_share_of_the_energy(folder):
    """Of the first result, as the page says."""
    said = re.search(
        r"neuron updates take (\d+) % of the energy: ([\d.]+) of ([\d.]+) µJ",
        " ".join((DOCS / "faq.md").read_text("utf-8").split()),
    )
    costs = json.loads((folder / "build" / "report.json").read_text())["costs"]["davies2018"]
    updates = sum(e for name, e in costs["energy_by_event_j"].items() if "update" in name)
    total = costs["energy_per_sample_j"]
    assert said.groups() == (
        f"{100 * updates / total:.0f}",
        f"{1e6 * updates:.2f}",
        f"{1e6 * total:.2f}",
    )


CHECKS = {"docs/faq.md": (neuron_updates_take_their_share_of_the_energy,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\n1 / 0\n```", "page.md, line 1: ZeroDivisionError"),
        ("a\n\n```\nqac-deploy simulat build\n```", "page.md, line 3: `qac-deploy simulat build` ended with 2"),
        ("```bash\npython -c 'raise SystemExit(3)'\n```", "ended with 3"),
        ("<!-- not run -->\n```python\n1 / 0\n```", "must give a reason"),
        ("<!-- run with 1 => 0 -->\n```python\n1\n```", "must end with '; reason: ...'"),
        ("<!-- run with 2 => 0; reason: fast -->\n```python\n1\n```", "does not have what the mark replaces"),
    ],
)  # fmt: skip
def test_a_page_that_does_not_work_is_found(tmp_path, text, message):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(PageError, match=re.escape(message)):
        run_page(page, tmp_path)


def test_blocks_share_a_session_a_folder_and_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: module.py -->\n```python\nlimit = 3\n```\n"
        "<!-- run with limit => 7; reason: tests the mark -->\n```python\nseen = limit\n```\n"
        "```python\nfrom pathlib import Path\nPath('seen').write_text(f'{seen} {own}')\n```\n"
        "```text\nqac-deploy nothing\n```\n"
        "<!-- not run: takes hours -->\n```bash\nfalse\n```\n"
        "```bash\npip install nothing-of-that-name\npython -c 'import module; assert module.limit \\\n== 3'\n```\n"
    )
    outcomes = run_page(page, tmp_path, {"own": 1})
    assert (tmp_path / "seen").read_text() == "7 1"
    assert [outcome.ran for outcome in outcomes] == [True, True, True, False, False, True]
    assert [outcome.reason for outcome in outcomes if not outcome.ran] == [
        "is no code",
        "takes hours",
    ]
