"""Read an ONNX file that may come from a stranger: bounded, checked, and without executing anything.

Protobuf parses the file; everything in it is checked here before it is used. Each tensor's declared shape is
compared with the bytes that it has before an array is made, and external data are read only from plain files
in the folder of the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError

MAX_FILE_BYTES = 2**30
MAX_TENSOR_BYTES = 2**30
"""Of all tensors together, those in external files included; no runtime takes a model of 2 GiB."""

MAX_NODES = 50_000
MAX_RANK = 8
MAX_SHOWN = 80

Attribute: TypeAlias = "int | float | str | list[int] | list[float] | list[str] | np.ndarray"

_REMEDY = "export the network again, or copy the file again"


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation of a file.

    Attributes:
        name: for messages and modules; the node's own, or that of its first result.
        inputs: names of tensors; '' for an optional input that is left out.
    """

    name: str
    operation: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, kw_only=True)
class GraphInput:
    """The input of a file; None stands for a size that the file leaves open."""

    name: str
    sizes: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """What a file holds, checked.

    Attributes:
        proto: the ``onnx.ModelProto``, with external data in it.
        opset: version of the standard operations.
    """

    path: Path
    proto: Any
    opset: int
    nodes: tuple[Node, ...]
    initializers: Mapping[str, np.ndarray]
    input: GraphInput
    outputs: tuple[str, ...]


def load_model(path: Path | str) -> OnnxModel:
    """Read and check an ONNX file.

    Raises:
        ModelFileError: it is missing, too large or damaged; names the node or tensor where there is one.
        UnsupportedNetworkError: it has subgraphs, several inputs, or types that no network here has.
    """
    path = Path(path)
    proto = _parsed(path)
    try:
        return _checked(path, proto)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None
    except UnsupportedNetworkError as error:
        raise UnsupportedNetworkError(f"{path}: {error}") from None


def shown(name: str | bytes) -> str:
    """A name from a file for people: printable, and of bounded length."""
    name = _text(name)
    plain = "".join(letter if letter.isprintable() else "?" for letter in name[: MAX_SHOWN + 1])
    return plain if len(plain) <= MAX_SHOWN else plain[: MAX_SHOWN - 3] + "..."


def _text(name: str | bytes) -> str:
    """A name; protobuf returns bytes where it is no valid text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def require_onnx() -> Any:
    """The package ``onnx``.

    Raises:
        UnsupportedNetworkError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise UnsupportedNetworkError(
            "reading ONNX files needs the package onnx; install it with pip install 'qac-deploy[onnx]'"
        ) from error
    return onnx


def _parsed(path: Path) -> Any:
    onnx = require_onnx()
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelFileError(f"{path}: larger than {MAX_FILE_BYTES:,} bytes")
    try:
        proto = onnx.ModelProto.FromString(content)
    except Exception as error:  # protobuf's own types differ from version to version
        raise ModelFileError(f"{path}: no ONNX file, or damaged; {_REMEDY}") from error
    if not proto.graph.node:
        raise ModelFileError(f"{path}: no ONNX file, or one without operations; {_REMEDY}")
    return proto


def _checked(path: Path, proto: Any) -> OnnxModel:
    graph = proto.graph
    if len(graph.node) > MAX_NODES:
        raise ModelFileError(f"{len(graph.node):,} nodes, above the limit of {MAX_NODES:,}")
    if proto.functions:
        raise UnsupportedNetworkError(
            f"function '{shown(proto.functions[0].name)}' is defined in the file; write its operations out "
            f"with onnx.inliner.inline_local_functions"
        )
    if graph.sparse_initializer:
        raise UnsupportedNetworkError("it has sparse initializers; store weights as dense tensors")
    reader = _TensorReader(path.parent)
    initializers: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.name in initializers:
            raise ModelFileError(f"'{shown(tensor.name)}' is stored twice; {_REMEDY}")
        initializers[_text(tensor.name)] = reader.read(
            tensor, f"initializer '{shown(tensor.name)}'"
        )
    nodes = tuple(_node(node, reader) for node in graph.node)
    inputs = [value for value in graph.input if _text(value.name) not in initializers]
    if len(inputs) != 1:
        names = ", ".join(f"'{shown(value.name)}'" for value in inputs[:8]) or "none"
        raise UnsupportedNetworkError(
            f"a network must have exactly one input, and this one has {len(inputs)}: {names}; store the "
            f"others as initializers"
        )
    outputs = tuple(_text(value.name) for value in graph.output)
    _check_names(nodes, {*initializers, _text(inputs[0].name)}, outputs)
    return OnnxModel(
        path=path,
        proto=proto,
        opset=_opset(proto),
        nodes=nodes,
        initializers=initializers,
        input=_graph_input(inputs[0]),
        outputs=outputs,
    )


