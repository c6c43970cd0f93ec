"""The JSON document of an exported program, checked before PyTorch reads it.

PyTorch's reader is no gate: it evaluates symbolic expressions as Python, resolves the target of an operation
by attributes of ``torch``, imports modules that a tree of outputs names, and writes names into source code
that it executes. So a document of the same structure is written anew here, of what the grammar below allows;
anything else is an error that names its place.
"""

from __future__ import annotations

import ast
import json
import keyword
import re
from collections.abc import Mapping
from typing import Any

import torch

from toolchain.files.exported_operations import allowed_target
from toolchain.files.json_grammar import (
    LARGEST,
    MAX_TEXT,
    Check,
    below,
    by_key,
    constant,
    flag,
    integer,
    length,
    list_of,
    number,
    one_of,
    optional,
    record,
    record_of,
    refuse,
    text,
)
from toolchain.printable import printable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_PATH = re.compile(r"[A-Za-z0-9_]{1,300}(\.[A-Za-z0-9_]{1,300}){0,63}")
_SYMBOL = r"(?:s\d{1,6}|u\d{1,4})"
_FUNCTIONS = frozenset({
    "Add", "And", "CeilDiv", "CleanDiv", "Eq", "Equality", "FloorDiv", "Ge", "GreaterThan", "Gt", "Integer",
    "Le", "LessThan", "Lt", "Max", "Min", "Mod", "ModularIndexing", "Mul", "Ne", "Not", "Or", "PythonMod",
    "StrictGreaterThan", "StrictLessThan", "Unequality",
})  # fmt: skip
_ASSUMPTIONS = {"finite", "integer", "nonnegative", "nonzero", "positive", "real"}
_MAX_POWER = 4  # a power of powers takes any memory
_MODULE = re.compile(r"[^,;\n()\[\]]*,[^,;\n()\[\]]*,[^,;\n()\[\]]*")  # key, path and class
_MAX_EXPRESSION = 300
_MAX_PATHS = 1000  # characters of the modules that an operation is in, or of a file's path
_NUMBER_TYPES = {1, 2, 3, 4, 5, 6, 7, 8, 12}  # of schema.ScalarType: integers, floats and bool
_CONTAINERS = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def checked_program(document: Any) -> dict[str, Any]:
    """Write the document of a program anew, of what is allowed in it.

    Raises:
        ValueError: naming the place and what must be there.
    """
    given = record("document", document, _PROGRAM)
    given["verifiers"] = [v for v in given["verifiers"] if v in ("ATEN", "TRAINING")] or ["ATEN"]
    return given | {"guards_code": [], "torch_version": str(torch.__version__)}


def checked_payloads(document: Any) -> dict[str, Any]:
    """Write the list of a program's weights or constants anew.

    Raises:
        ValueError: naming the place and what must be there; among others for a pickled tensor.
    """
    return record("document", document, {"config": by_key(_fqn, _payload)})


def _name(where: str, value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or keyword.iskeyword(value):
        raise refuse(where, "the name of a value, of letters, digits and _", value)
    return value


def _fqn(where: str, value: Any) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise refuse(where, "the path of a parameter or buffer, such as layer1.0.weight", value)
    return value


def _symbol(where: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(_SYMBOL, value):
        raise refuse(where, "the name of a symbol, such as s0", value)
    return value


def _expression(where: str, value: Any) -> str:
    """A symbolic size, as PyTorch writes it: ``Mul(Integer(4), Symbol('s0', integer=True))``."""
    wanted = "a symbolic expression of sizes, such as 4*s0"
    if not isinstance(value, str) or not value or len(value) > _MAX_EXPRESSION:
        raise refuse(where, wanted, value)
    try:
        root = ast.parse(value, mode="eval").body
        allowed = _is_size(root)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        allowed = False
    if not allowed:
        raise refuse(where, wanted, value)
    return value


def _is_size(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=int(number)):
            return abs(number) <= LARGEST
        case ast.Name(id=name):
            return re.fullmatch(_SYMBOL, name) is not None or name in ("true", "false")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_size(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
            return _is_size(left) and _is_size(right)
        case ast.Compare(left=left, comparators=others):
            return all(map(_is_size, (left, *others)))
        case ast.Call(
            func=ast.Name(id="Symbol"), args=[ast.Constant(value=str(name))], keywords=given
        ):
            return re.fullmatch(_SYMBOL, name) is not None and all(map(_is_assumption, given))
        case ast.Call(func=ast.Name(id="Pow"), args=[base, power], keywords=[]):
            match power:
                case ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(number))]):
                    return 0 <= number <= _MAX_POWER and _is_size(base)
            return False
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return name in _FUNCTIONS and all(map(_is_size, args))
    return False


