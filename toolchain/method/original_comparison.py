"""Compare a network with transparent quantizers with the network it was made from.

The comparison needs the shape of an input, so it is made once, on the first input of the new network and on
random ones: in the first training step, in threshold balancing, or in conversion. It costs four passes of a
few samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn

from toolchain.errors import UnsupportedNetworkError
from toolchain.method.guard import REMEDY, difference_of, execute, require_repeatable

NUM_SAMPLES = 4


class OriginalComparison:
    """A forward pre-hook of the new network.

    It holds copies of both networks as they were made. Later changes to the new network, such as another
    head or a hook, are the user's own and are not compared.

    Args:
        original: the user's network.
        transparent: the new network with its own activations and max pooling in place of quantizers and
            average pooling.
        moved: names of modules that changed places, so that each gives something else in the new network.
    """

    def __init__(
        self, original: nn.Module, transparent: nn.Module, moved: Collection[str] = ()
    ) -> None:
        self._networks: tuple[nn.Module, nn.Module] | None = (original, transparent)
        self._moved = moved

    def __call__(self, network: nn.Module, args: tuple[Any, ...]) -> None:
        """Compare; raises UnsupportedNetworkError naming the first module that differs."""
        if self._networks is None or len(args) != 1 or not isinstance(args[0], Tensor):
            return  # compared before, or traced
        images = args[0][:NUM_SAMPLES].detach().to("cpu", torch.float64)
        original, transparent = (n.eval().to("cpu", torch.float64) for n in self._networks)
        for some in (images, _random_images(images.shape[1:])):
            _compare(original, transparent, some, self._moved)
        self._networks = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave both networks out of files: a network that was saved is not compared any more."""
        return {"_networks": None, "_moved": ()}


def _random_images(shape: torch.Size) -> Tensor:
    """What the first input does not show: it may be all zeros, on which many networks agree."""
    random = torch.Generator().manual_seed(0)
    return torch.rand((NUM_SAMPLES, *shape), generator=random, dtype=torch.float64)


def _compare(
    judge: nn.Module, transparent: nn.Module, images: Tensor, moved: Collection[str]
) -> None:
    expected: dict[tuple[str, int], Tensor] = {}
    logits = _execute(judge, images, lambda key, output: expected.update({key: output.clone()}))
    require_repeatable(judge, images, logits)

    def compare(key: tuple[str, int], output: Tensor) -> None:
        """Compare one output, which is not kept: those of both networks may take gigabytes."""
        name, _ = key
        if name in moved or key not in expected:
            return  # not in the original's place, or a function there that became a module
        if (difference := difference_of(expected.pop(key), output, 0.0)) is not None:
            where = f"before or in module '{name}'" if name else "after its last module"
            raise UnsupportedNetworkError(
                f"{type(judge).__name__} computes something else {where} once its activations are modules, "
                f"even if these compute the same ({difference}); {REMEDY}"
            )

    found = _execute(transparent, images, compare)
    expected["", 0] = logits
    compare(("", 0), found)


def _execute(
    network: nn.Module, images: Tensor, note: Callable[[tuple[str, int], Tensor], None]
) -> Tensor:
    """Logits of a network; ``note`` gets the outputs of its leaf modules by name and number of the call."""
    calls: dict[str, int] = defaultdict(int)
    handles = []

    def after(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            note((name, calls[name]), output)
            calls[name] += 1

    for name, child in network.named_modules():
        if name and not list(child.children()):
            handles.append(
                child.register_forward_hook(lambda m, a, out, name=name: after(name, out))
            )
    try:
        return execute(network, images)
    finally:
        for handle in handles:
            handle.remove()
