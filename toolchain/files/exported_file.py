"""``.pt2`` files of ``torch.export.save``, read without executing any of their content.

``torch.export.load`` unpickles tensors and sample inputs, and resolves what the file names. So the archive is
checked first, and PyTorch is given one that is written anew of what was checked: the document of the program
(``exported_document``) and raw tensors.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from toolchain.bounded_readers import parse_json
from toolchain.errors import ModelFileError
from toolchain.files.exported_document import checked_payloads, checked_program
from toolchain.method.tracing import reason_of

MAX_MEMBERS = 100_000
MAX_DOCUMENT_BYTES = 64 << 20
MAX_ELEMENTS = 2**27
"""Most elements of one tensor that the program computes, for two samples."""

_DOCUMENT = "models/model.json"
_WEIGHTS = "data/weights/", "model_weights_config.json"
_CONSTANTS = "data/constants/", "model_constants_config.json"
_TENSORS = "weight_", "tensor_"
_IGNORED = ("data/sample_inputs/model.pt", ".data/serialization_id", ".format_version", "version")
_SMALL = {
    "archive_format": (b"pt2",),
    "archive_version": None,
    "byteorder": (b"little",),
    ".data/version": None,
}
_ELEMENT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1}  # by schema.ScalarType
_REMEDY = "write it again with torch.export.save"


def load_program(path: Path) -> ExportedProgram:
    """Load an exported program from a file, without trust in it.

    Raises:
        ModelFileError: there is no such file, it is damaged, or it holds anything but plain tensors and
            operations on them; names the member and the place in it.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            clean = _checked(path, archive, _members(path, archive))
    except ModelFileError:
        raise
    except Exception as error:  # zipfile raises many types on damaged content
        raise ModelFileError(
            f"{path}: damaged zip archive ({reason_of(error)}); {_REMEDY}"
        ) from None
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as rewritten:
        for name, content in clean.items():
            rewritten.writestr(f"program/{name}", content)
    buffer.seek(0)
    try:
        with _quiet():
            program = torch.export.load(buffer)
            _check_sizes(program)
    except Exception as error:  # what is well-formed may still contradict itself
        raise ModelFileError(
            f"{path}: {_DOCUMENT}: torch.export cannot read it ({reason_of(error)}); {_REMEDY}"
        ) from None
    return program


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members by their names below the one folder of the archive.

    Raises:
        ModelFileError: a name leaves the folder or appears twice, or the members are compressed, overlap or
            are not those of an exported program.
    """
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ModelFileError(f"{path}: {len(infos):,} members, above the limit of {MAX_MEMBERS:,}")
    if sum(info.file_size for info in infos) > path.stat().st_size:
        raise ModelFileError(
            f"{path}: its members take more bytes than the file has, so they are compressed or overlap, "
            f"which torch does not write; {_REMEDY}"
        )
    members: dict[str, zipfile.ZipInfo] = {}
    roots = {info.filename.split("/", 1)[0] for info in infos}
    for info in infos:
        shown = repr(info.filename[:100])
        folder, _, name = info.filename.partition("/")
        parts = info.filename.split("/")
        if len(roots) != 1 or not name or not folder or ".." in parts or "\\" in info.filename:
            raise ModelFileError(f"{path}: member {shown} is not in the one folder of the archive")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ModelFileError(
                f"{path}: member {shown} is compressed or encrypted, which torch does not write; {_REMEDY}"
            )
        if name in members:
            raise ModelFileError(f"{path}: member {shown} is there twice; {_REMEDY}")
        members[name] = info
    if members.keys() & {"serialized_exported_program.json", "data/weights/model.pt"}:
        raise ModelFileError(
            f"{path}: is of an older torch.export.save, which stored weights as pickles; load it with the "
            f"torch that wrote it, and save it again with torch 2.9 or newer"
        )
    return members


def _checked(
    path: Path, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]
) -> dict[str, bytes]:
    """Content of the archive that PyTorch is given."""
    for needed in (_DOCUMENT, "archive_format", _path(_WEIGHTS), _path(_CONSTANTS)):
        if needed not in members:
            raise ModelFileError(
                f"{path}: has no member '{needed}', so it is no exported program; {_REMEDY}"
            )
    clean: dict[str, bytes] = {}
    for name, info in members.items():
        if name in _SMALL:
            content = archive.read(info) if info.file_size < 64 else b"?" * 64
            allowed = _SMALL[name]
            if content not in allowed if allowed else not content.strip().isdigit():
                raise ModelFileError(
                    f"{path}: {name}: has unknown content {content[:20]!r}; {_REMEDY}"
                )
            clean[name] = content
        elif name.startswith("data/aotinductor/") or name.endswith((".so", ".cpp", ".o")):
            raise ModelFileError(
                f"{path}: {name[:100]}: compiled code of AOTInductor is not read; save the exported program "
                f"itself with torch.export.save"
            )
        elif name.startswith("models/") and name != _DOCUMENT:
            raise ModelFileError(
                f"{path}: {name[:100]}: a second program; save one program with torch.export.save"
            )
        elif not _is_known(name):
            raise ModelFileError(
                f"{path}: member {name[:100]!r} is no part of an exported program of plain tensors; {_REMEDY}"
            )
    document = _json(path, archive, members[_DOCUMENT], _DOCUMENT, checked_program)
    clean[_DOCUMENT] = json.dumps(document).encode()
    clean["data/sample_inputs/model.pt"] = b""
    for folder, config in (_WEIGHTS, _CONSTANTS):
        name = folder + config
        payloads = _json(path, archive, members[name], name, checked_payloads)
        clean[name] = json.dumps(payloads).encode()
        for key, payload in payloads["config"].items():
            stored = folder + payload["path_name"]
            if stored not in members or stored == name:
                raise ModelFileError(
                    f"{path}: {name}: '{key[:80]}' is in no member '{stored[:80]}'"
                )
            _check_tensor(
                path, f"{name}: '{key[:80]}'", payload["tensor_meta"], members[stored].file_size
            )
            clean.setdefault(stored, archive.read(members[stored]))
    return clean


def _path(place: tuple[str, str]) -> str:
    return place[0] + place[1]


def _is_known(name: str) -> bool:
    if name in (_DOCUMENT, _path(_WEIGHTS), _path(_CONSTANTS)) or name in _IGNORED:
        return True
    if name.startswith("extra/"):
        return True  # texts that are not read
    return any(
        name.startswith(folder + prefix)
        for folder in (_WEIGHTS[0], _CONSTANTS[0])
        for prefix in _TENSORS
    )


def _json(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, check: Any
) -> dict[str, Any]:
    if info.file_size > MAX_DOCUMENT_BYTES:
        raise ModelFileError(
            f"{path}: {name}: takes {info.file_size:,} bytes, above the limit of {MAX_DOCUMENT_BYTES:,}"
        )
    try:
        return check(parse_json(archive.read(info)))
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: {name}: {reason_of(error)}; {_REMEDY}") from None


def _check_tensor(path: Path, where: str, meta: Mapping[str, Any], num_bytes: int) -> None:
    """Require that a tensor lies in its member, which has no fewer elements than the tensor."""
    sizes = [size["as_int"] for size in meta["sizes"]]
    strides = [stride["as_int"] for stride in meta["strides"]]
    available = num_bytes // _ELEMENT_BYTES[meta["dtype"]]
    last = meta["storage_offset"]["as_int"] + sum(
        (size - 1) * stride for size, stride in zip(sizes, strides, strict=False)
    )
    empty = 0 in sizes
    if (
        len(sizes) != len(strides)
        or len(sizes) > 32
        or num_bytes % _ELEMENT_BYTES[meta["dtype"]]
        or (not empty and (last >= available or prod(sizes) > available))
        or (empty and max(sizes) > MAX_ELEMENTS)
    ):
        raise ModelFileError(
            f"{path}: {where} has shape {tuple(sizes[:8])}, for which its member of {num_bytes:,} bytes is "
            f"too small or too large; {_REMEDY}"
        )


def _check_sizes(program: ExportedProgram) -> None:
    """Require that no operation makes a tensor that is too large, without computing it.

    Raises:
        ValueError: naming the operation.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    module: Any = program.module(check_guards=False)
    inputs = []
    for spec in program.graph_signature.user_inputs:
        node = next(n for n in program.graph.nodes if n.name == spec)
        value = node.meta["val"]
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{spec}: the network takes an input that is no tensor")
        shape = [int(size) if isinstance(size, int) else 2 for size in value.shape]
        if prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"{spec}: an input of {prod(shape):,} elements")
        inputs.append(torch.empty(shape, dtype=value.dtype, device="meta"))
    with mode, torch.no_grad():
        fakes = [torch.empty_strided(t.shape, t.stride(), dtype=t.dtype) for t in inputs]
        _Sizes(module).run(*fakes)


class _Sizes(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        values = result if isinstance(result, tuple | list) else (result,)
        for value in values:
            if isinstance(value, torch.Tensor) and value.numel() > MAX_ELEMENTS:
                raise ValueError(
                    f"{n.name}: a tensor of {value.numel():,} elements, above the limit of {MAX_ELEMENTS:,}"
                )
        return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch logs about a failure, which becomes one error of ours."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
