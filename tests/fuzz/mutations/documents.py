"""Changes to JSON and YAML: values of another type or size, and fields that are lost, doubled or renamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import yaml
from fuzz.mutations.damage import HOSTILE_TEXTS, SIZES, damage

_NUMBERS = (0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf"), 10**30, 10**400)
_LIMIT_OF_TEXTS = 4096  # a repeated part is cut to this many values

_ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
_YAML_LINES = (
    "!!python/object/apply:os.system ['touch executed']\n",
    "x: !!python/object/apply:os.system ['touch executed']\n",
    "x: !!python/name:os.system\n",
    "name: !!int abc\n",
    "x: !!binary x\n",
    "x: !!timestamp 9999-99-99\n",
    "x: !!float .\n",
    "<<: *a\n",
    "a: &a [*a]\n",
    "a0: &a0 x\n" + _ALIASES,
    "--- \n---\n",
    "%YAML 9.9\n---\n",
    "? {a: b}\n: c\n",
    "x: 0x" + "f" * 4000 + "\n",
    "x: 1" + ":59" * 3000 + "\n",
    "\t",
    "[" * 2000,
    "{" * 2000,
)


def change_json(content: bytes, chance: Random) -> bytes:
    """Change a JSON document in one to four places; one that is none already is damaged as bytes."""
    if chance.random() < 0.15:
        return damage(content, chance)
    if chance.random() < 0.02:
        place = content.find(b":", chance.randrange(len(content) or 1)) + 1
        return content[:place] + chance.choice((b"[", b'{"a":')) * 100_000 + content[place:]
    try:
        document = json.loads(content)
        text = json.dumps(changed(document, chance), indent=chance.choice((None, 1)))
    except (ValueError, RecursionError):
        return damage(content, chance)
    return _encoded(_doubled(text, chance), chance)


def change_yaml(content: bytes, chance: Random) -> bytes:
    """Change a YAML document, or put a line into it that only YAML has."""
    choice = chance.random()
    if choice < 0.2:
        return damage(content, chance)
    lines = content.splitlines(keepends=True)
    if choice < 0.4 and lines:
        lines.insert(
            chance.choice((0, chance.randrange(len(lines) + 1))),
            chance.choice(_YAML_LINES).encode(),
        )
        return b"".join(lines)
    if choice < 0.5 and lines:
        place, other = chance.randrange(len(lines)), chance.choice(lines)
        lines[place : place + chance.randrange(2)] = [other]
        return b"".join(lines)
    try:
        document = yaml.load(content, yaml.CSafeLoader)  # in C, which takes a tenth of the time
        options = {"allow_unicode": True, "sort_keys": False}
        text = yaml.dump(changed(document, chance), Dumper=yaml.CSafeDumper, **options)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return damage(content, chance)
    return _encoded(text, chance)


def changed(document: Any, chance: Random) -> Any:
    """A document with one to four changes. Parts may be shared afterwards; the argument is used up."""
    root = [document]
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        holder, key = chance.choice(list(_places(root)))
        _change(holder, key, root, chance)
    return root[0]


def _places(root: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Every place of a value, by what holds it and its key there, within the first thousands."""
    waiting: list[Any] = [root]
    seen = 0
    while waiting and seen < _LIMIT_OF_TEXTS:
        holder = waiting.pop(0)
        keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 200))
        for key in keys:
            seen += 1
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def _change(holder: Any, key: Any, root: list[Any], chance: Random) -> None:
    value = holder[key]
    match chance.randrange(8):
        case 0 if holder is not root:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[chance.choice(HOSTILE_TEXTS) if chance.random() < 0.5 else f"{key}2"] = (
                holder.pop(key)
            )
        case 2 if isinstance(holder, list) and holder is not root:
            holder.insert(key, json.loads(json.dumps(value)) if _is_small(value) else None)
        case 3:
            others = [h[k] for h, k in _places(root)]
            other = chance.choice(others)
            holder[key] = json.loads(json.dumps(other)) if _is_small(other) else {}
        case 4 if isinstance(value, int) and not isinstance(value, bool):
            holder[key] = value + chance.choice((-1, 1, 2, 10, -value - 1, 10**6))
        case _:
            holder[key] = _value(chance)


def _is_small(value: Any) -> bool:
    return (
        not isinstance(value, dict | list) or len(json.dumps(value, default=str)) < _LIMIT_OF_TEXTS
    )


def _value(chance: Random) -> Any:
    match chance.randrange(7):
        case 0:
            return chance.choice(SIZES)
        case 1:
            return chance.choice(_NUMBERS)
        case 2:
            return chance.choice(HOSTILE_TEXTS)
        case 3:
            return chance.choice((None, True, False, [], {}, [[]], {"": {}}))
        case 4:
            deep: Any = []
            for _ in range(chance.choice((60, 70, 400))):
                deep = [deep]
            return deep
        case 5:
            return [0] * chance.choice((1, 2, 3, 5, 1000))
        case _:
            return str(chance.choice(SIZES))


def _doubled(text: str, chance: Random) -> str:
    """The text, sometimes with a field twice."""
    if chance.random() < 0.1 and (place := text.find('"', chance.randrange(len(text) or 1))) > 0:
        end = text.find('"', place + 1)
        if end > 0:
            return f"{text[: end + 1]}: 1, {text[place:]}"
    return text


def _encoded(text: str, chance: Random) -> bytes:
    choice = chance.random()
    if choice < 0.02:
        return text.encode("utf-16", "surrogatepass")
    content = text.encode("utf-8", "surrogatepass")
    if choice < 0.06:
        place = chance.randrange(len(content) + 1)
        content = (
            content[:place]
            + chance.choice((b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"))
            + content[place:]
        )
    return content
