"""The notebooks run anew and print what is stored in them."""

from __future__ import annotations

import importlib.util
import warnings
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"


def load(name):
    """A module of the folder of tutorials, which is no package."""
    spec = importlib.util.spec_from_file_location(name, TUTORIALS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


runner = load("run_notebooks")
NOTEBOOKS = runner.notebooks()


def differences(stored, new):
    """Source of each cell whose text output is not the stored one."""
    old, now = runner.text_outputs(stored), runner.text_outputs(new)
    return [f"{a}\nprints\n{b[1]}" for a, b in zip(old, now, strict=True) if a != b]


@pytest.fixture(scope="module")
def stored():
    return {name: nbformat.read(path, as_version=4) for name, path in NOTEBOOKS.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.lava] * ("lava" in n)) for n in NOTEBOOKS]
)
def test_a_notebook_prints_what_is_stored(name, stored):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the kernel's client
        new = runner.executed(NOTEBOOKS[name])
    found = differences(stored[name], new)
    made_on, here = stored[name].metadata.processor, runner.processor()
    if found and made_on != here:
        pytest.skip(f"made on {made_on}, and networks trained on {here} differ: {found[0]}")
    assert found == []


def test_every_notebook_is_stored_with_its_outputs_and_little_else(stored):
    for name, notebook in stored.items():
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"
        assert runner.text_outputs(notebook), name
        assert notebook == runner.stripped(deepcopy(notebook)), f"run run_notebooks.py {name}"
        assert not any(
            o.output_type == "error" for c in notebook.cells for o in c.get("outputs", ())
        )


def test_the_comparison_sees_a_changed_number(stored):
    notebook = deepcopy(stored["stall-report"])
    assert differences(stored["stall-report"], notebook) == []
    cell = next(
        c for c in notebook.cells if c.cell_type == "code" and "ticks between" in str(c.outputs)
    )
    cell.outputs[0].text = cell.outputs[0].text.replace("5.5", "4.5")
    (found,) = differences(stored["stall-report"], notebook)
    assert "4.5" in found


def test_seconds_are_not_compared(stored):
    first, second = deepcopy(stored["stall-report"]), deepcopy(stored["stall-report"])
    for notebook, words in ((first, "took 1.25 s"), (second, "took 14 s")):
        notebook.cells.append(
            nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text=words)])
        )
    assert differences(first, second) == []
