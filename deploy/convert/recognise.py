"""Tell what a file is by its content, before anything in it is read."""

from __future__ import annotations

import enum
import stat
import zipfile
from pathlib import Path

from toolchain.errors import ModelFileError
from toolchain.shown_values import first_line


class Format(enum.Enum):
    """A format that ``convert`` reads, or a module in memory; the value names it for people."""

    ONNX = "an ONNX file"
    EXPORTED = "an exported program of PyTorch (.pt2)"
    NIR = "a NIR graph"
    STATE_DICT = "a state_dict or training checkpoint"
    MODULE = "a module of PyTorch"


KNOWN = "convert reads ONNX files, PyTorch's exported programs (.pt2), NIR graphs and the checkpoints of QCFS"

_HEAD_BYTES = 512
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_PICKLE, _PICKLE_PROTOCOLS = b"\x80", b"\x02\x03\x04\x05"
_ONNX_SUFFIXES = (".onnx", ".onnx.prototxt", ".pb", ".pbtxt")
_REFUSED: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "a GGUF file, the format of language models"),
    (b"<?xml", "an XML file; an OpenVINO network is read from the ONNX file that it was made of"),
)
"""First bytes of files that are no network we read, and what to do."""


def recognise(path: Path) -> Format:
    """The format of a file.

    Raises:
        ModelFileError: there is no such file, or it is of another kind; the message says what to do.
    """
    if path.is_dir():
        raise ModelFileError(f"{path}: is a folder; {_folder_remedy(path)}")
    try:
        # Opening a FIFO would wait for a writer. The formats' readers open the file again.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError(
                f"{path}: is no regular file (a FIFO, a socket or a device); save the network to a file"
            )
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be read ({first_line(error)}); check its permissions"
        ) from error
    if not head:
        raise ModelFileError(f"{path}: is empty; write it again")
    if head.startswith(_ZIP):
        return _zip_format(path)
    if head.startswith(_HDF5):
        return Format.NIR  # or another; its reader opens it, in a process of its own
    if head[4:8] == b"TFL3":
        raise ModelFileError(
            f"{path}: is a TensorFlow Lite file; convert it with tf2onnx (python -m tf2onnx.convert --tflite)"
        )
    if head[:1] == _PICKLE and head[1:2] in _PICKLE_PROTOCOLS:
        raise ModelFileError(
            f"{path}: is a pickle, which can run code; save the state_dict with a current torch, or export "
            f"the network with torch.onnx.export or torch.export.save"
        )
    for mark, reason in _REFUSED:
        if head.startswith(mark):
            raise ModelFileError(f"{path}: is {reason}")
    if head[8:9] == b"{" and path.suffix == ".safetensors":
        raise ModelFileError(
            f"{path}: holds weights without a network; load them into the network, and export that with "
            f"torch.onnx.export"
        )
    if path.suffix.lower() in _ONNX_SUFFIXES or _looks_like_onnx(head):
        return Format.ONNX
    raise ModelFileError(f"{path}: of no known format; {KNOWN}")


def _folder_remedy(path: Path) -> str:
    if (path / "saved_model.pb").exists():
        return (
            "convert a TensorFlow SavedModel with tf2onnx (python -m tf2onnx.convert --saved-model)"
        )
    return "name the file of a network"


def _zip_format(path: Path) -> Format:
    """Exported program, model file of ours, or state_dict: by the names of its members."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.split("/", 1)[-1] for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelFileError(
            f"{path}: is a damaged zip archive ({first_line(error)}); write it again"
        ) from error
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return Format.EXPORTED
    if "data.pkl" in names:
        if any(name.startswith("code/") for name in names):
            raise ModelFileError(
                f"{path}: is a TorchScript archive, whose Python is gone; export the network that it was "
                f"made from with torch.export.save or torch.onnx.export"
            )
        return Format.STATE_DICT
    if "config.json" in names and "model.weights.h5" in names:
        raise ModelFileError(f"{path}: is a Keras file; convert it with model.export(..., 'onnx')")
    raise ModelFileError(f"{path}: is a zip archive of no known kind; {KNOWN}")


def _looks_like_onnx(head: bytes) -> bool:
    """Whether the first bytes are the fields of an ONNX ModelProto: its IR version, then a string."""
    return head[:1] == b"\x08" and head[1] < 32 and head[2:3] in b"\x12\x3a\x42"
