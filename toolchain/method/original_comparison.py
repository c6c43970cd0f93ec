"""A network with quantizers compared with the network it was made of, while quantizers are transparent.

The comparison needs the shape of an input, so it is made once, on the first input that the new network is
given and on random ones: in a first training step, in threshold balancing, or in conversion. It costs four
passes of a few samples.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.guard import difference_of, execute, require_repeatable

NUM_SAMPLES = 4


class OriginalComparison:
    """A forward pre-hook of the new network.

    It holds copies of both networks as they were made: what happens to the new one before its first input,
    such as another head or a hook, is its user's own.

    Args:
        original: the user's network.
        transparent: the new one, with ReLU and max pooling where it has quantizers and average pooling.
    """

    def __init__(self, original: nn.Module, transparent: nn.Module) -> None:
        self._networks: tuple[nn.Module, nn.Module] | None = (original, transparent)

    def __call__(self, network: nn.Module, args: tuple[Any, ...]) -> None:
        """Compare; raises UnsupportedNetworkError naming the first module that differs."""
        if self._networks is None or len(args) != 1 or not isinstance(args[0], Tensor):
            return  # compared before, or traced
        images = args[0][:NUM_SAMPLES].detach().to("cpu", torch.float64)
        original, transparent = (n.eval().to("cpu", torch.float64) for n in self._networks)
        for some in (images, _random_images(images.shape[1:])):
            _compare(original, transparent, some)
        self._networks = None

    def __getstate__(self) -> dict[str, Any]:
        """A network that is written to a file is compared no more: the original stays behind."""
        return {"_networks": None}


def _random_images(shape: torch.Size) -> Tensor:
    """What the first input does not show: it may be all zeros, on which many networks agree."""
    random = torch.Generator().manual_seed(0)
    return torch.rand((NUM_SAMPLES, *shape), generator=random, dtype=torch.float64)


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
