"""The operations of an ONNX file as one module of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from toolchain.importers.onnx_format.quantization import Codes


@dataclass(frozen=True, kw_only=True)
class Step:
    """One module of the network: which tensors it takes, and which it computes."""

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """Executes the modules in the order of the file; each has the name of its node."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.taken = ""
        self.returned: dict[str, str] = {}

    def add(
        self, name: str, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]
    ) -> str:
        """Add a module under a name that no other has; returns that name."""
        plain = name.replace(".", "_") or "node"
        unique, repeat = plain, 1
        while hasattr(self, unique):
            unique, repeat = f"{plain}_{repeat}", repeat + 1
        self.add_module(unique, module)
        self.steps.append(Step(module=unique, inputs=tuple(inputs), outputs=tuple(outputs)))
        return unique

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        values = {self.taken: x}
        for step in self.steps:
            results = self.get_submodule(step.module)(*[values[name] for name in step.inputs])
            if len(step.outputs) == 1:
                values[step.outputs[0]] = results
            else:
                values.update(zip(step.outputs, results, strict=True))
        returned = {path: values[name] for path, name in self.returned.items()}
        return returned if len(returned) > 1 else next(iter(returned.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """What of the file's own execution is compared with a quantizer.

    Attributes:
        tensor: its name in the file.
        codes: set if the tensor holds integers.
        scales: what its values are divided by, for a quantizer whose step is 1.
        clipped: values below 0 count as 0, because a ReLU follows that is no step of the module.
    """

    tensor: str
    codes: Codes | None = None
    scales: np.ndarray | None = None
    clipped: bool = False


@dataclass(eq=False)
class ReadGraph:
    """A module, and which tensors of the file it is compared with.

    Attributes:
        observed: of each quantizer.
        logits: tensor of the file for each output, in order.
    """

    network: OnnxNetwork
    observed: dict[str, Observed] = field(default_factory=dict)
    logits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
