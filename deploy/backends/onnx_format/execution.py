"""An exported model beside the integer network: onnxruntime's counts and logits against the exact engine's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from deploy.backends.onnx_format.network import OnnxExport
from sim.exact.engine import ExactEngine
from sim.results import Simulation, first_divergence
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph import split_outputs

BATCH = 32
"""Samples executed at once."""

Run = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Runs a model on float32 pixels; returns tensors by name."""


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
    runner: Callable[[onnx.ModelProto], Run] | None = None,
) -> OnnxAgreement:
    """Execute a model and the integer network on the same pixels, and compare every count and logit.

    The model is run as it is, for its logits, and with the counts of every population as outputs: a runtime
    fuses other operators in each.

    Args:
        pixels: integers of shape ``(B, C, H, W)``.
        runner: makes a function that runs a model; by default onnxruntime's CPU provider does.

    Raises:
        UnsupportedNetworkError: naming the first population that differs.
    """
    make, runtime = (onnxruntime_runner, _runtime_name()) if runner is None else (runner, "the executor")
    run, run_with_counts = make(export.model), make(_with_counts(export))
    engine = ExactEngine(network, with_counts=True)
    num_counts = num_logits = 0
    for start in range(0, len(pixels), BATCH):
        some = pixels[start : start + BATCH]
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
                f"{runtime} computes other integers than the exact engine from the exported model: "
                f"{difference}; nothing was written"
            )
        num_counts += sum(counts.size for counts in found.counts.values())
        num_logits += sum(values.size for values in logits.values())
    return OnnxAgreement(
        num_samples=len(pixels), num_counts=num_counts, num_logits=num_logits, runtime=runtime
    )


def onnxruntime_runner(model: onnx.ModelProto) -> Run:
    """onnxruntime with its default optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    (given,) = (entry.name for entry in session.get_inputs())

    def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {given: pixels}), strict=True))

    return run


def _runtime_name() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def _with_counts(export: OnnxExport) -> onnx.ModelProto:
    """The model with the counts of every population as further outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(export.model)
    for tensor in export.tensors.values():
        model.graph.output.append(
            helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
        )
    return model
