"""Damage to bytes of any format, and the numbers and texts that structural changes share."""

from __future__ import annotations

from random import Random

SIZES = (0, 1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -1, -2, -(2**31))
"""Integers at and past the ends of the types that formats have."""

HOSTILE_TEXTS = (
    "",
    "../../../../etc/passwd",
    "/dev/full",
    "a" * 5000,
    "\x1b[31m",
    "[/x]",
    "\0",
    "q\n",
    "\u202eü",
    "1e999",
    "NaN",
)
"""Texts that are too long, that leave a folder, or that mean something to a terminal or a page."""

_BLOCK = 64  # most bytes that one change moves


def damage(content: bytes, chance: Random) -> bytes:
    """Some of: flipped bits, extreme integers, cut, lost, repeated, swapped and inserted blocks."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        chance.choice(_CHANGES)(changed, chance)
    return bytes(changed)


def _place(content: bytearray, chance: Random) -> int:
    """A place anywhere, or as often in the header, where most fields are."""
    most = len(content) if chance.random() < 0.5 else min(len(content), 128)
    return chance.randrange(max(most, 1))


def _flip(content: bytearray, chance: Random) -> None:
    if content:
        content[_place(content, chance)] ^= 1 << chance.randrange(8)


def _set(content: bytearray, chance: Random) -> None:
    if content:
        content[_place(content, chance)] = chance.choice(
            (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
        )


def _integer(content: bytearray, chance: Random) -> None:
    width = chance.choice((1, 2, 4, 8))
    value = chance.choice(SIZES) % 256**width
    place = _place(content, chance)
    content[place : place + width] = value.to_bytes(width, chance.choice(("little", "big")))


def _cut(content: bytearray, chance: Random) -> None:
    del content[_place(content, chance) :]


def _lose(content: bytearray, chance: Random) -> None:
    place = _place(content, chance)
    del content[place : place + chance.randrange(1, _BLOCK)]


def _insert(content: bytearray, chance: Random) -> None:
    place = _place(content, chance)
    content[place:place] = chance.randbytes(chance.randrange(1, 16))


def _repeat(content: bytearray, chance: Random) -> None:
    place = _place(content, chance)
    content[place:place] = content[place : place + chance.randrange(1, _BLOCK)]


def _swap(content: bytearray, chance: Random) -> None:
    first, second = sorted((_place(content, chance), _place(content, chance)))
    length = min(chance.randrange(1, _BLOCK), second - first, len(content) - second)
    one, other = content[first : first + length], content[second : second + length]
    content[first : first + length], content[second : second + length] = other, one


def _append(content: bytearray, chance: Random) -> None:
    content += chance.randbytes(chance.randrange(1, _BLOCK))


_CHANGES = (_flip, _flip, _set, _integer, _integer, _cut, _lose, _insert, _repeat, _swap, _append)
