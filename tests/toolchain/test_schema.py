"""Plain documents become values of declared types, or one message; arrays are what their file declares."""

from __future__ import annotations

import io
import json
import math
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, TypedDict, get_args

import numpy as np
import pytest
from msgspec import Meta, Struct
from safetensors.numpy import save
from typing_extensions import NotRequired

from toolchain.array_files import read_npz, read_safetensors
from toolchain.bounded_readers import MAX_JSON_VALUES, parse_json
from toolchain.errors import DataError, ModelFileError
from toolchain.field_types import Count, Digest, Finite, Index, Name, Positive
from toolchain.networks.linear_maps import MAP_KINDS
from toolchain.networks.map_records import MapRecord
from toolchain.schema import typed


class Circle(Struct, forbid_unknown_fields=True, tag_field="kind", tag="circle"):
    radius: Positive


class Box(Struct, forbid_unknown_fields=True, tag_field="kind", tag="box"):
    size: tuple[Count, Count] = (1, 1)


class Note(TypedDict):
    text: str
    page: NotRequired[int]


class Document(Struct, forbid_unknown_fields=True):
    parts: Annotated[list[Circle | Box], Meta(max_length=3)] = []
    counts: dict[str, dict[str, Index]] = {}
    note: Note | None = None
    share: Finite = 0.0
    on: bool = False
    way: Literal["up", "down"] = "up"
    digest: Digest = "0" * 64
    title: Name = "x"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "content must be a record with named fields, not []"),
        ({"parts": 3}, "parts must be a list, not 3"),
        (
            {"parts": [{"kind": "box"}] * 4},
            "parts must be a list of at most 3 values, not [{'kind': 'box'}, {'kind': 'box'}, {'kind': 'bo",
        ),
        ({"parts": [{"kind": "box"}, {}]}, "parts[1].kind is missing"),
        ({"parts": [{"kind": "ball"}]}, "parts[0].kind must be one of circle, box, not 'ball'"),
        ({"parts": [{"kind": ["box"]}]}, "parts[0].kind must be one of circle, box, not ['box']"),
        ({"parts": [{"kind": "circle"}]}, "parts[0].radius is missing"),
        (
            {"parts": [{"kind": "circle", "radius": 0}]},
            "parts[0].radius must be a positive number, not 0",
        ),
        (
            {"parts": [{"kind": "circle", "radius": True}]},
            "parts[0].radius must be a positive number, not True",
        ),
        (
            {"parts": [{"kind": "circle", "radius": 10**400}]},
            "parts[0].radius must be a finite number, not an integer of 1,329 bits",
        ),
        (
            {"parts": [{"kind": "box", "size": [2, 0]}]},
            "parts[0].size must be 2 integers of at least 1, not [2, 0]",
        ),
        (
            {"parts": [{"kind": "box", "size": (2**31, 1)}]},
            "parts[0].size must be 2 integers of at most 2,147,483,647, not (2147483648, 1)",
        ),
        (
            {"parts": [{"kind": "box", "size": [1]}]},
            "parts[0].size must be 2 integers of at least 1, not [1]",
        ),
        (
            {"parts": [{"kind": "box", "colour": 1}]},
            "parts[0] has no field 'colour'; its fields are kind, size",
        ),
        (
            {"counts": {"a": {"b": 1}, "c": {"d": 2, "e": True, "f": -1}, "g": {"h": -1}}},
            "counts.c.e must be an integer of at least 0, not True",
        ),
        (
            {"counts": {"a\x1b[31m": {"n" * 99: 0.5}}},
            f"counts.a\\x1b[31m.{'n' * 57}... must be an integer of at least 0, not 0.5",
        ),
        ({"counts": {"a": {1: 1}}}, "the names in counts.a must be texts, not 1"),
        ({"note": {"page": 1}}, "note.text is missing"),
        ({"note": {"text": "x", "page": "1"}}, "note.page must be an integer, not '1'"),
        ({"share": math.nan}, "share must be a finite number, not nan"),
        ({"share": math.inf}, "share must be a finite number, not inf"),
        ({"on": 1}, "on must be true or false, not 1"),
        ({"way": "left"}, "way must be one of down, up, not 'left'"),
        ({"digest": "x"}, "digest must be a SHA-256 of 64 hexadecimal digits, not 'x'"),
        ({"title": ""}, "title must be a non-empty text, not ''"),
        (
            {"title": "x" * 1001},
            f"title must be a text of at most 1,000 characters, not '{'x' * 56}...",
        ),
        ({"x - at `$.y`": 1}, "content has no field 'x - at `$.y`'; its fields are "),
        ({"\udc80": 1}, "content has a name that is no Unicode text"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_limit(document, message):
    with pytest.raises(DataError) as refusal:
        typed(document, Document, "file", error=DataError, remedy="mend it")
    assert str(refusal.value).startswith(f"file: {message}")
    assert str(refusal.value).endswith("; mend it")


def test_a_right_document_is_a_value():
    part = {"kind": "box", "size": [2, 3]}
    value = typed({"parts": [part], "note": {"text": "x"}}, Document, "file")
    assert value.parts == [Box(size=(2, 3))]
    assert value.note == {"text": "x"}


def test_the_records_of_maps_have_the_fields_of_the_maps():
    records = {r.__struct_config__.tag: r for r in get_args(get_args(MapRecord)[0])}
    assert records.keys() == MAP_KINDS.keys()
    for kind, record in records.items():
        assert set(record.__struct_fields__) == {field.name for field in fields(MAP_KINDS[kind])}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 65 + b"]" * 65, "more than 64 levels deep"),
        (b'["\\\\", "\\"[", ' + b"[" * 64 + b"]" * 65, "more than 64 levels deep"),
        (
            b'["' + b"x" * (16 << 20) + "é".encode() + b'"]',
            "larger than 16,777,216 bytes, with other char",
        ),
        (b'{"a":' * 100_000, "more than 64 levels deep"),
        (b"[" + b"0," * MAX_JSON_VALUES + b"0]", "more than 4,000,000 values"),
        (b"[" + b"[]," * (MAX_JSON_VALUES // 2) + b"0]", "more than 4,000,000 values"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"[1e999]", "1e999 must be a finite number"),
        (b"[-9223372036854775808]", "must be an integer of at most 64 bits"),
        (b"1" * 5000, "must be an integer of at most 64 bits"),
        (b'"\xff"', "utf-8"),
        ("[1]".encode("utf-16"), "utf-8"),
        (b"[1] 2", "Extra data"),
    ],
)
def test_json_beyond_the_limits_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_json_within_the_limits_is_read():
    assert parse_json(b"[" * 64 + b"]" * 64)
    assert parse_json(b'["[[[[\\"", -9223372036854775807, 1e-400, "\\udc80"]') == [
        '[[[["', -(2**63) + 1, 0.0, "\udc80"
    ]  # fmt: skip


