"""What README shows works: its Python example, its links, and its length."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from toolchain.datasets import load_recorded
from toolchain.files.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def own_network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 2),
    )  # fmt: skip


def test_the_example_with_ones_own_network_runs(tmp_path, monkeypatch):
    """As printed, but for the number of epochs; compile then finds the data set by its record."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez(
        "own.npz",
        train_images=rng.integers(0, 256, (64, 1, 8, 8), np.uint8),
        train_labels=np.arange(64) % 2,
        test_images=rng.integers(0, 256, (8, 1, 8, 8), np.uint8),
        test_labels=np.arange(8) % 2,
    )
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(example.replace("epochs=30", "epochs=1"), {"MyNetwork": own_network})
    checkpoint = load_checkpoint(Path("model.pt"))
    dataset, changed = load_recorded(checkpoint.training, Path("model.pt"))
    assert dataset.name == "own.npz"
    assert changed is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: no file {target}"


def test_readme_is_short_up_to_its_reference_tables():
    assert len(README.partition("\n## Reference\n")[0].split()) <= 1_000
