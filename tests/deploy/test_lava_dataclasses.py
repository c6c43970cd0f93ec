"""The bundle's file that lets Lava be imported on Python 3.11 and later."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from deploy.backends.lava.emit_bundle import SOURCES

MODULE = "lava.magma.compiler.var_model"


@dataclass
class Unhashable:
    """As Lava's ByteEncoder: a dataclass with ``__eq__`` has no ``__hash__``."""

    base: int = 0


@pytest.fixture
def unhashable_defaults(monkeypatch):
    """The bundle's context manager. What it imports of Lava is empty here."""
    parents = MODULE.split(".")
    for depth in range(1, len(parents) + 1):
        name = ".".join(parents[:depth])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    spec = importlib.util.spec_from_file_location("loaded", SOURCES / "lava_dataclasses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.unhashable_defaults


def test_an_unhashable_default_is_taken_as_in_python_310(unhashable_defaults):
    value, other, shared = Unhashable(1), Unhashable(2), Unhashable(3)
    with unhashable_defaults():

        @dataclass
        class Encoder:
            x: Unhashable = value
            y: Unhashable = field(default=other, repr=False)
            z: int = 4
            same: ClassVar[Unhashable] = shared
            unset: int = field(kw_only=True)

    made = Encoder(unset=5)
    assert (made.x is value, made.y is other, made.z, made.unset) == (True, True, 4, 5)
    assert (Encoder.x is value, Encoder.y is other, Encoder.same is shared) == (True, True, True)
    assert [f.name for f in dataclasses.fields(Encoder)] == ["x", "y", "z", "unset"]
    assert "y=" not in repr(made)
    assert Encoder(7, unset=5).x == 7


@pytest.mark.parametrize("mutable", [[], {}, set()], ids=["list", "dict", "set"])
def test_what_python_310_refuses_stays_refused(unhashable_defaults, mutable):
    with unhashable_defaults(), pytest.raises(ValueError, match="mutable default"):
        dataclass(type("Encoder", (), {"__annotations__": {"x": object}, "x": mutable}))


def test_the_rule_of_this_python_is_back_even_after_an_error(unhashable_defaults):
    rule = dataclasses._get_field
    context = unhashable_defaults()
    context.__enter__()
    assert dataclasses._get_field is not rule
    assert not context.__exit__(ImportError, ImportError(), None)
    assert dataclasses._get_field is rule
    if sys.version_info >= (3, 11):
        with pytest.raises(ValueError, match="mutable default"):
            dataclass(type("Encoder", (), {"__annotations__": {"x": object}, "x": Unhashable()}))


@pytest.mark.parametrize("source", sorted(SOURCES.glob("*.py")), ids=lambda path: path.name)
def test_every_file_that_imports_lava_imports_this_one_first(source: Path):
    lines = [
        line for line in source.read_text().splitlines() if line.startswith(("import", "from"))
    ]
    of_lava = [i for i, line in enumerate(lines) if line.split()[1].split(".")[0] == "lava"]
    first = [i for i, line in enumerate(lines) if line.startswith("import lava_dataclasses")]
    assert not of_lava or first < of_lava
