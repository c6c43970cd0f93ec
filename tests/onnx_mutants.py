"""Damaged and hostile ONNX files, made of sound ones by chance.

Run as a script, it imports mutants one after the other in a process with bounded memory, and prints what
became of them: ``python tests/onnx_mutants.py SEED FIRST LAST FILE...``.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto

MEMORY_BYTES = 6 * 2**30
"""Of address space, most of which libraries only reserve."""

SECONDS = 10.0
"""Most for one mutant."""

_NAMES = [
    "",
    "x",
    "\x1b[31m",
    "a" * 5000,
    "../../etc/passwd",
    "forward",
    "training",
    "a.b",
    "q\n",
    "ü",
]
_SIZES = [0, 1, 2, 3, 7, 255, 2**20, 2**31 - 1, 2**31, 2**62, -1, -2, -(2**63)]
_NUMBERS = [0.0, -1.0, 1e-45, 1e38, float("nan"), float("inf"), float("-inf"), 0.5, 1e-9]
_OPERATIONS = [
    "Relu", "Conv", "MaxPool", "AveragePool", "Concat", "Reshape", "Transpose", "Gemm", "MatMul", "Add",
    "If", "Loop", "Expand", "Tile", "Pad", "Resize", "ConstantOfShape", "Range", "Gather", "Split", "Slice",
    "Quant", "QuantizeLinear", "DequantizeLinear", "Cast", "Shape", "Softmax", "NonMaxSuppression", "Clip",
    "Unsqueeze", "Squeeze", "ReduceMean", "GlobalAveragePool", "BatchNormalization", "ConvTranspose",
    "Einsum", "Trunc",
]  # fmt: skip
_DOMAINS = [
    "",
    "ai.onnx",
    "os",
    "qonnx.custom_op.general",
    "com.microsoft",
    "onnx.brevitas",
    "subprocess",
]


def mutant(seeds: list[bytes], number: int, seed: int = 0) -> bytes:
    """One of endlessly many damaged files; the same number gives the same file."""
    chance = random.Random(seed * 1_000_003 + number)
    content = chance.choice(seeds)
    if chance.random() < 0.25:
        return _damaged_bytes(bytearray(content), chance)
    model = ModelProto.FromString(content)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        chance.choice(_CHANGES)(model, chance)
    return model.SerializeToString()


def _damaged_bytes(content: bytearray, chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return bytes(content[: chance.randrange(len(content))])
        case 1:
            start = chance.randrange(len(content))
            del content[start : start + chance.randrange(1, 50)]
        case 2:
            start = chance.randrange(len(content))
            content[start:start] = chance.randbytes(chance.randrange(1, 20))
        case _:
            for _ in range(chance.randrange(1, 8)):
                content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def _node(model: ModelProto, chance: random.Random) -> NodeProto:
    return chance.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _tensor(model: ModelProto, chance: random.Random) -> TensorProto:
    stored = list(model.graph.initializer)
    stored += [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    return chance.choice(stored) if stored else model.graph.initializer.add()


def _rename(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    match chance.randrange(4):
        case 0:
            node.name = chance.choice(_NAMES)
        case 1 if node.input:
            node.input[chance.randrange(len(node.input))] = chance.choice(_NAMES)
        case 2 if node.output:
            node.output[chance.randrange(len(node.output))] = chance.choice(_NAMES)
        case _:
            _tensor(model, chance).name = chance.choice(_NAMES)


def _rewire(model: ModelProto, chance: random.Random) -> None:
    """Another input: also one that makes a cycle, a weight of pixels or an activation of weights."""
    node = _node(model, chance)
    names = [o for n in model.graph.node for o in n.output] + [
        t.name for t in model.graph.initializer
    ]
    if node.input and names:
        node.input[chance.randrange(len(node.input))] = chance.choice(names)
    if chance.random() < 0.3:
        node.input.append(chance.choice(names))


def _reorder(model: ModelProto, chance: random.Random) -> None:
    nodes = list(model.graph.node)
    match chance.randrange(3):
        case 0:
            chance.shuffle(nodes)
        case 1:
            nodes.remove(chance.choice(nodes))
        case _:
            nodes.append(chance.choice(nodes))
    kept = [NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _attribute(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if not node.attribute:
        node.attribute.add(
            name=chance.choice(["axis", "pads", "group", "perm"]), type=AttributeProto.INT
        )
    attribute = chance.choice(node.attribute)
    match chance.randrange(6):
        case 0:
            attribute.type = chance.randrange(0, 15)
        case 1:
            attribute.name = chance.choice(
                ["axis", "kernel_shape", "strides", "to", "to\0", "block_size"]
            )
        case 2:
            attribute.i = chance.choice(_SIZES)
        case 3:
            attribute.f = chance.choice(_NUMBERS)
        case 4 if attribute.ints:
            attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(_SIZES)
        case 4:
            del attribute.ints[:]
        case _:
            attribute.s = chance.choice([b"SAME_UPPER", b"\xff\xfe", b"linear", b"x" * 9999])


def _operation(model: ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if chance.random() < 0.6:
        node.op_type = chance.choice(_OPERATIONS)
    else:
        node.domain = chance.choice(_DOMAINS)


def _tensor_header(model: ModelProto, chance: random.Random) -> None:
    tensor = _tensor(model, chance)
    match chance.randrange(4):
        case 0 if tensor.dims:
            tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(_SIZES)
        case 1:
            tensor.data_type = chance.randrange(0, 30)
        case 2:
            tensor.dims.append(chance.choice(_SIZES))
        case _:
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", chance.choice(["/etc/passwd", "../x", "x", "", "a/../../x", "\0"])),
                ("offset", chance.choice(["0", "-1", "x", str(2**70)])),
                ("length", chance.choice(["4", str(2**62), "-5"])),
            ):
                tensor.external_data.add(key=key, value=value)


def _tensor_values(model: ModelProto, chance: random.Random) -> None:
    """Other numbers in a small tensor: a scale, a zero point, a shape, a clip."""
    small = [t for t in model.graph.initializer if len(t.raw_data) <= 64] or [
        _tensor(model, chance)
    ]
    tensor = chance.choice(small)
    size = max(1, len(tensor.raw_data))
    if tensor.data_type == TensorProto.FLOAT:
        numbers = np.array([chance.choice(_NUMBERS)] * (size // 4 or 1), np.float32)
        tensor.raw_data = numbers.tobytes()
    elif tensor.data_type == TensorProto.INT64:
        numbers = np.array([chance.choice(_SIZES) for _ in range(size // 8 or 1)], np.int64)
        tensor.raw_data = numbers.tobytes()
    else:
        tensor.raw_data = chance.randbytes(size)


def _graph_input(model: ModelProto, chance: random.Random) -> None:
    value = chance.choice(model.graph.input) if model.graph.input else model.graph.input.add()
    dims = value.type.tensor_type.shape.dim
    match chance.randrange(4):
        case 0 if dims:
            chance.choice(dims).dim_value = chance.choice(_SIZES)
        case 1:
            value.type.tensor_type.elem_type = chance.randrange(0, 25)
        case 2:
            dims.add(dim_value=chance.choice(_SIZES))
        case _:
            model.graph.output[0].name = chance.choice(["x", "nothing", value.name])


def _header(model: ModelProto, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0 if model.opset_import:
            model.opset_import[0].version = chance.choice(
                [0, 1, 7, 9, 10, 11, 12, 13, 18, 21, 99, 2**40]
            )
        case 1:
            model.ir_version = chance.choice([0, 1, 3, 99])
        case 2:
            model.opset_import.add(domain=chance.choice(_DOMAINS), version=1)
        case _:
            model.functions.add(name="f", domain="d")


_CHANGES = (
    _rename, _rewire, _rewire, _reorder, _attribute, _attribute, _operation, _operation, _tensor_header,
    _tensor_values, _tensor_values, _tensor_values, _graph_input, _header,
)  # fmt: skip


def outcome(path: Path) -> str:
    """Import a file: ``loaded``, or the class and message of the error of ours.

    Raises:
        Exception: any other error, which is a defect.
    """
    from toolchain.errors import ModelFileError, UnsupportedNetworkError
    from toolchain.importers.onnx_format import import_onnx

    try:
        import_onnx(path)
    except (ModelFileError, UnsupportedNetworkError) as error:
        return f"{type(error).__name__}: {error}"
    return "loaded"


def _main() -> None:
    import warnings

    warnings.simplefilter("ignore")
    seed, first, last = (int(text) for text in sys.argv[1:4])
    seeds = [Path(name).read_bytes() for name in sys.argv[4:]]
    outcome(Path(sys.argv[4]))  # imports come first
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    path = Path("mutant.onnx")
    found: Counter[str] = Counter()
    for number in range(first, last):
        path.write_bytes(mutant(seeds, number, seed))
        print(json.dumps({"started": number}), flush=True)
        start = time.perf_counter()
        try:
            result = outcome(path)
        except BaseException as error:
            result = f"DEFECT: {type(error).__name__}: {error}"[:500]
        seconds = time.perf_counter() - start
        if seconds > SECONDS:
            result = f"DEFECT: took {seconds:.1f} s: {result}"
        found[result.split(":")[0]] += 1
        line = {
            "number": number,
            "result": result[:600],
            "seconds": seconds,
            "peak_kib": _peak_kib(),
        }
        print(json.dumps(line), flush=True)
    print(json.dumps({"found": found, "peak_kib": _peak_kib()}), flush=True)


def _peak_kib() -> int:
    """The peak of this process; ``ru_maxrss`` would begin with that of the process that started it."""
    (line,) = (
        x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")
    )
    return int(line.split()[1])


if __name__ == "__main__":
    _main()
