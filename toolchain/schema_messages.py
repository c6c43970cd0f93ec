"""What is wrong with a document that cannot be converted: the field, its value and what it must be.

``msgspec`` names the field, but neither its value nor a name that a record chooses freely, and only the first
limit that is broken. So the message is made from the declared type and the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias

import msgspec
from msgspec import inspect

from toolchain.field_types import LARGEST_INTEGER, LARGEST_NUMBER
from toolchain.shown_values import shown, shown_name

Step: TypeAlias = str | int
"""A field's name or the index of an element."""

_PLACE = re.compile(r" - at (?P<key>`key` in )?`(?P<path>\$[^`]*)`$")
_STEP = re.compile(r"\.(?P<name>\w+)|\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


def place(where: str, steps: Iterable[Step]) -> str:
    """Path of a field, such as ``line 3.spikes.inner`` or ``populations[2].shape``."""
    for step in steps:
        if isinstance(step, int):
            where += f"[{step}]"
        else:
            where += f".{shown_name(step)}" if where else shown_name(step)
    return where or "content"


def explain(document: Any, kind: Any, where: str, message: str) -> str:
    """Our message for one of msgspec, whose last part is the path of the field."""
    found = _PLACE.search(message)
    steps, value = _located(document, kind, found["path"] if found else "$")
    reason = message[: found.start()] if found else message
    of_type = _type_at(kind, document, steps)
    if found and found["key"]:
        wrong = next((key for key in value if not isinstance(key, str)), next(iter(value), ""))
        return f"the names in {place(where, steps)} must be texts, not {shown(wrong)}"
    if missing := _MISSING.match(reason):
        return f"{place(where, [*steps, missing[1]])} is missing"
    if unknown := _UNKNOWN.match(reason):
        known = ", ".join(_field_names(of_type))
        name = shown(unknown[1])
        return f"{place(where, steps)} has no field {name}; its fields are {known}"
    if steps and isinstance(steps[-1], int):
        # a tuple of numbers, such as a shape, is one value
        around = _type_at(kind, document, steps[:-1])
        if isinstance(around, inspect.TupleType):
            must_be = f"{len(around.item_types)} {_described(of_type, value, plural=True)}"
            whole = _value_at(document, steps[:-1])
            return f"{place(where, steps[:-1])} must be {must_be}, not {shown(whole)}"
    return f"{place(where, steps)} must be {_described(of_type, value)}, not {shown(value)}"


def _located(document: Any, kind: Any, path: str) -> tuple[list[Step], Any]:
    """Path and value of the field that msgspec names, with the names that it leaves out (``[...]``)."""
    steps: list[Step] = []
    for found in _STEP.finditer(path):
        if found["any"]:
            inside = _value_at(document, steps)
            key = _first_wrong(document, kind, steps, path)
            document = _replaced(document, steps, {key: inside[key]})
            steps.append(key)
        else:
            steps.append(found["name"] or int(found["index"]))
    return steps, _value_at(document, steps)


def _first_wrong(document: Any, kind: Any, steps: list[Step], path: str) -> Any:
    """The first entry of a record of free names that cannot be converted, found by bisection."""
    inside = _value_at(document, steps)
    names = list(inside)
    passes, fails = 0, len(names)
    while fails - passes > 1:
        middle = (passes + fails) // 2
        part = {name: inside[name] for name in names[:middle]}
        try:
            msgspec.convert(_replaced(document, steps, part), kind, strict=True)
        except msgspec.ValidationError as failed:
            found = _PLACE.search(str(failed))
            if found and found["path"] == path:
                fails = middle
                continue
        passes = middle
    return names[passes]


def _value_at(document: Any, steps: Iterable[Step]) -> Any:
    for step in steps:
        document = document[step] if isinstance(step, int) or step in document else None
    return document


def _replaced(document: Any, steps: list[Any], part: Any) -> Any:
    """The document with another value at a path; what lies beside it is shared."""
    if not steps:
        return part
    first, *rest = steps
    copied = dict(document) if isinstance(document, Mapping) else list(document)
    copied[first] = _replaced(document[first], rest, part)
    return copied


def _type_at(kind: Any, document: Any, steps: Iterable[Step]) -> Any:
    """Declared type of the field at a path, as ``msgspec.inspect`` describes it."""
    of_type, value = _chosen(_type_info(kind), document), document
    for step in steps:
        inner = _inner(of_type, step)
        value = _value_at(value, [step])
        of_type = _chosen(inner, value)
    return of_type


_type_info = cache(inspect.type_info)


def _chosen(of_type: Any, value: Any) -> Any:
    """Of several allowed types, the one that the value seems to be."""
    plain = of_type.type if isinstance(of_type, inspect.Metadata) else of_type
    if not isinstance(plain, inspect.UnionType):
        return of_type
    records = [t for t in plain.types if isinstance(_bare(t), inspect.StructType)]
    if isinstance(value, Mapping) and records:
        by_tag = {_bare(t).tag: t for t in records}
        tag = value.get(_bare(records[0]).tag_field)
        if len(records) == 1 or (isinstance(tag, str) and tag in by_tag):
            return records[0] if len(records) == 1 else by_tag[tag]
    others = [t for t in plain.types if not isinstance(t, inspect.NoneType)]
    return others[0] if len(others) == 1 and value is not None else of_type


def _bare(of_type: Any) -> Any:
    return of_type.type if isinstance(of_type, inspect.Metadata) else of_type


def _inner(of_type: Any, step: Any) -> Any:
    """Type of a part of a value of that type."""
    match _bare(of_type):
        case inspect.UnionType(types=types):  # of records, by their tag
            tags = tuple(_bare(t).tag for t in types if isinstance(_bare(t), inspect.StructType))
            kinds = inspect.LiteralType(tags)
            is_annotated = isinstance(of_type, inspect.Metadata)
            return inspect.Metadata(kinds, extra=of_type.extra) if is_annotated else kinds
        case inspect.TupleType(item_types=types):
            return types[step]
        case inspect.DictType(value_type=inner):
            return inner
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner):
            return inner
        case bare:
            by_name = {field.encode_name: field.type for field in bare.fields}
            if step == getattr(bare, "tag_field", None):
                return inspect.LiteralType((bare.tag,))
            return by_name[step]