def _is_assumption(given: ast.keyword) -> bool:
    return given.arg in _ASSUMPTIONS and isinstance(given.value, ast.Constant)


def _scalar_type(where: str, value: Any) -> int:
    if type(value) is not int or value not in _NUMBER_TYPES:
        raise refuse(where, "the number of an integer, float or bool type", value)
    return value


def _target(where: str, value: Any) -> str:
    if not isinstance(value, str) or not allowed_target(value):
        raise refuse(
            where,
            "an operation of torch.ops.aten, quantized_decomposed, torchao or qac_deploy",
            value,
        )
    return value


def _metadata(where: str, value: Any) -> dict[str, str]:
    """Where an operation was written, as far as it is short; all other notes are left out."""
    if not isinstance(value, dict):
        raise refuse(where, "a record", value)
    kept = {}
    for key, longest in (("stack_trace", MAX_TEXT), ("nn_module_stack", _MAX_PATHS)):
        text = value.get(key)
        if isinstance(text, str) and len(text) <= longest:
            lines = (line for line in text.split("\n") if len(line) <= _MAX_PATHS)
            kept[key] = "\n".join(map(printable, lines))
    if not all(_MODULE.fullmatch(part) for part in kept.get("nn_module_stack", "").split(";")):
        kept.pop("nn_module_stack", None)
    return kept


def _tree(where: str, value: Any) -> str:
    """A structure of tuples, lists and dictionaries, which is JSON in a text."""
    try:
        version, root = json.loads(text(where, value))
        return json.dumps([integer(where, version), _subtree(where, root)])
    except (RecursionError, TypeError) as error:
        raise refuse(where, "a tree of tuples, lists and dictionaries", value) from error
    except json.JSONDecodeError as error:
        raise refuse(where, "a tree of tuples, lists and dictionaries", value) from error


def _subtree(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("children_spec"), list):
        raise refuse(where, "a tree of tuples, lists and dictionaries", value)
    kind, context = value.get("type"), value.get("context")
    children = [_subtree(where, child) for child in value["children_spec"]]
    if kind is None:
        return {"type": None, "context": None, "children_spec": children}
    if kind not in _CONTAINERS:
        raise refuse(where, f"of {', '.join(sorted(_CONTAINERS))}", kind)
    plain = json.loads(context) if isinstance(context, str) else context
    keys = plain if isinstance(plain, list) else [] if plain is None else [plain]
    if not all(isinstance(key, str | int) for key in keys):
        raise refuse(where, "a dictionary whose keys are texts or integers", context)
    return {"type": kind, "context": json.dumps(plain), "children_spec": children}


def _calls(where: str, value: Any) -> list[Any]:
    """The signature of the network itself; those of its modules are left out."""
    entries = list_of(record_of({"fqn": text, "signature": optional(_SIGNATURE)}))(where, value)
    if not entries or entries[0]["fqn"] != "" or entries[0]["signature"] is None:
        raise refuse(where, "a list that starts with the network's own signature", value)
    return entries[:1]


