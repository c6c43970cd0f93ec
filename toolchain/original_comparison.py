"""A network with quantizers compared with the network it was made of, while quantizers are transparent.

The comparison needs an input, so it is made once, on the first that the new network is given: in a first
training step, in threshold balancing, or in conversion. It costs two passes of a few samples.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.guard import difference_of, evaluation_copy, execute, require_repeatable

NUM_SAMPLES = 4


class OriginalComparison:
    """A forward pre-hook of the new network.

    Args:
        original: the user's network.
        replaced: by name in the new network, what each replaced operation was: ReLU or max pooling.
    """

    def __init__(self, original: nn.Module, replaced: Mapping[str, nn.Module]) -> None:
        self._original: nn.Module | None = original
        self._replaced = dict(replaced)

    def __call__(self, network: fx.GraphModule, args: tuple[Any, ...]) -> None:
        """Compare; raises UnsupportedNetworkError naming the first module that differs."""
        original = self._original
        if original is None or len(args) != 1 or not isinstance(args[0], Tensor):
            return  # compared before, or traced
        self._original = None  # the copies below are not compared again
        try:
            images = args[0][:NUM_SAMPLES].detach().to("cpu", torch.float64)
            _compare(_with_weights_of(network, original), self._transparent(network), images)
        except BaseException:
            self._original = original
            raise

    def __getstate__(self) -> dict[str, Any]:
        """A network that is written to a file is compared no more: the original stays behind."""
        return {"_original": None, "_replaced": {}}

    def _transparent(self, network: fx.GraphModule) -> nn.Module:
        transparent = evaluation_copy(network)
        assert isinstance(transparent, fx.GraphModule)
        for name, operation in self._replaced.items():
            transparent.add_submodule(name, copy.deepcopy(operation).eval())
        return transparent


def _with_weights_of(network: nn.Module, original: nn.Module) -> nn.Module:
    """The original as it is now trained: the new network has its tensors under the same names."""
    judge = evaluation_copy(original)
    state = network.state_dict()
    own = {name: state.get(name, tensor) for name, tensor in judge.state_dict().items()}
    judge.load_state_dict(own)
    return judge


def _compare(judge: nn.Module, transparent: nn.Module, images: Tensor) -> None:
    expected, found = (_outputs(network, images) for network in (judge, transparent))
    require_repeatable(judge, images, expected["", 0])
    for (name, call), output in found.items():
        if (name, call) not in expected:
            continue  # a function of the original that became a module
        if (difference := difference_of(expected[name, call], output, 0.0)) is not None:
            where = (
                f"in front of or in module '{name}'"
                if name
                else "between its last module and its output"
            )
            raise UnsupportedNetworkError(
                f"{type(judge).__name__} computes something else {where} as soon as its activations are "
                f"modules of their own, even transparent ones ({difference}); its forward holds what tracing "
                f"does not see, such as a hook, state, or an operation in place on an aliased tensor"
            )


def _outputs(network: nn.Module, images: Tensor) -> dict[tuple[str, int], Tensor]:
    """Output of each call of each leaf module, and at the end, named '', of the network."""
    outputs: dict[tuple[str, int], Tensor] = {}
    calls: dict[str, int] = defaultdict(int)
    handles = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            outputs[name, calls[name]] = output.clone()
            calls[name] += 1

    for name, child in network.named_modules():
        if name and not any(True for _ in child.children()):
            handles.append(
                child.register_forward_hook(lambda m, a, out, name=name: note(name, out))
            )
    try:
        logits = execute(network, images)
    finally:
        for handle in handles:
            handle.remove()
    outputs["", 0] = logits
    return outputs