def _opset(proto: Any) -> int:
    versions = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not 1 <= versions[0] < 1000:
        raise ModelFileError(f"it does not say which opset its operations are of; {_REMEDY}")
    if versions[0] < 7:
        raise UnsupportedNetworkError(
            f"its operations are of opset {versions[0]}; export it with opset 13 or later"
        )
    return int(versions[0])


def _graph_input(value: Any) -> GraphInput:
    onnx = require_onnx()
    name = shown(value.name)
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ModelFileError(f"input '{name}' is no tensor; {_REMEDY}")
    if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        known = kind.elem_type in onnx.TensorProto.DataType.values()
        of_type = onnx.TensorProto.DataType.Name(kind.elem_type) if known else str(kind.elem_type)
        raise UnsupportedNetworkError(
            f"input '{name}' has values of type {of_type}; export the network with an input in float32, "
            f"pixels divided by the largest pixel"
        )
    sizes = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    if len(sizes) > MAX_RANK or any(size is not None and not 0 <= size < 2**31 for size in sizes):
        raise ModelFileError(f"input '{name}' has no possible shape; {_REMEDY}")
    return GraphInput(name=_text(value.name), sizes=tuple(size or None for size in sizes))


def _node(node: Any, reader: _TensorReader) -> Node:
    outputs = tuple(map(_text, node.output))
    name = shown(node.name or next(filter(None, outputs), "") or node.op_type)
    if not node.op_type or not any(outputs):
        raise ModelFileError(f"node '{name}' has no operation or no result; {_REMEDY}")
    attributes: dict[str, Attribute] = {}
    for attribute in node.attribute:
        if attribute.name in attributes:
            raise ModelFileError(f"{name}: attribute '{shown(attribute.name)}' is stored twice")
        attributes[_text(attribute.name)] = _attribute(name, node.op_type, attribute, reader)
    return Node(
        name=name,
        operation=_text(node.op_type),
        domain=_text(node.domain),
        inputs=tuple(map(_text, node.input)),
        outputs=outputs,
        attributes=attributes,
    )


def _attribute(node: str, operation: str, attribute: Any, reader: _TensorReader) -> Attribute:
    kinds = require_onnx().AttributeProto
    where = f"{node}: attribute '{shown(attribute.name)}'"
    try:
        match attribute.type:
            case kinds.INT:
                return int(attribute.i)
            case kinds.FLOAT:
                return float(attribute.f)
            case kinds.STRING:
                return attribute.s.decode()
            case kinds.INTS:
                return list(attribute.ints)
            case kinds.FLOATS:
                return list(attribute.floats)
            case kinds.STRINGS:
                return [text.decode() for text in attribute.strings]
            case kinds.TENSOR:
                return reader.read(attribute.t, where)
            case kinds.GRAPH | kinds.GRAPHS:
                raise UnsupportedNetworkError(
                    f"{node}: '{shown(operation)}' has a subgraph, that is a branch or a loop; export the "
                    f"network without"
                )
    except UnicodeDecodeError:
        raise ModelFileError(f"{where} is no text; {_REMEDY}") from None
    raise ModelFileError(f"{where} is of an unknown type; {_REMEDY}")


def _check_names(nodes: tuple[Node, ...], stored: set[str], outputs: tuple[str, ...]) -> None:
    """Require that each tensor is computed once, and before it is read: then there is no cycle."""
    known = set(stored)
    for node in nodes:
        for name in filter(None, node.inputs):
            if name not in known:
                raise ModelFileError(
                    f"{node.name}: reads '{shown(name)}', which no earlier node computes; {_REMEDY}"
                )
        for name in filter(None, node.outputs):
            if name in known:
                raise ModelFileError(
                    f"{node.name}: computes '{shown(name)}', which exists already; {_REMEDY}"
                )
            known.add(name)
    if not outputs or len(set(outputs)) < len(outputs):
        raise ModelFileError(f"it has no outputs, or one twice; {_REMEDY}")
    for name in outputs:
        if name not in known:
            raise ModelFileError(f"output '{shown(name)}' is never computed; {_REMEDY}")


_TYPED_FIELDS = {
    "FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "INT32": "int32_data",
    "INT16": "int32_data", "INT8": "int32_data", "UINT16": "int32_data", "UINT8": "int32_data",
    "BOOL": "int32_data", "FLOAT16": "int32_data", "UINT32": "uint64_data", "UINT64": "uint64_data",
    "INT4": "int32_data", "UINT4": "int32_data",
}  # fmt: skip
"""The field that holds the numbers of a type where they are not raw bytes; all types that are read."""

