"""Read an ONNX file that may come from a stranger: bounded, checked, and without executing anything.

Protobuf parses the file; everything in it is checked here before it is used. Each tensor's declared shape is
compared with the bytes that it has before an array is made, and external data are read only from plain files
in the folder of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.importers.onnx_format.names import REMEDY, require_onnx, shown, text_of
from toolchain.importers.onnx_format.stored_tensors import MAX_RANK, TensorReader

MAX_FILE_BYTES = 2**30
MAX_NODES = 10_000
MAX_BATCH = 256
"""Samples of a batch that a file may be fixed to."""


Attribute: TypeAlias = "int | float | str | list[int] | list[float] | list[str] | np.ndarray"


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
        raise ModelFileError(f"{path}: no ONNX file, or damaged; {REMEDY}") from error
    if not proto.graph.node:
        raise ModelFileError(f"{path}: no ONNX file, or one without operations; {REMEDY}")
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
    reader = TensorReader(path.parent)
    initializers: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.name in initializers:
            raise ModelFileError(f"'{shown(tensor.name)}' is stored twice; {REMEDY}")
        initializers[text_of(tensor.name)] = reader.read(
            tensor, f"initializer '{shown(tensor.name)}'"
        )
    nodes = tuple(_node(node, reader) for node in graph.node)
    inputs = [value for value in graph.input if text_of(value.name) not in initializers]
    if len(inputs) != 1:
        names = ", ".join(f"'{shown(value.name)}'" for value in inputs[:8]) or "none"
        raise UnsupportedNetworkError(
            f"a network must have exactly one input, and this one has {len(inputs)}: {names}; store the "
            f"others as initializers"
        )
    outputs = tuple(text_of(value.name) for value in graph.output)
    _check_names(nodes, {*initializers, text_of(inputs[0].name)}, outputs)
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
        raise ModelFileError(f"it does not say which opset its operations are of; {REMEDY}")
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
        raise ModelFileError(f"input '{name}' is no tensor; {REMEDY}")
    if kind.elem_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        known = kind.elem_type in onnx.TensorProto.DataType.values()
        of_type = onnx.TensorProto.DataType.Name(kind.elem_type) if known else str(kind.elem_type)
        raise UnsupportedNetworkError(
            f"input '{name}' has values of type {of_type}; export the network with an input in float32, "
            f"pixels divided by the largest pixel"
        )
    sizes = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    if len(sizes) > MAX_RANK or any(size is not None and not 0 <= size < 2**31 for size in sizes):
        raise ModelFileError(f"input '{name}' has no possible shape; {REMEDY}")
    if sizes and (sizes[0] or 0) > MAX_BATCH:
        raise UnsupportedNetworkError(
            f"input '{name}' is fixed to a batch of {sizes[0]:,} samples, above the limit of {MAX_BATCH}; "
            f"export the network with a batch of 1, or an open one"
        )
    return GraphInput(name=text_of(value.name), sizes=tuple(size or None for size in sizes))


def _node(node: Any, reader: TensorReader) -> Node:
    outputs = tuple(map(text_of, node.output))
    name = shown(node.name or next(filter(None, outputs), "") or node.op_type)
    name = _scope_of(node) + name
    if not node.op_type or not any(outputs):
        raise ModelFileError(f"node '{name}' has no operation or no result; {REMEDY}")
    attributes: dict[str, Attribute] = {}
    for attribute in node.attribute:
        if attribute.name in attributes:
            raise ModelFileError(f"{name}: attribute '{shown(attribute.name)}' is stored twice")
        attributes[text_of(attribute.name)] = _attribute(name, node.op_type, attribute, reader)
    return Node(
        name=name,
        operation=text_of(node.op_type),
        domain=text_of(node.domain),
        inputs=tuple(map(text_of, node.input)),
        outputs=outputs,
        attributes=attributes,
    )


def _scope_of(node: Any) -> str:
    """Path of the module that a node is of, as torch's exporter notes it, such as ``layer1/relu/``."""
    texts = [p.value for p in node.metadata_props if p.key == "pkg.torch.onnx.name_scopes"]
    if not texts or not isinstance(texts[0], str):
        return ""
    scopes = re.findall(r"'([\w.]{0,200})'", texts[0][:2000])
    path = scopes[-2] if len(scopes) > 1 else ""
    return shown(path.replace(".export_handler", "").replace(".", "/")) + "/" if path else ""


def _attribute(node: str, operation: str, attribute: Any, reader: TensorReader) -> Attribute:
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
        raise ModelFileError(f"{where} is no text; {REMEDY}") from None
    raise ModelFileError(f"{where} is of an unknown type; {REMEDY}")


def _check_names(nodes: tuple[Node, ...], stored: set[str], outputs: tuple[str, ...]) -> None:
    """Require that each tensor is computed once, and before it is read: then there is no cycle."""
    known = set(stored)
    for node in nodes:
        for name in filter(None, node.inputs):
            if name not in known:
                raise ModelFileError(
                    f"{node.name}: reads '{shown(name)}', which no earlier node computes; {REMEDY}"
                )
        for name in filter(None, node.outputs):
            if name in known:
                raise ModelFileError(
                    f"{node.name}: computes '{shown(name)}', which exists already; {REMEDY}"
                )
            known.add(name)
    if not outputs or len(set(outputs)) < len(outputs):
        raise ModelFileError(f"it has no outputs, or one twice; {REMEDY}")
    for name in outputs:
        if name not in known:
            raise ModelFileError(f"output '{shown(name)}' is never computed; {REMEDY}")
