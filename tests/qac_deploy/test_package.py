"""The package as such: what it exports, how fast it starts, and that type checkers see it."""

import subprocess
import sys
from pathlib import Path

import pytest

import qac_deploy as qd

HEAVY = {"torch", "numpy", "networkx", "matplotlib", "sklearn", "lightning", "rich", "IPython"}
EXAMPLE = """
import numpy as np
import qac_deploy as qd
from torch import nn

data: qd.Dataset = qd.load_data("digits")
module: nn.Module = qd.quantize(qd.network("lenet", data), max_pool="exact")
history: qd.History = qd.train(module, data, epochs=3, mean_timesteps=2.5)
losses: list[float] = history.loss
model: qd.Model = qd.convert(module, data, out="model.pt", normalize=((0.5,), (0.5,)))
steps: dict[str, int] = model.timesteps
build: qd.Build = qd.compile(model, out="build", slots={"*": 2}, alignment="average")
run: qd.Run = build.simulate(data.test_pixels[:4], engine="exact")
logits: np.ndarray = run.logits
accuracy: float | None = build.report.accuracy
interval: float = build.pipeline.interval_ticks
qd.train(module, data, epoch=3)  # error: call-arg
qd.compile(model, alignment="mean")  # error: arg-type
qd.trian(module, data)  # error: attr-defined
"""
SETTINGS = """
[mypy]
follow_imports = silent
ignore_missing_imports = True
cache_dir = /dev/null

[mypy-torch.*,numpy.*,sklearn.*,matplotlib.*,networkx.*]
follow_imports = skip
"""
"""The packages that take a minute to read are left out."""


def test_importing_the_package_loads_nothing_heavy():
    script = (
        f"import sys, qac_deploy as qd\nprint(sorted({HEAVY!r} & sys.modules.keys()), dir(qd) > [])"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert process.stdout == "[] True\n", process.stderr


def test_everything_exported_exists_and_is_documented():
    for name in qd.__all__:
        assert getattr(qd, name).__doc__
    with pytest.raises(AttributeError, match="module 'qac_deploy' has no attribute 'trian'"):
        qd.trian  # noqa: B018


def test_the_package_is_marked_as_typed():
    assert Path(qd.__file__).with_name("py.typed").is_file()


@pytest.mark.slow
def test_a_type_checker_sees_signatures_and_results(tmp_path):
    """The example is right, but for the lines that say which error they are."""
    file = tmp_path / "example.py"
    file.write_text(EXAMPLE)
    settings = tmp_path / "mypy.ini"
    settings.write_text(SETTINGS)
    process = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(settings), str(file)],
        capture_output=True, text=True, cwd=Path(qd.__file__).parents[1],
    )  # fmt: skip
    expected = [
        (index, line.split("error: ")[1])
        for index, line in enumerate(EXAMPLE.splitlines(), start=1)
        if "# error" in line
    ]
    found = [line for line in process.stdout.splitlines() if ": error:" in line]
    assert len(found) == len(expected), process.stdout + process.stderr
    for line, (number, code) in zip(found, expected, strict=True):
        assert f"example.py:{number}: " in line
        assert f"[{code}]" in line
