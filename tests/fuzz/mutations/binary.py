"""Changes to gzip, IDX and image files that keep their checksums right."""

from __future__ import annotations

import gzip
import struct
import zlib
from functools import cache
from random import Random

from fuzz.mutations.damage import SIZES, damage

_MOST_BYTES = 1 << 20  # that are unpacked of a file, which may be a bomb of an earlier change
_PNG = b"\x89PNG\r\n\x1a\n"


def change_idx(content: bytes, chance: Random) -> bytes:
    """Another type, number of axes or size in the header of an IDX file."""
    if chance.random() < 0.4:
        return damage(content, chance)
    changed = bytearray(content)
    match chance.randrange(4):
        case 0:
            changed[3:4] = bytes([chance.choice((0, 1, 2, 3, 4, 9, 255))])
        case 1:
            changed[2:3] = bytes([chance.choice((8, 9, 11, 12, 13, 14, 0))])
        case _:
            place = 4 + 4 * chance.randrange(3)
            changed[place : place + 4] = (chance.choice(SIZES) % 2**32).to_bytes(4, "big")
    return bytes(changed)


def change_gzip(content: bytes, chance: Random) -> bytes:
    """Another IDX file in the same envelope, a bomb, or several envelopes in one file."""
    choice = chance.random()
    if choice < 0.3:
        return damage(content, chance)
    if choice < 0.35:
        return _bomb(chance.choice((1, 2**13)))
    if choice < 0.4:
        return content + content
    try:
        inner = zlib.decompressobj(wbits=31).decompress(content, _MOST_BYTES)
    except zlib.error:  # damaged before
        return damage(content, chance)
    return gzip.compress(change_idx(inner, chance), mtime=0)


@cache
def _bomb(side: int) -> bytes:
    """An IDX file of one image of this height and 8,192 columns, with 128 MB of zeros behind its header."""
    header = b"\0\0\x08\x03" + struct.pack(">III", 1, side, 2**13)
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(2**20)
    parts = [
        packer.compress(header),
        *(packer.compress(zeros) for _ in range(2**7)),
        packer.flush(),
    ]
    return b"".join(parts)


def change_image(content: bytes, chance: Random) -> bytes:
    """Other chunks of a PNG file, or a damaged image of another format."""
    if not content.startswith(_PNG) or chance.random() < 0.3:
        return damage(content, chance)
    chunks = _chunks(content)
    if not chunks:
        return damage(content, chance)
    for _ in range(chance.choice((1, 1, 2))):
        place = chance.randrange(len(chunks))
        kind, data = chunks[place]
        match chance.randrange(8):
            case 0:
                chunks.insert(place, (kind, data))
            case 1 if len(chunks) > 1:
                del chunks[place]
            case 2:
                chunks[place] = (
                    chance.choice((b"acTL", b"tRNS", b"iCCP", b"zTXt", b"eXIf", b"PLTE")),
                    data,
                )
            case 3:
                chunks.insert(place, (b"zTXt", b"k\0\0" + zlib.compress(bytes(2**22))))
            case 4 | 5:
                sizes = [chance.choice(SIZES) % 2**32 for _ in range(2)]
                depth, colour = (
                    chance.choice((1, 2, 4, 8, 16, 3)),
                    chance.choice((0, 2, 3, 4, 6, 1)),
                )
                if chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13:
                    old = struct.unpack(">IIBB", chunks[0][1][:10])
                    new = [*sizes, depth, colour]
                    kept = [
                        n if chance.random() < 0.4 else o for n, o in zip(new, old, strict=True)
                    ]
                    chunks[0] = b"IHDR", struct.pack(">IIBB", *kept) + chunks[0][1][10:]
            case _:
                chunks[place] = kind, damage(data, chance)
    return _PNG + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], len(_PNG)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
