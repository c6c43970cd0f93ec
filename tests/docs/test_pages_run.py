"""Every code block and command of README and docs/ runs as a reader would run it, or says why not."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from markdown_pages import PAGES, code_blocks, page_name
from page_files import (
    copy_first_result,
    my_network,
    write_nir,
    write_own_data,
    write_quantized_onnx,
    write_relu_onnx,
)
from page_runner import PageError, kind_of, reason_not_run, run_page
from rich.console import Console

from deploy.report.terminal import print_summary
from toolchain.files.checkpoint import load_checkpoint

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


def needed(page):
    """Marks for what a page runs beside Python."""
    text = "".join(block.text for block in code_blocks(page) if not reason_not_run(block))
    found = {"lava": "--engine lava" in text, "sanafe": "sanafe" in text or "cross-check" in text}
    return [getattr(pytest.mark, name) for name, is_needed in found.items() if is_needed]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page_name(page), marks=needed(page)) for page in WITH_CODE]
)
def test_every_block_runs(page, compiled, tmp_path):
    name = page_name(page)
    copy_first_result(tmp_path, compiled[1])
    for write in WRITERS.get(name, ()):
        write(tmp_path)
    session = dict(SESSION.get(name, {}))
    outcomes = run_page(page, tmp_path, session)
    to_run = [b for b in code_blocks(page) if kind_of(b) != "shown" and not reason_not_run(b)]
    assert [outcome.block for outcome in outcomes if outcome.ran] == to_run
    if name in CHECKS:
        CHECKS[name](tmp_path, session)


def the_unet_finds_the_discs(folder, session):
    """The page's accuracy, the cost of max pooling in report and terminal, and one network in two forms."""
    report = json.loads((folder / "build" / "report.json").read_text())
    fidelity = report["fidelity"]
    assert fidelity["float_accuracy"] > 0.98
    assert fidelity["integer_accuracy"] == pytest.approx(fidelity["float_accuracy"], abs=0.002)
    assert load_checkpoint(folder / "model.pt").graph.readout.shape == (2, 16, 16)
    the_report_says_what_exact_max_pooling_costs(
        report, (folder / "build" / "report.html").read_text()
    )
    before, after = session["model"].graph, session["same"].graph
    for one, two in zip(before.synapses, after.synapses, strict=True):
        for first, second in zip(one.maps, two.maps, strict=True):
            if hasattr(first, "weight"):
                np.testing.assert_allclose(first.weight, second.weight, rtol=1e-12)


def the_report_says_what_exact_max_pooling_costs(report, page):
    """The ticks without its four populations: each adds its T and a link, and they follow each other."""
    names = ["pool.columns2", "pool.rows2", "pool.columns2_1", "pool.rows2_1"]
    cost, pipeline = report["max_pooling"], report["pipeline"]
    assert cost["populations"] == names
    own = [p for p in report["populations"] if p["name"] in names]
    assert cost["neurons"] == 4 * 3 * 64 + 8 * 3 * 16
    assert cost["cores"] == sum(p["cores"] for p in own)
    ticks = sum(p["timesteps"] + pipeline["link_ticks"] for p in own)
    latency, interval = pipeline["first_latency_ticks"], pipeline["interval_ticks"]
    assert cost["first_latency_ticks_without"] == latency - ticks
    assert cost["interval_ticks_without"] < interval
    sentence = (
        f"xact max pooling: 4 populations, 1,152 neurons on {cost['cores']} of "
        f"{report['mapping']['num_cores']} cores, the first result after {latency} ticks instead of "
        f"{latency - ticks}, then one every {interval:g} ticks instead of every "
        f"{cost['interval_ticks_without']:g} ticks (--optimize stalls adds "
        f"slots); train --max-pool average does without, but is another network"
    )
    terminal = Console(file=io.StringIO(), width=300)
    print_summary(report, terminal)
    assert f"e{sentence}" in terminal.file.getvalue()
    assert f"<p>E{sentence}" in page
    assert [row["method"] for row in report["alignment_trade"]] == ["average"]
    assert "Left out: replicate and truncate, since exact max pooling compares counts" in page
    # populations of a pool have the T of their source
    assert not any("less in pool." in change["description"] for change in pipeline["changes"])


CHECKS = {"docs/own-network.md": the_unet_finds_the_discs}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\n1 / 0\n```", "page.md, line 1: ZeroDivisionError"),
        ("a\n\n```\nqac-deploy simulat x\n```", "page.md, line 3: `qac-deploy simulat x` ended with 2"),
        ("```bash\npython -c 'raise SystemExit(3)'\n```", "ended with 3"),
        ("<!-- not run -->\n```python\n1 / 0\n```", "must give a reason"),
        ("<!-- run with 1 => 0 -->\n```python\n1\n```", "must end with '; reason: ...'"),
        ("```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```", "line 5: the block before prints\n1"),
        ("<!-- run with 2 => 0; reason: x -->\n```python\n1\n```", "not have what the mark replaces"),
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
        "<!-- file: limit.txt -->\n```text\n3\n```\n"
        "```python\nimport module\nprint(module.limit, Path('limit.txt').read_text(), end='')\n```\n"
        "<!-- output -->\n```text\n3 3\n```\n"
        "<!-- not run: takes hours -->\n```bash\nfalse\n```\n"
        "```bash\npip install nothing-of-that-name\n"
        "python -c 'import module; assert module.limit \\\n== 3'\n```\n"
    )
    outcomes = run_page(page, tmp_path, {"own": 1})
    assert (tmp_path / "seen").read_text() == "7 1"
    assert [outcome.ran for outcome in outcomes] == [
        True,
        True,
        True,
        False,
        True,
        False,
        False,
        True,
    ]
    assert [outcome.reason for outcome in outcomes if not outcome.ran] == [
        "is no code",
        "is no code",
        "takes hours",
    ]
