"""Networks that PyTorch's export quantization (pt2e, torchao) wrote, and other exported programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from toolchain.datasets import PixelSource
from toolchain.errors import ModelFileError, QacDeployError, UnsupportedNetworkError
from toolchain.files.exported_file import load_program
from toolchain.importers.exported_format.placed_quantizers import PlacedQuantizer, Placement
from toolchain.importers.exported_format.program_modules import (
    batch_size,
    check_batch,
    input_of,
    module_of,
)
from toolchain.importers.exported_format.program_quantizers import place_quantizers
from toolchain.importers.exported_format.program_values import ConstantValues, quantize_nodes
from toolchain.importers.exported_format.quantization_operations import PACKED, Quantization
from toolchain.importers.exported_program import silenced
from toolchain.importers.foreign.foreign_network import ForeignNetwork, Imported, RuntimeValues
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.torch_module import Normalization
from toolchain.method.tracing import reason_of, require_plain_module
from toolchain.networks.linear_maps import Shape

_SAMPLES_PER_BATCH = 64
_ELEMENTS_PER_BATCH = 2**25  # of the largest tensor, 128 MiB in float32


def import_exported(
    program: ExportedProgram | nn.Module | Path | str,
    input_shape: Shape | None = None,
    max_value: int = 255,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> Imported:
    """Convert a quantized program to a layer graph, compared with PyTorch's execution of the program.

    Args:
        program: as ``read_exported`` takes it.
        input_shape: (channels, height, width); None reads it from the program.
        max_value, normalization, samples: as ``convert`` takes them.

    Raises:
        ModelFileError: the file is damaged, or holds something that it must not.
        UnsupportedNetworkError: naming the operation or quantizer that has no spiking form and what to do, or
            the first quantizer in which both differ.
    """
    network = read_exported(program, input_shape)
    if input_shape is None:
        if network.input_shape is None or len(network.input_shape) != 3:
            raise UnsupportedNetworkError(
                f"the program takes an input of shape {network.input_shape} for each sample; pass the "
                f"input_shape (channels, height, width) of its images"
            )
        channels, height, width = network.input_shape
        input_shape = channels, height, width
    return import_network(network, input_shape, max_value, normalization, samples=samples)


def read_exported(
    program: ExportedProgram | nn.Module | Path | str, input_shape: Shape | None = None
) -> ForeignNetwork:
    """Read an exported program: quantized by pt2e or torchao, with quantizers of ours, or with plain ReLUs.

    Activation quantizers become ours, each named after its activation; weights are what their dequantize
    operation gives. The judge is PyTorch's execution of the program itself, in float32.

    Args:
        program: a program of ``torch.export``, a ``.pt2`` file that holds one, or a module to be exported,
            such as ``convert_pt2e`` returns.
        input_shape: (channels, height, width), with which a module is exported.

    Raises:
        ModelFileError: the file is damaged, or holds something that it must not.
        UnsupportedNetworkError: naming the operation or quantizer that has no spiking form, and what to do.
    """
    path = None
    if isinstance(program, str | Path):
        path = Path(program)
        program = load_program(path)
    elif not isinstance(program, ExportedProgram):
        program = _exported(program, input_shape)
    try:
        return _read(program)
    except QacDeployError:
        raise
    except Exception as error:  # torch, on a program that contradicts itself
        reason = f"torch cannot follow it ({reason_of(error)})"
        if path is not None:
            raise ModelFileError(f"{path}: {reason}; export the network again") from error
        raise UnsupportedNetworkError(f"the program: {reason}; export it again") from error


def _read(program: ExportedProgram) -> ForeignNetwork:
    example = input_of(program).meta["val"]
    known = [int(size) if isinstance(size, int) else None for size in example.shape[1:]]
    shape = None if None in known else tuple(size for size in known if size is not None)
    with silenced():
        runnable: Any = program.module(check_guards=False)
    constant = ConstantValues(runnable)
    quantized = quantize_nodes(runnable.graph, constant)
    module = module_of(program)
    placement = place_quantizers(module) if quantized else Placement()
    check_batch(program, module)
    judge = _Judge(runnable, quantized, placement, batch_size(program))
    return ForeignNetwork(
        module=module.to(torch.float64),
        source=_source(quantized),
        runtime=_RUNTIME,
        execute=judge,
        input_shape=shape,
        notes=tuple(dict.fromkeys(placement.notes)),
    )


_RUNTIME = f"torch {torch.__version__}"


def _source(quantized: Sequence[tuple[fx.Node, Quantization]]) -> str:
    if not quantized:
        return "PyTorch exported program without quantizers"
    if all("qac_deploy" in str(node.target) for node, _ in quantized):
        return "PyTorch exported program with quantizers of qac-deploy"
    return "PyTorch exported program with quantize and dequantize operations"


def _exported(module: nn.Module, input_shape: Shape | None) -> ExportedProgram:
    require_plain_module(module)
    for path, part in module.named_modules():
        home = type(part).__module__
        if home.startswith(_PACKED_MODULES):
            raise UnsupportedNetworkError(
                f"{path or 'the network'}: {type(part).__name__} of {home} is a packed integer kernel of "
                f"eager or FX graph mode quantization; {PACKED}"
            )
        if type(part).__name__ in ("FakeQuantize", "FusedMovingAvgObsFakeQuantize", "ObserverBase"):
            raise UnsupportedNetworkError(
                f"{path or 'the network'}: is prepared for quantization but not converted; call convert_pt2e "
                f"and pass what it returns"
            )
    if input_shape is None:
        raise UnsupportedNetworkError(
            f"{type(module).__name__} is not exported yet; pass the input_shape (channels, height, width) "
            f"with which to export it"
        )
    batch = torch.export.Dim("batch")
    for size, shapes in ((2, ({0: batch},)), (2, None), (1, None)):
        images = torch.zeros(size, *input_shape)
        try:
            with silenced(), torch.no_grad():
                return torch.export.export(module, (images,), dynamic_shapes=shapes)
        except Exception as error:  # a user's own code
            reason = str(error).strip().splitlines() or [type(error).__name__]
    raise UnsupportedNetworkError(
        f"{type(module).__name__}: torch.export cannot follow this forward: {reason[0][:300]}"
    )


_PACKED_MODULES = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.quantizable",
    "torch.nn.quantized",
    "torch.nn.intrinsic.quantized",
)


class _Judge:
    """PyTorch's execution of the original program, in float32."""

    def __init__(
        self,
        module: fx.GraphModule,
        quantized: Sequence[tuple[fx.Node, Quantization]],
        placement: Placement,
        size: int | None,
    ) -> None:
        self._module, self._size = module, size
        self._noted = {
            quantized[placed.ordinal][0]: (name, placed, quantized[placed.ordinal][1])
            for name, placed in placement.placed.items()
        }
        self._repeated = {
            quantized[later][0]: self._noted[quantized[first][0]]
            for later, first in placement.repeated.items()
        }
        self._left_out = {quantized[ordinal][0] for ordinal in placement.left_out}

    def __call__(
        self, inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        size = self._size or max(
            1, min(_SAMPLES_PER_BATCH, _ELEMENTS_PER_BATCH // _largest(self._module.graph))
        )
        logits, quantized = [], []
        for start in range(0, len(inputs), size):
            part = inputs[start : start + size]
            whole = part
            if self._size is not None and len(part) < size:  # the program takes no other batch
                whole = _padded(part, size)
            given_on = {
                name: _padded(values[start : start + size], len(whole))
                for name, values in (stimuli or {}).items()
            }
            run = _Execution(self._module, self._noted, self._repeated, self._left_out, given_on)
            try:
                with torch.no_grad():
                    result = run.run(torch.from_numpy(np.array(whole, np.float32)))
            except Exception as error:  # kernels raise many types
                raise UnsupportedNetworkError(
                    f"{_RUNTIME} fails on an input of shape {whole.shape} ({reason_of(error)}); check the "
                    f"input_shape"
                ) from error
            leaves = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
            joined = (
                leaves[0]
                if len(leaves) == 1
                else torch.cat([leaf.reshape(len(leaf), -1) for leaf in leaves], dim=1)
            )
            logits.append(joined.numpy()[: len(part)])
            quantized.append({name: v[: len(part)] for name, v in run.found.items()})
        return RuntimeValues(
            logits=np.concatenate(logits),
            quantized={
                name: np.concatenate([part[name] for part in quantized]) for name in quantized[0]
            },
            stimulated=frozenset(stimuli or ()),
        )


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Samples filled up to a size with the last one."""
    return np.concatenate([values, np.repeat(values[-1:], size - len(values), 0)])


def _largest(graph: fx.Graph) -> int:
    """Most elements of a tensor for one sample."""
    values = [
        value
        for node in graph.nodes
        for value in pytree.tree_leaves(node.meta.get("val"))
        if isinstance(value, Tensor)
    ]
    sizes = [[s for s in value.shape[1:] if isinstance(s, int)] for value in values]
    return max((prod(size) for size in sizes), default=1) or 1


class _Execution(fx.Interpreter):
    """One execution, which notes what the quantizers of a placement give."""

    def __init__(
        self,
        module: fx.GraphModule,
        noted: dict[fx.Node, tuple[str, PlacedQuantizer, Quantization]],
        repeated: dict[fx.Node, tuple[str, PlacedQuantizer, Quantization]],
        left_out: set[fx.Node],
        stimuli: Mapping[str, np.ndarray],
    ) -> None:
        super().__init__(module)
        self._stimuli = stimuli
        self._noted, self._repeated, self._left_out = noted, repeated, left_out
        self._open: set[fx.Node] = set(left_out)
        self.found: dict[str, np.ndarray] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n in self._left_out or (self._open and self._is_opened(n)):
            self._open.add(n)
            return self.env[n.args[0]]  # type: ignore[index]
        if any(given in self._open for given in n.all_input_nodes):
            self._open.add(n)
        result = super().run_node(n)
        if n in self._noted:
            name, placed, what = self._noted[n]
            self.found[name] = _values_of(result, placed, what).numpy()
        if found := self._noted.get(n) or self._repeated.get(n):
            name, placed, what = found
            if name in self._stimuli:
                result = _stimulated(result, self._stimuli[name], placed, what)
        return result

    def _is_opened(self, n: fx.Node) -> bool:
        """Whether a node dequantizes what was left as it is."""
        return "dequantize" in str(n.target) and n.args[0] in self._open


def _values_of(result: Tensor, placed: PlacedQuantizer, what: Quantization) -> Tensor:
    grid, result = placed.grid, result.reshape(-1, *placed.shape)
    if what.role == "both":
        return placed.values_of(result.to(torch.float64) / grid.broadcast(grid.step, result.ndim))
    return placed.values_of(result.to(torch.float64) - grid.broadcast(grid.zero_point, result.ndim))


def _stimulated(
    result: Tensor, values: np.ndarray, placed: PlacedQuantizer, what: Quantization
) -> Tensor:
    """The result of a quantizer's node that stands for these values, which ``_values_of`` gives."""
    grid, found = placed.grid, torch.from_numpy(values)
    step = grid.broadcast(grid.step, found.ndim)
    if what.role == "both":
        found = found * step if placed.per_channel else found
    else:
        counts = (found if placed.per_channel else found / step).round()
        found = counts + grid.broadcast(grid.zero_point, found.ndim)
    return found.reshape(result.shape).to(result.dtype)
