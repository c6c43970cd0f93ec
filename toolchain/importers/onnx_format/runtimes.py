"""The runtimes of ONNX and QONNX as judges of what was read from a file.

A judge executes a copy of the file that also returns what its quantizers compute. Only files that were read
come here: each of their operations is in our tables, so that no runtime loads or imports anything for them.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.foreign.foreign_network import Judge, RuntimeValues
from toolchain.importers.onnx_format.model_file import OnnxModel
from toolchain.importers.onnx_format.names import shown
from toolchain.importers.onnx_format.network import Observed, ReadGraph
from toolchain.importers.onnx_format.quantization import QONNX_QUANTIZERS, is_qonnx

NOTICED = 1e-4
"""Share of the range of the logits from which a difference is worth a line."""

_QONNX_DOMAIN = "qonnx.custom_op.general"

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""Executes one batch of the size that the file is made for; takes and returns tensors by name."""


def judge_of(model: OnnxModel, read: ReadGraph, sample_shape: tuple[int, ...]) -> tuple[str, Judge]:
    """Name and version of the runtime of a file, and a function that executes it.

    Raises:
        UnsupportedNetworkError: the runtime is not installed, or refuses the file.
    """
    wanted = list(dict.fromkeys([o.tensor for o in read.observed.values()] + read.logits))
    batch = model.input.sizes[0] or 1
    of_qonnx = any(is_qonnx(node) for node in model.nodes)
    make = _qonnx if of_qonnx else _onnxruntime
    name, run = make(model, wanted, (batch, *sample_shape))

    tensors = [observed.tensor for observed in read.observed.values()]
    alone = {
        quantizer: observed
        for quantizer, observed in read.observed.items()
        if tensors.count(observed.tensor) == 1 and quantizer not in read.several_tensors
    }
    examples: dict[str, np.ndarray] = {}  # of what a tensor holds

    def execute(
        inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        given = {model.input.name: inputs}
        executed = run
        if stimuli:
            taken = {quantizer: alone[quantizer] for quantizer in stimuli if quantizer in alone}
            given |= {
                _stimulus(o.tensor): _tensor_of(o, stimuli[n]).astype(examples[o.tensor].dtype)
                for n, o in taken.items()
            }
            replaced = {o.tensor: examples[o.tensor] for o in taken.values()}
            stimulated = _with_stimuli(model, replaced, batch)
            _, executed = make(stimulated, wanted, (batch, *sample_shape))
        found = _in_batches(name, executed, given, batch)
        examples.update({tensor: found[tensor][:1] for tensor in tensors})
        quantized = {
            quantizer: _real_values(observed, found[observed.tensor])
            for quantizer, observed in read.observed.items()
        }
        logits = _joined([found[tensor] for tensor in read.logits])
        used = frozenset(alone) & frozenset(stimuli or ())
        remarks = () if stimuli or of_qonnx else _remarks(model, read, inputs, logits, batch)
        return RuntimeValues(logits=logits, quantized=quantized, stimulated=used, remarks=remarks)

    return name, execute


def _joined(outputs: list[np.ndarray]) -> np.ndarray:
    """Logits as one array, several outputs one after another."""
    if len(outputs) == 1:
        return outputs[0]
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def _remarks(
    model: OnnxModel, read: ReadGraph, inputs: np.ndarray, logits: np.ndarray, batch: int
) -> tuple[str, ...]:
    """Say by how much onnxruntime differs from itself where it rewrites a file, as it does by default."""
    if any(tensor not in model.outputs for tensor in read.logits):
        return ()  # asking for more tensors changes what it rewrites
    try:
        name, run = _onnxruntime(model, read.logits, (), rewritten=True)
        found = _in_batches(name, run, {model.input.name: inputs}, batch)
    except UnsupportedNetworkError:
        return ()
    differing = np.abs(_joined([found[tensor] for tensor in read.logits]) - logits).max()
    share = float(differing / max(np.abs(logits).max(), np.finfo(np.float32).tiny))
    if share <= NOTICED:
        return ()
    return (
        f"{name} rewrites the file by default, and its logits then differ by up to {share:.2%} of their "
        f"range from those of the nodes as the file has them, which are the ones compared here",
    )


def _stimulus(tensor: str) -> str:
    return f"{tensor} (stimulus)"


def _with_stimuli(model: OnnxModel, replaced: Mapping[str, np.ndarray], batch: int) -> OnnxModel:
    """The file with one more input for each of these tensors, which all nodes read in its place."""
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            if name in replaced:
                node.input[index] = _stimulus(name)
    for name, values in replaced.items():
        kind, shape = onnx.helper.np_dtype_to_tensor_dtype(values.dtype), (batch, *values.shape[1:])
        proto.graph.input.append(onnx.helper.make_tensor_value_info(_stimulus(name), kind, shape))
    return replace(model, proto=proto)


def _in_batches(
    name: str, run: Run, inputs: Mapping[str, np.ndarray], batch: int
) -> dict[str, np.ndarray]:
    """Execute samples in batches of the size that the file is made for; the last one is filled up."""
    parts: dict[str, list[np.ndarray]] = {}
    num_samples = len(next(iter(inputs.values())))
    for start in range(0, num_samples, batch):
        given = {tensor: values[start : start + batch] for tensor, values in inputs.items()}
        num_given = min(batch, num_samples - start)
        filled = {
            tensor: np.concatenate([v, np.zeros((batch - num_given, *v.shape[1:]), v.dtype)])
            for tensor, v in given.items()
        }
        for tensor, values in run(filled).items():
            if values.ndim == 0 or len(values) != batch:
                raise UnsupportedNetworkError(
                    f"{name} gives '{shown(tensor)}' of shape {values.shape} for a batch of {batch}; keep "
                    f"the batch as the first axis, and samples apart"
                )
            parts.setdefault(tensor, []).append(values[:num_given])
    return {tensor: np.concatenate(values) for tensor, values in parts.items()}


def _real_values(observed: Observed, values: np.ndarray) -> np.ndarray:
    """What a quantizer of ours would return where its runtime gives these values."""
    if observed.codes is not None:
        codes = observed.codes
        integers = values.astype(np.float64) - codes.zero()
        step = codes.scale.reshape(-1)[0] if observed.scales is None else 1.0
        values = integers * step
    elif observed.scales is not None:
        values = values.astype(np.float64) / observed.scales
    return values if observed.most is None else np.clip(values, 0, observed.most)


def _tensor_of(observed: Observed, values: np.ndarray) -> np.ndarray:
    """What the file's tensor holds where a quantizer of ours returns these values."""
    if observed.codes is not None:
        step = observed.codes.scale.reshape(-1)[0] if observed.scales is None else 1.0
        return np.round(values / step) + observed.codes.zero()
    return values if observed.scales is None else values * observed.scales


def _onnxruntime(
    model: OnnxModel, wanted: list[str], shape: tuple[int, ...], *, rewritten: bool = False
) -> tuple[str, Run]:
    try:
        import onnxruntime
    except ImportError as error:
        raise UnsupportedNetworkError(
            "comparing with ONNX's own runtime needs onnxruntime; install it with pip install "
            "'qac-deploy[onnx]'"
        ) from error
    name = f"onnxruntime {onnxruntime.__version__}"
    copy = _copy_with_outputs(model, wanted)
    options = onnxruntime.SessionOptions()
    if (
        not rewritten
    ):  # every node as the file has it: fused integer kernels round and saturate otherwise
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.enable_mem_pattern = False
    with _said_as_ours(name):
        session = onnxruntime.InferenceSession(
            copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        kinds = {given.name: given.type for given in session.get_inputs()}
    dtype = np.float64 if kinds[model.input.name] == "tensor(double)" else np.float32

    def run(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        feed = {n: np.ascontiguousarray(v) for n, v in inputs.items()}
        feed[model.input.name] = feed[model.input.name].astype(dtype)
        with _said_as_ours(name):
            values = session.run(wanted, feed)
        return dict(zip(wanted, values, strict=True))

    return name, run


def _qonnx(model: OnnxModel, wanted: list[str], shape: tuple[int, ...]) -> tuple[str, Run]:
    try:
        import qonnx
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes
    except ImportError as error:
        raise UnsupportedNetworkError(
            "comparing with QONNX's own executor needs qonnx; install it with pip install "
            "'qac-deploy[onnx]'"
        ) from error
    name = f"qonnx {_version_of(qonnx)}"
    copy = _copy_with_outputs(model, [])
    for node in copy.graph.node:
        if node.op_type in QONNX_QUANTIZERS:
            node.domain = _QONNX_DOMAIN
            node.op_type = "Quant"
    for opset in [o for o in copy.opset_import if o.domain not in ("", "ai.onnx")]:
        copy.opset_import.remove(opset)
    copy.opset_import.add(domain=_QONNX_DOMAIN, version=1)
    given = next(v for v in copy.graph.input if v.name == model.input.name)
    for dim, size in zip(given.type.tensor_type.shape.dim, shape, strict=True):
        dim.Clear()
        dim.dim_value = size
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    with _said_as_ours(name):
        wrapped = ModelWrapper(copy).transform(InferShapes())

    def run(inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        given = {n: v.astype(np.float32) for n, v in inputs.items()}
        with _said_as_ours(name):
            found = execute_onnx(
                wrapped,
                given,
                return_full_exec_context=True,
            )
        return {tensor: np.array(found[tensor]) for tensor in wanted}

    return name, run


def _version_of(package: Any) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package.__name__)
    except PackageNotFoundError:
        return "of unknown version"


def _copy_with_outputs(model: OnnxModel, wanted: list[str]) -> Any:
    """A copy of a file that returns more tensors, without what is no part of its computation."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    del copy.metadata_props[:]
    del copy.training_info[:]
    del copy.graph.value_info[:]  # shapes that the runtime finds itself
    existing = {output.name for output in copy.graph.output}
    copy.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in existing
    )
    return copy


@contextmanager
def _said_as_ours(runtime: str) -> Iterator[None]:
    """Turn whatever a runtime raises into one error of ours, and keep back what it prints."""
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except UnsupportedNetworkError:
        raise
    except Exception as error:  # a runtime's own types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedNetworkError(
            f"{runtime} cannot execute it: {shown(reason[:300])}"
        ) from error
