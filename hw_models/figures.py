"""Hardware figures: numbers in a YAML file, each with its source and the kind of that source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args

from msgspec import Meta, Struct

from toolchain.bounded_readers import read_yaml
from toolchain.errors import TargetError
from toolchain.field_types import LARGEST_COUNT, Name
from toolchain.schema import refusal, typed
from toolchain.shown_values import shown_name

Kind: TypeAlias = Literal["published", "fitted", "scaled", "assumed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BUILT_IN = Path(__file__).parent / "targets"
_LARGEST_FIGURE = 1e15  # of a time, an energy or an amount: sums of many stay exact enough
_Choice = TypeVar("_Choice")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number and where it comes from.

    Attributes:
        kind: ``published`` by the maker, ``fitted`` to measurements, ``scaled`` from another process or
            part, or ``assumed``.
    """

    value: Annotated[int | float, Meta(extra={"must_be": "a number"})]
    kind: Kind
    source: Annotated[
        str, Meta(min_length=1, extra={"must_be": "a text that says where the figure comes from"})
    ]


class _Document(Struct, kw_only=True):
    name: Name
    description: str
    figures: dict[str, Any]


@dataclass(frozen=True, eq=False)
class FigureFile:
    """A hardware description: free text, and figures by dotted name such as ``core.compartments``.

    Attributes:
        text: the file as it was read.
    """

    path: Path
    name: str
    description: str
    figures: Mapping[str, Figure]
    document: Mapping[str, Any]
    text: str

    def number(self, name: str, minimum: float = 0, maximum: float = _LARGEST_FIGURE) -> float:
        """A figure's value.

        Raises:
            TargetError: it is missing, or outside of the limits.
        """
        if name not in self.figures:
            raise TargetError(f"{self.path}: {name} is missing; add it with value, kind and source")
        value = self.figures[name].value
        if not minimum <= value <= maximum:
            limit = f"least {minimum:,g}" if value < minimum else f"most {maximum:,g}"
            raise TargetError(f"{self.path}: {name}.value must be at {limit}, not {value:g}")
        return value

    def integer(self, name: str, minimum: int = 1, maximum: int = LARGEST_COUNT) -> int:
        """An integer figure's value.

        Raises:
            TargetError: it is missing, outside of the limits, or no integer.
        """
        value = self.number(name, minimum, maximum)
        if value != int(value):
            raise TargetError(f"{self.path}: {name}.value must be an integer, not {value:g}")
        return int(value)

    def choice(self, name: str, options: Sequence[_Choice], default: _Choice) -> _Choice:
        """A setting that has no source, such as a design choice, by its dotted name.

        Args:
            options: the values that it may have.
            default: its value if the file does not have it.

        Raises:
            TargetError: it is none of the options.
        """
        node: Any = self.document
        for part in name.split("."):
            if not isinstance(node, dict):
                raise TargetError(f"{self.path}: {name.rpartition('.')[0]} must be a mapping")
            if part not in node:
                return default
            node = node[part]
        for option in options:
            if node == option and type(node) is type(option):
                return option
        listed = ", ".join(str(o).lower() if isinstance(o, bool) else str(o) for o in options)
        raise refusal(self.path, name, f"one of {listed}", node, error=TargetError)

    def section(self, name: str) -> dict[str, Figure]:
        """All figures below a dotted name, by the rest of their names."""
        prefix = f"{name}."
        return {n.removeprefix(prefix): f for n, f in self.figures.items() if n.startswith(prefix)}


def load_figures(name_or_path: str) -> FigureFile:
    """Read a hardware description: a built-in one by its name, any other by its path.

    Raises:
        TargetError: the message names the file, the field, the values it may have and the remedy.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = BUILT_IN / f"{name_or_path}.yaml"
    if not path.is_file():
        built_in = ", ".join(sorted(p.stem for p in BUILT_IN.glob("*.yaml")))
        raise TargetError(
            f"no hardware description '{name_or_path}'; choose one of {built_in}, or the path of a YAML file"
        )
    try:
        document, text = read_yaml(path)
    except (OSError, ValueError) as error:
        raise TargetError(f"{path}: not valid YAML ({error})") from error
    return read_figures(path, document, text)


def read_figures(path: Path, document: Any, text: str) -> FigureFile:
    """The figures of a document.

    Args:
        path: of its file, for messages.
        text: of its file.

    Raises:
        TargetError: the message names the file, the field, the values it may have and the remedy.
    """
    parts = "a hardware description has a name, a description and figures"
    found = typed(document, _Document, path, error=TargetError, remedy=parts)
    figures: dict[str, Figure] = {}
    _collect(path, "", found.figures, figures)
    return FigureFile(path, found.name, found.description.strip(), figures, document, text)


def _collect(path: Path, prefix: str, node: Any, figures: dict[str, Figure]) -> None:
    """Flatten nested sections; a mapping that has a ``value`` is a figure."""
    parts = "each figure has a value, its kind and its source"
    if not isinstance(node, dict):
        raise refusal(path, prefix, "a mapping of figures", node, error=TargetError, remedy=parts)
    if "value" in node:
        figures[prefix] = typed(node, Figure, path, where=prefix, error=TargetError, remedy=parts)
        return
    for key, child in node.items():
        name = shown_name(key)
        _collect(path, f"{prefix}.{name}" if prefix else name, child, figures)
