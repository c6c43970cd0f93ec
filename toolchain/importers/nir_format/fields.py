"""Fields of one node of a NIR graph, with errors that name the file, the node and the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.errors import ModelFileError
from toolchain.networks.linear_maps import Pair
from toolchain.shown_values import shown_text

MAX_SIZE = 2**24
"""Largest size, stride, padding or dilation of any use."""

MAX_NAME = 200
MAX_AXES = 8


@dataclass(frozen=True, eq=False)
class Fields:
    """The record of a node or graph.

    Args:
        label: the file, for messages.
        where: the node, empty for the outermost graph.
        record: its content, of any type.
    """

    label: str
    where: str
    record: object

    @property
    def place(self) -> str:
        return f"{self.label}: {self.where}" if self.where else self.label

    def refuse(self, field: str, must_be: str, value: object) -> ModelFileError:
        """The error for a bad field; raise it."""
        match value:
            case np.ndarray():
                found = f"{value.dtype} of shape {value.shape}"
            case Mapping():
                found = "a group"
            case _:
                found = shown_text(value, 60)
        return ModelFileError(f"{self.place}: {field} must be {must_be}, not {found}")

    def has(self, field: str) -> bool:
        return field in self._all()

    def is_text(self, field: str) -> bool:
        return isinstance(self._all().get(field), str)

    def text(self, field: str, default: str | None = None) -> str:
        value = self._value(field, default)
        if not isinstance(value, str):
            raise self.refuse(field, "a text", value)
        return value

    def metadata(self) -> Mapping[str, object]:
        found = self._all().get("metadata")
        return found if isinstance(found, Mapping) else {}

    def records(self, field: str) -> Mapping[str, object]:
        """Records by name, such as the nodes of a graph."""
        value = self._value(field)
        if not isinstance(value, Mapping):
            raise self.refuse(field, "a group", value)
        for name in value:
            if not name or not name.isprintable() or len(name) > MAX_NAME:
                raise self.refuse(
                    f"a name in {field}", f"1 to {MAX_NAME} printable characters", repr(name)
                )
        return value

    def edges(self) -> list[tuple[str, str]]:
        value = self._value("edges")
        if isinstance(value, np.ndarray) and value.size == 0:
            return []
        is_pairs = isinstance(value, np.ndarray) and value.dtype == object
        if not is_pairs or value.ndim != 2 or value.shape[1] != 2:  # type: ignore[attr-defined]
            raise self.refuse("edges", "pairs of names", value)
        return [(str(source), str(target)) for source, target in value]  # type: ignore[attr-defined]

    def numbers(self, field: str, dimensions: tuple[int, ...] | None = None) -> np.ndarray:
        """An array in float64; infinity and NaN are allowed in it.

        Args:
            dimensions: how many axes it may have.
        """
        value = self._value(field)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise self.refuse(field, "numbers", value)
        if value.ndim > MAX_AXES or (dimensions is not None and value.ndim not in dimensions):
            allowed = " or ".join(map(str, dimensions or (f"at most {MAX_AXES}",)))
            raise self.refuse(field, f"an array with {allowed} axes", value)
        if value.size == 0:
            raise self.refuse(field, "an array with at least one value", value)
        return value.astype(np.float64)

    def finite(self, field: str, dimensions: tuple[int, ...] | None = None) -> np.ndarray:
        values = self.numbers(field, dimensions)
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"{self.place}: {field} holds NaN or infinity; export an earlier state of the network"
            )
        return values

    def integer(self, field: str, least: int) -> int:
        (value,) = self._integers(field, (1,), least)
        return value

    def pair(self, field: str, least: int) -> Pair:
        """Numbers for rows and columns, or one for both."""
        found = self._integers(field, (1, 2), least)
        return found[0], found[-1]

    def pair_of_columns(self, field: str, least: int) -> Pair:
        """The number of a field of one dimension, for columns."""
        return int(field in ("stride", "dilation", "input_shape")), self.integer(field, least)

    def optional_shape(self, field: str) -> tuple[int, ...] | None:
        if not self.has(field):
            return None
        return self._integers(field, tuple(range(1, MAX_AXES + 1)), 1)

    def _integers(self, field: str, lengths: tuple[int, ...], least: int) -> tuple[int, ...]:
        values = self.numbers(field)
        flat = values.reshape(-1)
        whole = bool((flat == np.floor(flat)).all()) and bool(
            ((flat >= least) & (flat <= MAX_SIZE)).all()
        )
        if values.ndim > 1 or len(flat) not in lengths or not whole:
            allowed = "1 integer" if lengths == (1,) else f"{lengths[0]} to {lengths[-1]} integers"
            found = ", ".join(f"{value:g}" for value in flat[:4])
            raise self.refuse(field, f"{allowed} from {least} to {MAX_SIZE:,}", found)
        return tuple(int(value) for value in flat)

    def _value(self, field: str, default: str | None = None) -> object:
        found = self._all().get(field, default)
        if found is None:
            raise ModelFileError(f"{self.place}: {field} is missing")
        return found

    def _all(self) -> Mapping[str, object]:
        if not isinstance(self.record, Mapping):
            raise ModelFileError(f"{self.place}: must be a group of fields")
        return self.record
