"""Changes to zip archives behind their checksums: members with other content, names, sizes and methods."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from random import Random

from fuzz.mutations.damage import SIZES, damage
from fuzz.mutations.documents import change_json
from fuzz.mutations.pickles import change_pickle

Change = Callable[[bytes, Random], bytes]
_MOST_BYTES = 1 << 20
_BOMB_BYTES = 128 << 20
_NAMES = (
    "../../executed",
    "/tmp/executed",
    "data.pkl",
    "x\\..\\executed",
    "a" * 300,
    "",
    ".format_version",
)


def change_zip(content: bytes, chance: Random) -> bytes:
    """Write an archive again with one to three changes, so that every member matches its CRC-32."""
    if chance.random() < 0.2:
        return damage(content, chance)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > _MOST_BYTES:
                return damage(content, chance)  # a bomb of an earlier change
            members = [(info, archive.read(info)) for info in infos]
    except Exception:  # zipfile raises many types on what was damaged before
        return damage(content, chance)
    for _ in range(chance.choice((1, 1, 2, 3))):
        if members:
            _change(members, chance)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for info, data in members:
            again = zipfile.ZipInfo(info.filename)  # of a fixed date
            again.compress_type = info.compress_type
            if info.filename not in written.namelist():
                written.writestr(again, data)
            elif chance.random() < 0.5:
                again.filename = info.filename  # the same name twice, of which zipfile only warns
                _write_twice(written, again, data)
    return buffer.getvalue()


def _write_twice(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(info, data)


def _change(members: list[tuple[zipfile.ZipInfo, bytes]], chance: Random) -> None:
    place = chance.randrange(len(members))
    info, data = members[place]
    match chance.randrange(12):
        case 0:
            del members[place]
        case 1:
            members.append((info, damage(data, chance)))
        case 2:
            info.filename = chance.choice(_NAMES)
        case 3:
            info.compress_type = zipfile.ZIP_DEFLATED
        case 4:
            other = chance.choice(members)
            members[place] = info, other[1]
        case 5 if chance.random() < 0.1:
            info.compress_type = zipfile.ZIP_DEFLATED
            members[place] = info, bytes(_BOMB_BYTES)
        case _:
            structured = [p for p, (i, _) in enumerate(members) if _kind(i.filename) is not damage]
            if structured and chance.random() < 0.7:
                place = chance.choice(structured)
            info, data = members[place]
            members[place] = info, _kind(info.filename)(data, chance)


def _kind(name: str) -> Change:
    """How the content of a member is changed."""
    if name.endswith(".pkl"):
        return change_pickle
    if name.endswith(".json"):
        return change_json
    if name.endswith(".npy"):
        return change_npy
    return damage


def change_npy(content: bytes, chance: Random) -> bytes:
    """Another type, shape or order in the header of an array, whose length stays right."""
    found = re.match(rb"\x93NUMPY(.)\x00(..)", content, re.DOTALL)
    if not found or chance.random() < 0.3:
        return damage(content, chance)
    start, end = 10, 10 + int.from_bytes(found[2], "little")
    header, data = content[start:end].decode("latin1"), content[end:]
    match chance.randrange(7):
        case 0:
            kinds = (
                "|O",
                "<f8",
                ">i8",
                "|b1",
                "<U9",
                "|V0",
                "<c16",
                "<M8[s]",
                "|S0",
                "<i4",
                "|u1",
                "x",
                "<f2",
            )
            header = re.sub(r"'descr': *'[^']*'", f"'descr': '{chance.choice(kinds)}'", header)
        case 1:
            size = chance.choice(SIZES)
            header = re.sub(
                r"'shape': *\([^)]*\)", f"'shape': ({size}, {chance.choice(SIZES)})", header
            )
        case 2:
            header = re.sub(r"'shape': *\(([^)]*)\)", r"'shape': (\1 1,)", header)
        case 3:
            header = re.sub(r"'shape': *\(([^)]*)\)", r"'shape': (0, \1)", header)
        case 4:
            header = header.replace("False", "True")
        case 5:
            header = "[" * chance.choice((100, 9000)) + header
        case _:
            data = damage(data, chance)
    encoded = header.encode("latin1")
    return content[:8] + (len(encoded) % 65536).to_bytes(2, "little") + encoded + data


def change_safetensors(content: bytes, chance: Random) -> bytes:
    """Another header, whose length in front of it stays right."""
    length = int.from_bytes(content[:8], "little")
    if chance.random() < 0.3 or not 0 < length < len(content):
        return damage(content, chance)
    header = change_json(content[8 : 8 + length], chance)
    with suppress(ValueError, RecursionError):
        header = json.dumps(json.loads(header)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
