"""The integer network as a graph of ONNX operators that gives the same counts and logits.

A population is a sum of linear maps of the counts of its sources, an offset and a division per channel, and a
quantizer with the scale 1. Counts, weights and sums are integers that float32 holds exactly (their bounds
are known), and ``rounding`` finds offsets with which every count is right. Where float32 cannot, a population
is computed in float64, where ``floor((V0 + T A) / Theta)`` is exact, in front of its quantizer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from deploy.backends.maximum_windows import MaximumPools
from deploy.backends.onnx_format.dialects import Dialect, Qcdq, Qonnx
from deploy.backends.onnx_format.graph import LARGEST_FILE_BYTES
from deploy.backends.onnx_format.populations import NetworkWriter
from toolchain.errors import UnsupportedNetworkError
from toolchain.networks.integer_network import IntegerNetwork
from toolchain.networks.layer_graph.readout_outputs import readout_outputs

MOST_TIMESTEPS = 2**16 - 1
"""Largest count of a quantizer with 16 bits."""

IR_VERSIONS = {13: 7, 17: 8, 21: 10}
"""Version of the file format for each version of the standard operators."""

METADATA = "qac_deploy"
"""Key of the metadata: what a reader needs beside the operators, as JSON."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxExport:
    """A model, and how it stands for the integer network.

    Attributes:
        tensors: tensor of the counts of each population that is in the model.
        outputs: output tensor of each of the readout's outputs.
        in_float64: populations that are computed in float64, since float32 is not exact for them.
        shifted_biases: populations with an offset that an importer rounds to another bias.
        pools: max pools that stand for populations of the role ``maximum``.
    """

    model: onnx.ModelProto
    tensors: dict[str, str]
    outputs: dict[str, str]
    in_float64: list[str]
    shifted_biases: list[str]
    pools: MaximumPools


def to_onnx(network: IntegerNetwork) -> OnnxExport:
    """The network with QuantizeLinear, Clip and DequantizeLinear.

    Raises:
        UnsupportedNetworkError: an alignment other than average, a v(0) outside 0 to below the threshold,
            sums or a size that cannot be written; the message names the synapse or population.
    """
    return _export(network, Qcdq(network))


def to_qonnx(network: IntegerNetwork) -> OnnxExport:
    """The network with Quant nodes, for networks in which every T is ``2^b - 1``.

    Raises:
        UnsupportedNetworkError: as ``to_onnx``, or other timesteps.
    """
    _require_powers(network)
    export = _export(network, Qonnx())
    bits = network.input.max_value.bit_length()
    pixels = onnx.StringStringEntryProto(key="finn_datatype", value=f"UINT{bits}")
    export.model.graph.quantization_annotation.append(
        onnx.TensorAnnotation(
            tensor_name=export.model.graph.input[0].name, quant_parameter_tensor_names=[pixels]
        )
    )
    return export


def _require_powers(network: IntegerNetwork) -> None:
    others = {
        p.name: p.timesteps
        for p in network.spiking
        if p.role == "activation" and (p.timesteps + 1) & p.timesteps
    }
    if not others:
        return
    named = ", ".join(f"{name} (T={steps})" for name, steps in others.items())
    options = " ".join(f"--timesteps '{name}={_near(steps)}'" for name, steps in others.items())
    raise UnsupportedNetworkError(
        f"{named}: the timesteps of a QONNX quantizer must be 2^b - 1, such as 1, 3, 7 or 15; compile with "
        f"{options}, or export with --format onnx, which takes any T"
    )


def _near(timesteps: int) -> int:
    """The number ``2^b - 1`` nearest to some timesteps, the larger of two."""
    bits = timesteps.bit_length()
    larger, smaller = 2**bits - 1, 2 ** (bits - 1) - 1
    return larger if larger - timesteps <= timesteps - smaller else smaller


def _export(network: IntegerNetwork, dialect: Dialect) -> OnnxExport:
    _require_expressible(network)
    writer = NetworkWriter(network, dialect)
    for population in network.spiking:
        if population.name not in writer.pools.populations:
            writer.add_population(population)
    outputs = writer.add_readout(network.readout)
    graph = writer.graph
    if graph.num_bytes > LARGEST_FILE_BYTES // 2:
        raise UnsupportedNetworkError(
            f"the network has {graph.num_bytes:,} bytes of constants, and an ONNX file holds at most "
            f"{LARGEST_FILE_BYTES:,}, names and operators included; export a smaller network"
        )
    shape: list[str | int | None] = [dialect.batch, *network.input.shape]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "qac-deploy",
            [helper.make_tensor_value_info(writer.input, TensorProto.FLOAT, shape)],
            outputs,
            initializer=graph.constants,
        ),
        opset_imports=[helper.make_opsetid(*item) for item in dialect.opsets.items()],
        ir_version=IR_VERSIONS[dialect.opsets[""]],
        producer_name="qac-deploy",
    )
    helper.set_model_props(model, {METADATA: json.dumps(_metadata(network))})
    return OnnxExport(
        model=model,
        tensors={
            name: value.name for name, value in writer.counts.items() if name != network.input.name
        },
        outputs=dict(
            zip(
                (output.name for output in readout_outputs(network.readout)),
                (info.name for info in outputs),
                strict=True,
            )
        ),
        in_float64=writer.in_float64,
        shifted_biases=writer.shifted_biases,
        pools=writer.pools,
    )


def _metadata(network: IntegerNetwork) -> dict[str, object]:
    return {
        "max_value": network.input.max_value,
        "pixel_unit": network.input.unit,
        "logit_unit": network.readout.unit,
        "timesteps": {p.name: p.timesteps for p in network.spiking},
    }


def _require_expressible(network: IntegerNetwork) -> None:
    for synapse in network.synapses:
        if synapse.alignment != "average":
            raise UnsupportedNetworkError(
                f"{synapse}: with {synapse.alignment} alignment the count depends on the order of spikes, "
                f"which ONNX cannot express; compile with --alignment average, or export with --format c"
            )
    for population in network.spiking:
        start, threshold = population.initial_potential, population.threshold
        if not ((start >= 0) & (start < threshold)).all():
            raise UnsupportedNetworkError(
                f"{population.name}: its initial potentials must be from 0 to below the threshold for one "
                f"quantizer to give its count, but they reach {int(start.min()):,} and {int(start.max()):,}; "
                f"export with --format c"
            )
        if population.timesteps > MOST_TIMESTEPS:
            raise UnsupportedNetworkError(
                f"{population.name}: {population.timesteps:,} timesteps exceed a quantizer of 16 bits "
                f"({MOST_TIMESTEPS:,}); compile with fewer"
            )