def _payload(where: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and value.get("use_pickle") is not False:
        raise ValueError(
            f"{where[:200]}: is stored as a pickle, which may run code when it is read; only plain tensors "
            f"are read. Export a network whose parameters and constants are plain tensors"
        )
    return record(where, value, _PAYLOAD)


_HINT = one_of({"as_int": integer, "as_bool": flag, "as_float": number})
_EXPRESSION = record_of({"expr_str": _expression, "hint": optional(_HINT)})
_SYM_INT = one_of({"as_expr": _EXPRESSION, "as_int": integer})
_SYM_FLOAT = one_of({"as_expr": _EXPRESSION, "as_float": number})
_SYM_BOOL = one_of({"as_expr": _EXPRESSION, "as_bool": flag})
_CPU = constant({"type": "cpu", "index": None})
_TENSOR_META = record_of({
    "dtype": _scalar_type, "sizes": list_of(_SYM_INT), "requires_grad": flag, "device": _CPU,
    "strides": list_of(_SYM_INT), "storage_offset": _SYM_INT, "layout": constant(7),
})  # fmt: skip
_FIXED = one_of({"as_int": length})
_STORED_META = record_of({
    "dtype": _scalar_type, "sizes": list_of(_FIXED), "requires_grad": flag, "device": _CPU,
    "strides": list_of(_FIXED), "storage_offset": _FIXED, "layout": constant(7),
})  # fmt: skip
_TENSOR = record_of({"name": _name})
_SYM_ARGUMENT = one_of({"as_name": _name, "as_int": integer})
_SYM_FLOAT_ARGUMENT = one_of({"as_name": _name, "as_float": number})
_SYM_BOOL_ARGUMENT = one_of({"as_name": _name, "as_bool": flag})
_OPTIONAL_TENSOR = one_of({"as_tensor": _TENSOR, "as_none": flag})
_ARGUMENT = one_of(
    {
        "as_none": flag, "as_tensor": _TENSOR, "as_tensors": list_of(_TENSOR), "as_int": integer,
        "as_ints": list_of(integer), "as_float": number, "as_floats": list_of(number),
        "as_string": text, "as_sym_int": _SYM_ARGUMENT, "as_sym_ints": list_of(_SYM_ARGUMENT),
        "as_scalar_type": _scalar_type, "as_memory_format": below(5), "as_layout": below(8),
        "as_device": _CPU, "as_bool": flag, "as_bools": list_of(flag),
        "as_sym_bool": _SYM_BOOL_ARGUMENT, "as_sym_float": _SYM_FLOAT_ARGUMENT,
        "as_optional_tensors": list_of(_OPTIONAL_TENSOR), "as_optional_tensor": _OPTIONAL_TENSOR,
    },
    {
        "as_graph": "control flow (torch.cond, map) has no spiking form; export the network without it",
        "as_custom_obj": "custom objects may run code and are not read; export a network of plain tensors",
    },
)  # fmt: skip
_NODE = record_of({
    "target": _target,
    "inputs": list_of(record_of({"name": text, "arg": _ARGUMENT, "kind": optional(below(3))})),
    "outputs": list_of(_ARGUMENT),
    "metadata": _metadata,
    "is_hop_single_tensor_return": constant(None),
    "name": optional(_name),
})  # fmt: skip
_GRAPH = record_of({
    "inputs": list_of(_ARGUMENT),
    "outputs": list_of(_ARGUMENT),
    "nodes": list_of(_NODE),
    "tensor_values": by_key(_name, _TENSOR_META),
    "sym_int_values": by_key(_name, _SYM_INT),
    "sym_bool_values": by_key(_name, _SYM_BOOL),
    "sym_float_values": by_key(_name, _SYM_FLOAT),
    "is_single_tensor_return": constant(False),  # but in graphs of control flow
    "custom_obj_values": constant({}),
})  # fmt: skip
_OUTSIDE = {
    kind: f"'{kind}' belongs to no network that is evaluated on images alone; export the network in "
    f"evaluation mode"
    for kind in (
        "custom_obj", "token", "constant_input", "loss_output", "gradient_to_parameter",
        "gradient_to_user_input", "user_input_mutation", "parameter_mutation",
    )
}  # fmt: skip
_INPUT_SPEC = one_of(
    {
        "user_input": record_of({"arg": _ARGUMENT}),
        "parameter": record_of({"arg": _TENSOR, "parameter_name": _fqn}),
        "buffer": record_of({"arg": _TENSOR, "buffer_name": _fqn, "persistent": flag}),
        "tensor_constant": record_of({"arg": _TENSOR, "tensor_constant_name": _fqn}),
    },
    _OUTSIDE,
)
_OUTPUT_SPEC = one_of(
    {
        "user_output": record_of({"arg": _ARGUMENT}),
        "buffer_mutation": record_of({"arg": _TENSOR, "buffer_name": _fqn}),
    },
    _OUTSIDE,
)
_SIGNATURE = record_of({
    "inputs": constant([]), "outputs": constant([]), "in_spec": _tree, "out_spec": _tree,
    "forward_arg_names": optional(list_of(_name)),
})  # fmt: skip
_GRAPH_MODULE = record_of({
    "graph": _GRAPH,
    "signature": record_of({
        "input_specs": list_of(_INPUT_SPEC), "output_specs": list_of(_OUTPUT_SPEC),
    }),
    "module_call_graph": _calls,
    "metadata": constant({}),
    "treespec_namedtuple_fields": constant({}),
})  # fmt: skip
_PROGRAM: Mapping[str, Check] = {
    "graph_module": _GRAPH_MODULE,
    "opset_version": by_key(_name, length),
    "range_constraints": by_key(
        _symbol, record_of({"min_val": optional(integer), "max_val": optional(integer)})
    ),
    "schema_version": record_of({"major": length, "minor": length}),
    "verifiers": lambda where, value: list_of(text)(where, value or []),
}
_PAYLOAD: Mapping[str, Check] = {
    "path_name": _name, "is_param": flag, "use_pickle": flag, "tensor_meta": _STORED_META,
}  # fmt: skip
