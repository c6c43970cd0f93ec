"""Read JSON and YAML from anyone, within bounds of size and depth.

A parser alone is no gate: short files can nest deeper than Python recurses, or name one list a billion times
through aliases. What passes here is plain, finite and small enough to walk through.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from toolchain.shown_values import first_line, shown, shown_name

MAX_DEPTH = 64
"""Most levels of records and lists in a document."""

MAX_VALUES = 100_000
"""Most values of a document that can name one list more than once."""

MAX_JSON_BYTES = 128 << 20
MAX_JSON_VALUES = 4_000_000  # about 400 MB of memory; a mapping has 25 for each core
MAX_WIDE_BYTES = 16 << 20  # one character can make all of a text four times as wide
MAX_JOURNAL_BYTES = 256 << 20
MAX_YAML_BYTES = 128 << 10  # PyYAML reads about 50 kB per second
_MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = 20  # with a sign
_CHUNK_BYTES = 1 << 20

_DEPTH_STEP = np.zeros(256, np.int32)
_DEPTH_STEP[list(b"[{")] = 1
_DEPTH_STEP[list(b"]}")] = -1


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more bytes, or is no regular file, such as a FIFO, which would be waited for.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("no regular file (a FIFO, a socket or a device)")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes:,} bytes")
    return content


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: saying what is wrong, as ``parse_json``, or that it is too large.
    """
    return parse_json(read_bytes(path, MAX_JSON_BYTES))


def parse_json(content: bytes) -> Any:
    """Read a JSON document.

    Raises:
        ValueError: saying what is wrong: its encoding, syntax, depth or number of values, or a number that
            is not finite or an integer of more than 64 bits.
    """
    text = content.decode()
    if len(content) > MAX_WIDE_BYTES and not text.isascii():
        raise ValueError(f"larger than {MAX_WIDE_BYTES:,} bytes, with other characters than ASCII")
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES:
        raise ValueError(f"more than {MAX_JSON_VALUES:,} values")
    if _depth(content) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} levels deep")
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, parse_int=_integer, parse_float=_number
        )
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels deep") from None


def _depth(content: bytes) -> int:
    """Most brackets that are open at once, outside of texts."""
    if b"\\" in content:  # take out escaped backslashes, then escaped quotes
        content = content.replace(b"\\\\", b"")
        content = content.replace(b'\\"', b"")
    deepest = level = num_quotes = 0
    for start in range(0, len(content), _CHUNK_BYTES):
        chunk = np.frombuffer(content[start : start + _CHUNK_BYTES], np.uint8)
        quotes = (chunk == ord('"')).cumsum() + num_quotes
        levels = np.where(quotes % 2, 0, _DEPTH_STEP[chunk]).cumsum() + level
        deepest = max(deepest, int(levels.max()))
        level, num_quotes = int(levels[-1]), int(quotes[-1])
    return deepest


def read_yaml(path: Path) -> tuple[Any, str]:
    """Read a YAML file of plain values; returns its content and its text.

    Raises:
        OSError: it cannot be read.
        ValueError: saying what is wrong: its size, encoding, syntax or depth, its values with all aliases
            written out, or a value that is not of the type that its tag names.
    """
    text = read_bytes(path, MAX_YAML_BYTES).decode()
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None, text
        _count("content", root, _parts_of_node, lambda where, node: None)
        document = loader.construct_document(root)
        require_plain(document)
        return document, text
    except yaml.YAMLError as error:
        raise ValueError(first_line(error)) from error
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels deep") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # PyYAML's answers to a text that does not fit its tag, such as `!!bool abc`
        raise ValueError(f"a value does not fit its tag ({first_line(error)})") from error


def require_plain(
    document: Any, accepts: Callable[[str, Any], bool] = lambda where, value: False
) -> None:
    """Check that a value consists of records, lists and plain finite values, and is small enough to walk.

    Args:
        accepts: whether a value of another type may be in it; takes its place, such as ``a.b[2]``.

    Raises:
        ValueError: naming the place and what must be there.
    """

    def check(where: str, value: Any) -> None:
        match value:
            case None | bool() | str() | list() | tuple() | Mapping():
                return
            case int():
                if abs(value) > _MAX_INTEGER:
                    raise ValueError(f"{where} must be an integer of at most 64 bits")
            case float():
                if not math.isfinite(value):
                    raise ValueError(f"{where} must be finite, not {value}")
            case _ if not accepts(where, value):
                raise ValueError(
                    f"{where} must be a record, a list, a text, a number or none, not of type "
                    f"{type(value).__name__}"
                )

    _count("", document, _parts_of_value, check)


def _count(
    where: str,
    root: Any,
    parts_of: Callable[[str, Any], Iterable[tuple[str, Any]]],
    check: Callable[[str, Any], None],
) -> None:
    """Walk through a value as if all that it shares or repeats were written out."""
    level, num_values = [(where, root)], 0
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[str, Any]] = []
        for place, value in level:
            check(place, value)
            below.extend(parts_of(place, value))
            if num_values + len(below) > MAX_VALUES:
                raise ValueError(
                    f"more than {MAX_VALUES:,} values, each written out where it is named"
                )
        if not below:
            return
        num_values += len(below)
        level = below
    raise ValueError(f"{level[0][0][:60]} is more than {MAX_DEPTH} levels deep")


def _parts_of_value(where: str, value: Any) -> Iterable[tuple[str, Any]]:
    match value:
        case Mapping():
            for key in value:
                if type(key) not in (str, int):
                    raise ValueError(
                        f"{where or 'content'} must have texts as names, not {shown(key)}"
                    )
            return (
                (f"{where}.{shown_name(key)}" if where else shown_name(key), part)
                for key, part in value.items()
            )
        case list() | tuple():
            return ((f"{where}[{index}]", part) for index, part in enumerate(value))
        case _:
            return ()


def _parts_of_node(where: str, node: yaml.Node) -> Iterable[tuple[str, yaml.Node]]:
    match node:
        case yaml.MappingNode():
            return ((where, part) for pair in node.value for part in pair)
        case yaml.SequenceNode():
            return ((where, part) for part in node.value)
        case _:
            return ()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or abs(int(text)) > _MAX_INTEGER:
        raise ValueError(f"{text[:_MAX_DIGITS]}... must be an integer of at most 64 bits")
    return int(text)


def _number(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:_MAX_DIGITS]} must be a finite number")
    return value
