"""The operations of an ONNX file as one module of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor, nn

from toolchain.importers.onnx_format.quantization import Codes


@dataclass(frozen=True, kw_only=True)
class Step:
    """One module of the network.

    Attributes:
        inputs, outputs: tensors that it takes, and that it computes.
        last_read: tensors that no later step reads, so that their memory is free.
    """

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_read: tuple[str, ...] = ()


class _Scope(nn.Module):
    """Holds the modules whose names begin alike, up to a dot."""


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
        *scopes, last = name.split(".")
        holder, path = self._scope(scopes), f"{name[: len(name) - len(last)]}"
        if holder is None or not last:
            holder, path, last = self, "", name.replace(".", "_") or "node"
        unique, repeat = last, 1
        while hasattr(holder, unique):
            unique, repeat = f"{last}_{repeat}", repeat + 1
        holder.add_module(unique, module)
        self.steps.append(Step(module=path + unique, inputs=tuple(inputs), outputs=tuple(outputs)))
        return path + unique

    def finish(self) -> None:
        """Note where each tensor is read for the last time, after all steps were added."""
        kept = set(self.returned.values())
        steps = []
        for step in reversed(self.steps):
            last = tuple(n for n in dict.fromkeys((*step.inputs, *step.outputs)) if n not in kept)
            kept.update(last)
            steps.append(replace(step, last_read=last))
        self.steps = steps[::-1]

    def _scope(self, names: Sequence[str]) -> nn.Module | None:
        """The module that holds others under these names; None if something else has one of them."""
        holder: nn.Module = self
        for name in names:
            found = getattr(holder, name, None) if name else holder
            if found is None:
                found = _Scope()
                holder.add_module(name, found)
            if not isinstance(found, _Scope):
                return None
            holder = found
        return holder

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        values = {self.taken: x}
        for step in self.steps:
            results = self.get_submodule(step.module)(*[values[name] for name in step.inputs])
            if len(step.outputs) == 1:
                values[step.outputs[0]] = results
            else:
                values.update(zip(step.outputs, results, strict=True))
            for name in step.last_read:
                del values[name]
        returned = {path: values[name] for path, name in self.returned.items()}
        return returned if len(returned) > 1 else next(iter(returned.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """What of the file's own execution is compared with a quantizer.

    Attributes:
        tensor: its name in the file.
        codes: set if the tensor holds integers.
        scales: what its values are divided by, for a quantizer whose step is 1.
        most: the largest value, if a clip follows that is no step of the module; smaller ones than 0 are then
            0.
    """

    tensor: str
    codes: Codes | None = None
    scales: np.ndarray | None = None
    most: float | None = None


@dataclass(eq=False)
class ReadGraph:
    """A module, and which tensors of the file it is compared with.

    Attributes:
        observed: of each quantizer.
        logits: tensor of the file for each output, in order.
        several_tensors: quantizers whose values are more than one tensor of the file.
    """

    network: OnnxNetwork
    observed: dict[str, Observed] = field(default_factory=dict)
    logits: list[str] = field(default_factory=list)
    several_tensors: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