WEIGHTS = {"0": np.arange(6, dtype=np.int8).reshape(2, 3), "1": np.array([7], np.int64)}


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def other(name, **changes):
    def change(header, data):
        return with_header(header | {name: header[name] | changes}, data)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda header, data: (2**62).to_bytes(8, "little") + data,
        lambda header, data: with_header(header, data[:-1]),
        lambda header, data: with_header(header, data + b"x"),
        other("0", shape=[2**31, 2**31]),
        other("0", shape=[-1, 3]),
        other("0", data_offsets=[0, 2**62]),
        other("0", data_offsets=[0, 6]),
        other("0", dtype="F8_E4M3"),
        other("0", dtype="U8"),
        other("1", dtype="F64"),
        lambda header, data: with_header([header], data),
        lambda header, data: b"",
    ],
)
def test_safetensors_that_are_not_what_they_declare_are_refused(tmp_path, change):
    path = tmp_path / "network.safetensors"
    content = save(WEIGHTS)
    path.write_bytes(content)
    read = read_safetensors(path, (np.int8, np.int64), "mend it")
    assert {name: array.tolist() for name, array in read.items()} == {
        "0": [[0, 1, 2], [3, 4, 5]],
        "1": [7],
    }
    path.write_bytes(change(*header_of(content)))
    with pytest.raises(ModelFileError, match=rf"^{path}: .*; mend it$"):
        read_safetensors(path, (np.int8, np.int64), "mend it")


def npy(array, shape=None, descr=None):
    buffer = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    header["shape"] = header["shape"] if shape is None else shape
    header["descr"] = descr or header["descr"]
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


ONE = np.ones(4)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.npy", npy(ONE, shape=(2**40,)))], "an array of 8,796,093,022,208 bytes in 32"),
        ([("a.npy", npy(ONE, shape=(3,)))], "an array of 24 bytes in 32"),
        ([("a.npy", npy(ONE, descr="|O"))], "an array of type object"),
        ([("a.npy", npy(ONE, descr=">f8"))], "must be of type .*, not >f8"),
        ([("a.npy", npy(ONE.astype(complex)))], "must be of type .*, not complex128"),
        ([("a.npy", npy(ONE * np.inf))], "array 'a' must be finite"),
        ([("a.npy", b"text")], "damaged or truncated"),
        ([("a", npy(ONE))], "'a' is no array"),
        ([("a.npy", npy(ONE)), ("a.npy", npy(ONE))], "two arrays have one name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_arrays_that_are_not_what_they_declare_are_refused(tmp_path, members, message):
    path = tmp_path / "weights.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(ModelFileError, match=rf"^{path}: .*{message}.*; mend it$"):
        read_npz(path, "mend it")


def test_arrays_are_read(tmp_path):
    np.savez(tmp_path / "a.npz", a=ONE, b=np.ones((2, 3), np.int8))
    found = read_npz(tmp_path / "a.npz", "")
    assert found["b"].shape == (2, 3)
    assert found.keys() == {"a", "b"}
    with pytest.raises(ModelFileError, match=r"b\.npz: cannot be read; mend it"):
        read_npz(Path(tmp_path / "b.npz"), "mend it")
