"""Changes to pickles: other opcodes and arguments, and calls that would leave a file behind."""

from __future__ import annotations

import pickletools
from random import Random

from fuzz.mutations.damage import HOSTILE_TEXTS, SIZES, damage

MARK = "executed"
"""The file that a call in a mutant would make in the current folder."""

_CALLS = (
    b"cos\nsystem\n(X\x0e\x00\x00\x00touch executedtR",
    b"cposix\nsystem\n(X\x0e\x00\x00\x00touch executedtR",
    b"cbuiltins\nopen\n(X\x08\x00\x00\x00executedX\x01\x00\x00\x00wtR",
    b"cbuiltins\nexec\n(X\x1e\x00\x00\x00open('executed', 'w').close() tR",
    b"c__builtin__\neval\n(X\x15\x00\x00\x00open('executed', 'w')tR",
    b"ctorch\nload\n(X\x01\x00\x00\x00xtR",
    b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR",
    b"ctorch._utils\n_rebuild_parameter\n(NNNtR",
    b"ctorch\nSize\n]K\xffa\x85R",
    b"ccollections\nOrderedDict\n]\x85R",
    b"cnumpy.core.multiarray\n_reconstruct\n(NNNtR",
    b"(X\x08\x00\x00\x00executedX\x01\x00\x00\x00wibuiltins\nopen\n",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x0etouch executed\x85R",
)
_OPCODES = tuple(op.code.encode("latin1") for op in pickletools.opcodes)
_MOST_OPCODES = 20_000


def change_pickle(content: bytes, chance: Random) -> bytes:
    """Change one to four opcodes of a pickle."""
    try:
        places = [place for _, _, place in pickletools.genops(content[: 1 << 20])][:_MOST_OPCODES]
    except Exception:  # pickletools raises many types on what was damaged before
        return damage(content, chance)
    starts = [p for p in places if p is not None]
    parts = [
        content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)
    ]
    if not parts:
        return damage(content, chance)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _change(parts, chance)
    return b"".join(parts)


def _change(parts: list[bytes], chance: Random) -> None:
    place = chance.randrange(len(parts))
    part = parts[place]
    match chance.randrange(9):
        case 0 if len(parts) > 1:
            del parts[place]
        case 1:
            parts.insert(place, part)
        case 2:
            parts[place] = chance.choice(_OPCODES) + part[1:]
        case 3:
            parts.insert(place, chance.choice(_CALLS))
        case 4:
            parts[place] = _integer(chance)
        case 5:
            parts[place] = _text(chance.choice(HOSTILE_TEXTS))
        case 6:
            parts[place] = chance.choice(
                (b"N", b"\x88", b"]", b"}", b")", b"G\x7f\xf8" + bytes(6), b"\x8f")
            )
        case _:
            # a number or text of this pickle in the place of another one of the same type
            same = [other for other in parts if other[:1] == part[:1]]
            parts[place] = chance.choice(same)


def _integer(chance: Random) -> bytes:
    value = chance.choice(SIZES)
    encoded = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded
