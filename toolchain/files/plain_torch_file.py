"""Files of ``torch.save``, read without executing any of their content, written whole or not at all."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from toolchain.bounded_readers import require_plain
from toolchain.errors import ModelFileError
from toolchain.files.digest import array_sha256
from toolchain.files.whole_files import FileKind, whole_file
from toolchain.shown_values import first_line, shown_name, shown_text


def load_plain_zip(path: Path, remedy: str) -> Any:
    """Read plain containers and tensors from a file in torch's zip format.

    It is opened with ``weights_only=True``. The older, non-zip formats are refused, since CVE-2025-32434
    exploits them in torch before 2.6. The checksum of every member is checked first, because ``torch.load``
    does not: a flipped bit would give another weight. All tensors must be dense, without a gradient,
    of a number type that NumPy has, and together no larger than the file. Whether they are finite is left to
    the caller, who knows what they are.

    Args:
        remedy: end of every error message.

    Raises:
        ModelFileError: there is no such file, it is truncated or damaged, or it holds anything else.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file")
    _check_members(path, remedy)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises many types on hostile or damaged content
        raise ModelFileError(
            f"{path}: cannot be read safely as plain tensors and containers ({_reason(error)}); {remedy}"
        ) from error
    try:
        require_plain(document, _TensorGate(path.stat().st_size))
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}; {remedy}") from None
    return document


def _reason(error: Exception) -> str:
    """Torch's reason in one line, without its advice to load the file all the same."""
    text = _COLOURS.sub("", str(error))
    found = _UNPICKLER.search(text)
    lines = (found[1] if found else text).strip().splitlines() or [type(error).__name__]
    return shown_text(lines[0].partition(". Please use")[0], 160)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_UNPICKLER = re.compile(r"WeightsUnpickler error: (.*)")

_TENSOR_TYPES = (
    torch.float16, torch.float32, torch.float64,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip


class _TensorGate:
    """Lets tensors pass that are what they seem, and together take no more bytes than their file."""

    def __init__(self, file_bytes: int) -> None:
        self._bytes_left = file_bytes

    def __call__(self, where: str, value: object) -> bool:
        if not isinstance(value, torch.Tensor):
            return False
        if (
            type(value) is not torch.Tensor
            or value.layout != torch.strided
            or value.is_nested
            or value.is_meta
            or value.requires_grad
            or value.is_neg()
            or value.dtype not in _TENSOR_TYPES
        ):
            described = f"{type(value).__name__} of {value.dtype}"
            raise ValueError(
                f"{where} must be a plain dense tensor of float numbers or integers without a gradient, not "
                f"{described}"
            )
        self._bytes_left -= value.numel() * value.element_size()
        if self._bytes_left < 0:
            raise ValueError(f"{where} takes more bytes than the file has")
        return True


def load_mapped_zip(path: Path) -> Any:
    """The same containers with tensors that are read from the file as they are used.

    The checksums of the members are not checked.

    Returns:
        None if the file cannot be read so; ``load_plain_zip`` says why.
    """
    if not path.is_file():  # nothing comes from a FIFO, and it would be waited for
        return None
    try:
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        require_plain(document, _TensorGate(path.stat().st_size))
    except Exception:
        return None
    return document


def _check_members(path: Path, remedy: str) -> None:
    """Check that each member is uncompressed, as torch writes it, and matches its CRC-32."""
    try:
        if not zipfile.is_zipfile(path):
            raise ModelFileError(
                f"{path}: not a file in torch's zip format, or truncated; {remedy}"
            )
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            compressed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
            inflated = sum(m.file_size for m in members) > path.stat().st_size
            damaged = None if compressed or inflated else archive.testzip()
    except ModelFileError:
        raise
    except Exception as error:  # zipfile raises many types on damaged content, too
        raise ModelFileError(f"{path}: damaged ({first_line(error)}); {remedy}") from error
    if compressed or inflated:
        which = (
            f"member '{shown_name(compressed[0])}' is compressed"
            if compressed
            else "its members overlap"
        )
        raise ModelFileError(f"{path}: {which}, which torch does not write; {remedy}")
    if damaged is not None:
        raise ModelFileError(
            f"{path}: damaged: the content of member '{shown_name(damaged)}' does not match its "
            f"checksum; {remedy}"
        )


def save_plain_zip(path: Path, document: dict[str, Any], kind: FileKind) -> None:
    """Write plain containers and tensors, whole or not at all.

    Raises:
        ModelFileError: another kind of file is at the path, or it cannot be written.
    """
    with whole_file(path, kind) as part, part.open("wb") as file:
        try:
            torch.save(document, file)
        except RuntimeError as error:  # torch's report of a full disk
            raise OSError(str(error)) from error


def content_sha256(content: Any) -> str:
    """SHA-256 of plain containers and tensors: of all values, their types, and the shapes of tensors."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        match value:
            case torch.Tensor():
                digest.update(array_sha256(value.detach().cpu().numpy()).encode())
            case Mapping():
                digest.update(b"{%d" % len(value))
                for name, part in value.items():
                    add(name)
                    add(part)
            case list() | tuple():
                digest.update(b"[%d" % len(value))
                for part in value:
                    add(part)
            case _:
                text = f"{type(value).__name__} {value!r}".encode(errors="surrogatepass")
                digest.update(b"%d %s" % (len(text), text))

    add(content)
    return digest.hexdigest()
