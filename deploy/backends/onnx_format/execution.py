"""Run an exported model beside the integer network, and compare all counts and logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx import helper

from deploy.backends.onnx_format.network import OnnxExport
from sim.exact.engine import ExactEngine
from sim.results import Simulation, first_divergence
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import split_outputs

_COUNTS_AT_ONCE = 2**23
"""Counts of all populations and samples that are executed at once."""

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Runs a model on float32 pixels; returns tensors by name."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What executes a model.

    Attributes:
        name: with its version.
        prepare: makes a function that runs a model.
    """

    name: str
    prepare: Callable[[onnx.ModelProto], Run]


@dataclass(frozen=True, kw_only=True)
class OnnxAgreement:
    """Numbers of a comparison that found no difference."""

    num_samples: int
    num_counts: int
    num_logits: int
    runtime: str


def compare_with_network(
    export: OnnxExport,
    network: IntegerNetwork,
    pixels: np.ndarray,
    choose_runtime: Callable[[], Runtime] | None = None,
) -> OnnxAgreement:
    """Execute a model and the integer network on the same pixels, and compare every count and logit.

    The model is run as it is, for its logits, and with the counts of every population as outputs: a runtime
    fuses other operators in each.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        choose_runtime: by default ``onnxruntime_cpu``.

    Raises:
        UnsupportedNetworkError: naming the first population that differs.
    """
    runtime = (choose_runtime or onnxruntime_cpu)()
    run, run_with_counts = runtime.prepare(export.model), runtime.prepare(_with_counts(export))
    engine = ExactEngine(network, with_counts=True)
    num_counts = num_logits = 0
    neurons = sum(prod(population.shape) for population in network.populations)
    batch = max(1, _COUNTS_AT_ONCE // neurons)
    for start in range(0, len(pixels), batch):
        some = pixels[start : start + batch]
        expected = engine.run(some)
        given = some.astype(np.float32)
        alone = run(given)
        tensors = run_with_counts(given)
        found = Simulation(
            logits=expected.logits,
            counts={
                name: tensors[tensor].reshape(len(some), *network[name].shape)
                for name, tensor in export.tensors.items()
            },
            trains={},
        )
        ours = Simulation(
            logits=expected.logits,
            counts={name: expected.counts[name] for name in export.tensors},
            trains={},
        )
        logits = split_outputs(network.readout, expected.logits)
        difference = first_divergence(ours, found)
        for name, values in logits.items():
            for result in (tensors[export.outputs[name]], alone[export.outputs[name]]):
                different = np.argwhere(values != result.reshape(values.shape))
                if len(different):
                    at = tuple(int(i) for i in different[0])
                    axes = "(sample, channel, row, column)"
                    difference = difference or f"{name}: logits differ at {axes} = {at}"
        if difference:
            raise UnsupportedNetworkError(
                f"{runtime.name} computes other integers than the exact engine from the exported model: "
                f"{difference}; nothing was written"
            )
        num_counts += sum(counts.size for counts in found.counts.values())
        num_logits += sum(values.size for values in logits.values())
    return OnnxAgreement(
        num_samples=len(pixels), num_counts=num_counts, num_logits=num_logits, runtime=runtime.name
    )


def onnxruntime_cpu() -> Runtime:
    """onnxruntime with its default optimizations."""
    import onnxruntime

    def prepare(model: onnx.ModelProto) -> Run:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; it warns of constants that it folds
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        (given,) = (entry.name for entry in session.get_inputs())
        return lambda pixels: dict(zip(names, session.run(names, {given: pixels}), strict=True))

    return Runtime(name=f"onnxruntime {onnxruntime.__version__}", prepare=prepare)


def qonnx_executor() -> Runtime:
    """qonnx's executor, node by node."""
    from importlib.metadata import version

    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    def prepare(model: onnx.ModelProto) -> Run:
        names = [output.name for output in model.graph.output]

        def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
            sized = onnx.ModelProto()
            sized.CopyFrom(model)
            (given,) = sized.graph.input
            given.type.tensor_type.shape.dim[0].dim_value = len(pixels)
            for output in sized.graph.output:
                output.type.tensor_type.ClearField("shape")
            del sized.graph.value_info[:]
            wrapped = ModelWrapper(sized).transform(InferShapes())
            values = execute_onnx(wrapped, {given.name: pixels}, return_full_exec_context=True)
            return {name: np.asarray(values[name]) for name in names}

        return run

    return Runtime(name=f"qonnx {version('qonnx')}", prepare=prepare)


RUNTIMES: dict[str, Callable[[], Runtime]] = {"onnx": onnxruntime_cpu, "qonnx": qonnx_executor}
"""What executes a file of each format."""


def _with_counts(export: OnnxExport) -> onnx.ModelProto:
    """The model with the counts of every population as further outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    for tensor in export.tensors.values():
        model.graph.output.append(
            helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
        )
    return model
