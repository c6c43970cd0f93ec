"""Accuracy of logits: the share of right classes, or a function of the user's own."""

from __future__ import annotations

import importlib.util
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from toolchain.errors import AccuracyError
from toolchain.networks.layer_graph.readout_outputs import Readout, has_classes, split_outputs

AccuracyFunction: TypeAlias = Callable[[Any, np.ndarray], float]
"""Logits and labels of all samples to one finite number; ``--accuracy-budget`` counts hundredths of it.

Logits are float64 ``(N, C, H, W)`` in the units of the float network, or a dictionary of such arrays by the
name of the output if the network has several. Labels are those of the data set.
"""

OPTION = "--accuracy FILE.py:FUNCTION"


@dataclass(frozen=True, kw_only=True, eq=False)
class Accuracy:
    """A user's accuracy.

    Attributes:
        name: ``FILE.py:FUNCTION``, for reports and messages.
    """

    name: str
    function: AccuracyFunction

    @property
    def short_name(self) -> str:
        return self.name.rpartition(":")[2]

    def __call__(self, readout: Readout, logits: np.ndarray, labels: np.ndarray) -> float:
        """The accuracy of logits ``(N, C * H * W)``.

        Raises:
            AccuracyError: the function fails, or returns something other than a finite number.
        """
        outputs = split_outputs(readout, np.asarray(logits, np.float64))
        given = outputs if readout.outputs else next(iter(outputs.values()))
        try:
            result = self.function(given, labels.copy())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the user's code raises
            raise AccuracyError(f"{self.name} failed: {_described(error)}") from error
        if isinstance(result, bool | np.bool_ | str) or np.ndim(result) != 0:
            raise self._nonsense(result)
        try:
            number = float(result)
        except (TypeError, ValueError, OverflowError):
            raise self._nonsense(result) from None
        if not math.isfinite(number):
            raise self._nonsense(result)
        return number

    def _nonsense(self, result: object) -> AccuracyError:
        shown = repr(result)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        return AccuracyError(f"{self.name} must return one finite number, not {shown}")


def as_accuracy(accuracy: Accuracy | AccuracyFunction | None) -> Accuracy | None:
    """A function with the name that reports show.

    Raises:
        AccuracyError: it is no function.
    """
    if accuracy is None or isinstance(accuracy, Accuracy):
        return accuracy
    if not callable(accuracy):
        raise AccuracyError(
            f"an accuracy must be a function of logits and labels, not {accuracy!r:.60}"
        )
    return Accuracy(name=getattr(accuracy, "__name__", repr(accuracy)), function=accuracy)


def load_accuracy(text: str) -> Accuracy:
    """The function that ``FILE.py:FUNCTION`` names; the file is executed, with its folder on the path.

    Raises:
        AccuracyError: there is no such file or function, or executing the file fails.
    """
    file, _, name = text.rpartition(":")
    path = Path(file)
    if not file or not name.isidentifier() or path.suffix != ".py":
        raise AccuracyError(f"'{text}' must be FILE.py:FUNCTION, such as metrics.py:mean_iou")
    if not path.is_file():
        raise AccuracyError(f"{path}: no such file; --accuracy needs a Python file")
    spec = importlib.util.spec_from_file_location(f"accuracy_of_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever the user's code raises
        raise AccuracyError(f"{path} cannot be executed: {_described(error)}") from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, name, None)
    if not callable(function):
        defined = sorted(
            k for k, v in vars(module).items() if callable(v) and not k.startswith("_")
        )
        raise AccuracyError(
            f"{path}: has no function {name}; it has {', '.join(defined) or 'none'}"
        )
    return Accuracy(name=text, function=function)


def _described(error: BaseException) -> str:
    """Type and message of an error, and the line of the file that raised it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"


@dataclass(eq=False)
class AccuracyMeter:
    """Collects of each batch what the accuracy needs: all logits for a user's function, else the classes."""

    readout: Readout
    accuracy: Accuracy | None
    _parts: list[np.ndarray] = field(default_factory=list)

    @property
    def is_defined(self) -> bool:
        """Whether there is an accuracy: a user's own, or that of classes."""
        return self.accuracy is not None or has_classes(self.readout)

    def add(self, logits: np.ndarray, unit: float = 1.0) -> None:
        """Add logits ``(B, C * H * W)``, to be multiplied by ``unit``."""
        if self.accuracy is not None:
            self._parts.append(logits * unit)
        elif has_classes(self.readout):
            self._parts.append(logits.argmax(axis=1))

    def result(self, labels: np.ndarray) -> float | None:
        """The accuracy; None if it is undefined, because the logits are not those of classes."""
        if not self._parts:
            return None
        values = np.concatenate(self._parts)
        if self.accuracy is not None:
            return self.accuracy(self.readout, values, labels)
        return float((values == labels).mean())


def measure_accuracy(
    readout: Readout,
    logits: np.ndarray,
    labels: np.ndarray,
    accuracy: Accuracy | None,
    unit: float = 1.0,
) -> float | None:
    """The accuracy of logits ``(N, C * H * W)``; see ``AccuracyMeter``."""
    meter = AccuracyMeter(readout, accuracy)
    meter.add(logits, unit)
    return meter.result(labels)