def _field_names(of_type: Any) -> list[str]:
    bare = _bare(of_type)
    tag = [bare.tag_field] if getattr(bare, "tag_field", None) else []
    return [*tag, *(field.encode_name for field in bare.fields)]


def _described(of_type: Any, value: Any, *, plural: bool = False) -> str:
    """What a value must be. Of two limits the message names the one that the value breaks."""
    if isinstance(of_type, inspect.Metadata):
        extra = of_type.extra or {}
        if isinstance(value, str) and value in extra.get("instead", {}):
            return str(extra["instead"][value])
        if "must_be" in extra:
            return str(extra["must_be"])
        of_type = of_type.type
    match of_type:
        case inspect.IntType() | inspect.FloatType():
            whole = isinstance(of_type, inspect.IntType)
            noun = "integer" if whole else "number"
            noun = f"{noun}s" if plural else f"{'an' if whole else 'a'} {noun}"
            return _limited(noun, of_type, value)
        case inspect.StrType(min_length=least, max_length=most):
            if most is not None and isinstance(value, str) and len(value) > most:
                return f"a text of at most {most:,} characters"
            return "a non-empty text" if least else "a text"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return "none"
        case inspect.LiteralType(values=values):
            listed = ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in values)
            return f"one of {listed}" if len(values) > 1 else listed
        case inspect.ListType(min_length=least, max_length=most):
            too_long = most is not None and isinstance(value, list | tuple) and len(value) > most
            if too_long:
                return f"a list of at most {most:,} values"
            return f"a list of at least {least}" if least else "a list"
        case inspect.VarTupleType():
            return "a list"
        case inspect.TupleType(item_types=types):
            numbers = {_described(t, None, plural=True) for t in types}
            return (
                f"{len(types)} {numbers.pop()}" if len(numbers) == 1 else f"a list of {len(types)}"
            )
        case inspect.UnionType(types=types):
            # None comes last, and several records are one choice
            parts = [_described(t, value) for t in types if not isinstance(t, inspect.NoneType)]
            none = ["none"] if any(isinstance(t, inspect.NoneType) for t in types) else []
            return " or ".join(dict.fromkeys([*parts, *none]))
        case _:
            return "a record with named fields"


def _limited(noun: str, of_type: Any, value: Any) -> str:
    below, most = of_type.gt, of_type.le
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and most is not None and value > most:
        if most == LARGEST_INTEGER:
            return f"{noun} of at most 64 bits"
        if most == LARGEST_NUMBER:
            return noun.replace("a number", "a finite number")
        return f"{noun} of at most {most:,}"
    if is_number and of_type.lt is not None and value >= of_type.lt:
        return f"{noun} below {of_type.lt:,g}"
    if below == 0:
        return noun.replace("a number", "a positive number")
    least = of_type.ge
    if least is None or least in (-LARGEST_INTEGER, -LARGEST_NUMBER):
        return noun.replace("a number", "a finite number")
    return (
        f"{noun} of at least {least:,g}"
        if isinstance(least, float)
        else f"{noun} of at least {least:,}"
    )
