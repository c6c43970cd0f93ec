"""Names and texts of an ONNX file, which may hold anything."""

from __future__ import annotations

from typing import Any

from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.shown_values import shown_text

REMEDY = "export the network again, or copy the file again"


def shown(name: str | bytes) -> str:
    """A name from a file for people: printable, and of bounded length."""
    return shown_text(name.decode(errors="replace") if isinstance(name, bytes) else name)


def text_of(name: str | bytes) -> str:
    """A name; protobuf returns bytes where it is no valid text."""
    if isinstance(name, bytes):
        raise ModelFileError(f"name '{shown(name)}' is no text; {REMEDY}")
    return name


def require_onnx() -> Any:
    """The package ``onnx``.

    Raises:
        UnsupportedNetworkError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise UnsupportedNetworkError(
            "reading ONNX files needs the package onnx; install it with pip install 'qac-deploy[onnx]'"
        ) from error
    return onnx