_BITS = {
    "FLOAT": 32, "DOUBLE": 64, "INT64": 64, "INT32": 32, "INT16": 16, "INT8": 8, "UINT16": 16, "UINT8": 8,
    "BOOL": 8, "FLOAT16": 16, "UINT32": 32, "UINT64": 64, "INT4": 4, "UINT4": 4,
}  # fmt: skip


class _TensorReader:
    """Makes arrays of the tensors of a file, which together have a bounded size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes_left = MAX_TENSOR_BYTES

    def read(self, tensor: Any, where: str) -> np.ndarray:
        onnx = require_onnx()
        known = tensor.data_type in onnx.TensorProto.DataType.values()
        kind = onnx.TensorProto.DataType.Name(tensor.data_type) if known else str(tensor.data_type)
        if kind not in _BITS:
            raise UnsupportedNetworkError(
                f"{where} holds values of type {kind}; use float32, or integers with a scale"
            )
        dims = list(tensor.dims)
        if len(dims) > MAX_RANK or any(not 0 <= size < 2**31 for size in dims):
            raise ModelFileError(f"{where} has no possible shape: {dims[:MAX_RANK]}; {_REMEDY}")
        num_bytes = -(-prod(dims) * _BITS[kind] // 8)
        self.bytes_left -= num_bytes
        if self.bytes_left < 0:
            raise ModelFileError(
                f"{where}: all tensors take more than {MAX_TENSOR_BYTES:,} bytes together"
            )
        if tensor.HasField("segment"):
            raise ModelFileError(f"{where} is stored in segments; {_REMEDY}")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = self._external(tensor, num_bytes, where)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
        elif tensor.external_data:
            raise ModelFileError(f"{where} has external data that it does not use; {_REMEDY}")
        self._check_length(tensor, kind, prod(dims), num_bytes, where)
        try:
            return np.array(onnx.numpy_helper.to_array(tensor))
        except Exception as error:  # numpy and onnx raise many types on damaged content
            raise ModelFileError(f"{where} is damaged; {_REMEDY}") from error

    @staticmethod
    def _check_length(tensor: Any, kind: str, count: int, num_bytes: int, where: str) -> None:
        if tensor.HasField("raw_data"):
            found, expected, unit = len(tensor.raw_data), num_bytes, "bytes"
        else:
            found, unit = len(getattr(tensor, _TYPED_FIELDS[kind])), "numbers"
            expected = -(-count // 2) if _BITS[kind] == 4 else count
        if found != expected:
            shape = "x".join(map(str, tensor.dims)) or "scalar"
            raise ModelFileError(
                f"{where} of shape {shape} needs {expected:,} {unit} and has {found:,}; {_REMEDY}"
            )

    def _external(self, tensor: Any, num_bytes: int, where: str) -> bytes:
        entries = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
        location = entries.get("location", "")
        parts = PurePosixPath(location).parts
        if (
            not parts
            or "\\" in location
            or ":" in location
            or not location.isprintable()
            or any(part in ("/", "..") for part in parts)
        ):
            raise ModelFileError(
                f"{where}: external data must be in a file in the same folder, not '{shown(location)}'"
            )
        try:
            offset = int(entries.get("offset") or 0)
            length = int(entries.get("length") or num_bytes)
        except ValueError:
            raise ModelFileError(f"{where}: offset and length must be numbers; {_REMEDY}") from None
        if offset < 0 or length != num_bytes:
            raise ModelFileError(
                f"{where} needs {num_bytes:,} bytes, and its external data has {length:,} at {offset:,}"
            )
        return _plain_bytes(self.folder, parts, offset, length, f"{where}: '{shown(location)}'")


def _plain_bytes(
    folder: Path, parts: tuple[str, ...], offset: int, length: int, where: str
) -> bytes:
    """Bytes of a plain file in a folder, reached without a symbolic link."""
    path = folder
    try:
        for part in parts:
            path = path / part
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise ModelFileError(f"{where} is a symbolic link; put the file itself there")
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{where} is no plain file")
        if offset + length > status.st_size:
            raise ModelFileError(
                f"{where} has {status.st_size:,} bytes, and {offset + length:,} are needed; {_REMEDY}"
            )
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            file.seek(offset)
            content = file.read(length)
    except (OSError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{where} cannot be read; put it in the folder of the file") from error
    if len(content) != length:
        raise ModelFileError(f"{where} became shorter while it was read")
    return content


def consumers(nodes: tuple[Node, ...]) -> dict[str, list[Node]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(filter(None, node.inputs)):
            readers.setdefault(name, []).append(node)
    return readers
