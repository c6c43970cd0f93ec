"""Brevitas networks in memory: quantized weights as they are, activation quantizers as ours.

Brevitas is not imported here: whoever has such a network has imported it. Its layers are replaced, on a copy,
by PyTorch's own with the weights and biases that Brevitas computes with, and its activation quantizers by
quantize and dequantize operations. The copy is then exported and read as any exported program.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from toolchain.datasets import PixelSource
from toolchain.errors import UnsupportedNetworkError
from toolchain.importers.brevitas_format.layers import Outputs, is_brevitas, plain_layer
from toolchain.importers.exported_format.placed_quantizers import PlacedQuantizer
from toolchain.importers.exported_format.program_modules import check_batch, module_of
from toolchain.importers.exported_format.program_quantizers import place_quantizers
from toolchain.importers.exported_format.program_values import ConstantValues, quantize_nodes
from toolchain.importers.exported_program import module_path, silenced
from toolchain.importers.foreign.foreign_network import ForeignNetwork, Imported, RuntimeValues
from toolchain.importers.foreign.import_network import import_network
from toolchain.importers.torch_module import Normalization
from toolchain.method.guard import faithful_copy
from toolchain.method.tracing import place_of_error, reason_of
from toolchain.networks.linear_maps import Shape
from toolchain.shown_values import first_line

_SAMPLES_PER_BATCH = 64
_PROBES = 2  # inputs on which a scale must be the same


def import_brevitas(
    module: nn.Module,
    input_shape: Shape,
    max_value: int = 255,
    normalization: Normalization | None = None,
    *,
    samples: PixelSource | None = None,
) -> Imported:
    """Convert a Brevitas network to a layer graph, compared with Brevitas' own execution of it.

    Args:
        module: takes ``pixels / max_value`` of shape ``(B, *input_shape)``, returns logits. It stays as it
            is.
        input_shape, max_value, normalization, samples: as ``convert`` takes them.

    Raises:
        UnsupportedNetworkError: naming the layer or quantizer that has no spiking form and what to do, or the
            first quantizer in which both differ.
    """
    network = read_brevitas(module, input_shape)
    return import_network(network, input_shape, max_value, normalization, samples=samples)


def read_brevitas(module: nn.Module, input_shape: Shape) -> ForeignNetwork:
    """Read a Brevitas network.

    Args:
        module: as ``import_brevitas`` takes it.

    Raises:
        UnsupportedNetworkError: naming the layer or quantizer that has no spiking form, and what to do.
    """
    original = faithful_copy(module).to("cpu", torch.float32).eval()
    plain = _replace_layers(faithful_copy(original), _calls_of(original, input_shape))
    program = _exported(plain, input_shape)
    read = module_of(program)
    first_paths = _first_paths(plain)
    calls: Counter[str] = Counter()
    places: list[tuple[str, int]] = []  # of the quantize operations, in order
    for node, _ in quantize_nodes(read.graph, ConstantValues(read)):
        path = first_paths[module_path(node)[0]]
        places.append((path, calls[path]))
        calls[path] += 1
    placement = place_quantizers(read)
    check_batch(program, read)
    judge = _Judge(
        original,
        {name: (places[placed.ordinal], placed) for name, placed in placement.placed.items()},
        {places[later]: places[first] for later, first in placement.repeated.items()},
        {places[ordinal][0] for ordinal in placement.left_out},
    )
    return ForeignNetwork(
        module=read.to(torch.float64),
        source="Brevitas network",
        runtime=f"Brevitas {_version()}",
        execute=judge,
        input_shape=input_shape,
        notes=tuple(dict.fromkeys(placement.notes)),
    )


def _first_paths(module: nn.Module) -> dict[str, str]:
    """The first path of each module by every path that it has."""
    first: dict[int, str] = {}
    return {
        path: first.setdefault(id(part), path)
        for path, part in module.named_modules(remove_duplicate=False)
    }


def _version() -> str:
    try:
        return version("brevitas")
    except PackageNotFoundError:
        return "of an unknown version"


def is_brevitas_network(module: nn.Module) -> bool:
    """Whether a part of a network is a quantizer of Brevitas."""
    return bool(proxies_of(module))


def proxies_of(module: nn.Module) -> dict[str, nn.Module]:
    """Quantizers of weights, biases and activations by their path: Brevitas calls them proxies."""
    return {
        path: part
        for path, part in module.named_modules()
        if type(part).__module__.startswith("brevitas.proxy") and hasattr(part, "is_quant_enabled")
    }


def _calls_of(module: nn.Module, input_shape: Shape) -> dict[str, list[Any]]:
    """What each proxy gives on a few inputs, by its path."""
    calls: dict[str, list[Any]] = {}
    random = torch.Generator().manual_seed(0)
    try:
        with _noting(module, lambda path, output: calls.setdefault(path, []).append(output)):
            for _ in range(_PROBES):
                module(torch.rand((2, *input_shape), generator=random))
    except Exception as error:  # a user's own code
        raise UnsupportedNetworkError(
            f"{type(module).__name__} fails on an input of shape {(2, *input_shape)} ({reason_of(error)}); "
            f"check input_shape"
        ) from error
    if not calls:
        raise UnsupportedNetworkError(
            f"{type(module).__name__} has no quantizer of Brevitas; pass a network of brevitas.nn layers"
        )
    return calls


@contextmanager
def _noting(module: nn.Module, note: Callable[[str, Any], Any]) -> Iterator[None]:
    """Call a function with the path and the result of each proxy, while Brevitas runs without gradients.

    What the function returns is given on in place of that result, unless it is None.
    """

    def hook_of(path: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(proxy: nn.Module, given: Any, output: Any) -> Any:
            return note(path, output)

        return hook

    proxies = proxies_of(module).items()
    handles = [proxy.register_forward_hook(hook_of(path)) for path, proxy in proxies]
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each forward warns of PyTorch's named tensors
            yield
    finally:
        for handle in handles:
            handle.remove()


def _replace_layers(module: nn.Module, calls: dict[str, list[Any]]) -> nn.Module:
    """Replace Brevitas' layers of a network by PyTorch's own, in place; returns the network."""
    outputs = Outputs(
        by_proxy={id(proxy): calls.get(path, []) for path, proxy in proxies_of(module).items()}
    )
    if is_brevitas(module):
        return plain_layer("the network", module, outputs)
    plain: dict[int, nn.Module] = {}
    replaced: tuple[str, ...] = ()
    for path, part in list(module.named_modules(remove_duplicate=False)):
        if not is_brevitas(part) or path.startswith(replaced):
            continue
        if id(part) not in plain:
            plain[id(part)] = plain_layer(path, part, outputs)
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, plain[id(part)])
        replaced = (*replaced, f"{path}.")
    return module


def _exported(module: nn.Module, input_shape: Shape) -> ExportedProgram:
    images = torch.zeros(2, *input_shape)
    for shapes in (({0: torch.export.Dim("batch")},), None):
        try:
            with silenced(), torch.no_grad():
                return torch.export.export(module.eval(), (images,), dynamic_shapes=shapes)
        except Exception as error:  # a user's own code
            place, reason = place_of_error(error), first_line(error)
    raise UnsupportedNetworkError(
        f"{place or type(module).__name__}: torch.export cannot follow this forward, with plain tensors in "
        f"the place of Brevitas' quantized ones: {reason}; leave out what reads their scale or value"
    )


class _Judge:
    """Brevitas' own execution, in float32 and evaluation mode.

    Args:
        places: of each quantizer of the read network: the path of the proxy, and which call of it.
        repeated: places whose result is that of an earlier one.
        left_out: proxies of the logits, whose input is compared instead.
    """

    def __init__(
        self,
        module: nn.Module,
        places: dict[str, tuple[tuple[str, int], PlacedQuantizer]],
        repeated: dict[tuple[str, int], tuple[str, int]],
        left_out: Collection[str],
    ) -> None:
        self._module, self._places = module, places
        self._left_out = left_out
        self._named = {place: (name, placed) for name, (place, placed) in places.items()}
        self._named |= {later: self._named[first] for later, first in repeated.items()}

    def __call__(
        self, inputs: np.ndarray, stimuli: Mapping[str, np.ndarray] | None = None
    ) -> RuntimeValues:
        logits: list[np.ndarray] = []
        parts: list[dict[str, np.ndarray]] = []
        bypassed = [
            self._module.get_submodule(path).register_forward_hook(_bypass)
            for path in self._left_out
        ]
        try:
            for start in range(0, len(inputs), _SAMPLES_PER_BATCH):
                some = slice(start, start + _SAMPLES_PER_BATCH)
                given_on = {name: values[some] for name, values in (stimuli or {}).items()}
                result, found = self._executed(inputs[some], given_on)
                logits.append(_joined(result).numpy())
                parts.append(
                    {
                        name: _steps_of(found[path][call], placed)
                        for name, ((path, call), placed) in self._places.items()
                    }
                )
        finally:
            for handle in bypassed:
                handle.remove()
        return RuntimeValues(
            logits=np.concatenate(logits),
            quantized={
                name: np.concatenate([part[name] for part in parts]) for name in self._places
            },
            stimulated=frozenset(stimuli or ()),
        )

    def _executed(
        self, inputs: np.ndarray, stimuli: Mapping[str, np.ndarray]
    ) -> tuple[Any, dict[str, list[Any]]]:
        """What Brevitas returns, and what its proxies gave, by their path."""
        found: dict[str, list[Any]] = {}

        def note(path: str, output: Any) -> Any:
            calls = found.setdefault(path, [])
            calls.append(output)
            name, placed = self._named.get((path, len(calls) - 1), ("", None))
            if placed is None or name not in stimuli:
                return None
            return _stimulated(output, stimuli[name], placed)

        with _noting(self._module, note):
            result = self._module(torch.from_numpy(np.array(inputs, np.float32)))
        return result, found


def _bypass(proxy: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
    """The values that a quantizer is given, in the place of those that it gives."""
    return output._replace(value=getattr(given[0], "value", given[0]))


def _stimulated(output: Any, values: np.ndarray, placed: PlacedQuantizer) -> Any:
    """A quantized tensor with other values, which ``_steps_of`` gives for it."""
    found = torch.from_numpy(np.array(values))
    if placed.per_channel:
        found = found * placed.grid.broadcast(placed.grid.step, found.ndim)
    return output._replace(value=found.reshape(output.value.shape).to(output.value.dtype))


def _joined(result: Any) -> Tensor:
    """Logits as one tensor, several outputs one after another."""
    tensors = [
        getattr(leaf, "value", leaf)
        for leaf in pytree.tree_leaves(result, is_leaf=lambda part: hasattr(part, "bit_width"))
    ]
    if len(tensors) == 1:
        return tensors[0]
    return torch.cat([tensor.reshape(len(tensor), -1) for tensor in tensors], dim=1)


def _steps_of(output: Any, placed: PlacedQuantizer) -> np.ndarray:
    values = output.value.to(torch.float64)
    counts = values / placed.grid.broadcast(placed.grid.step, values.ndim)
    return placed.values_of(counts).reshape(-1, *placed.shape).numpy()
