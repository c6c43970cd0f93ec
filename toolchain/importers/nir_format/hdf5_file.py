"""The content of an HDF5 file from anyone, read in a child process with limits of memory and time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.child_process import run_child
from toolchain.datasets.size_limit import VARIABLE, size_limit
from toolchain.errors import ModelFileError, UnsupportedNetworkError
from toolchain.shown_values import shown_text

_SCRIPT = Path(__file__).with_name("hdf5_child.py")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"

MAX_OBJECTS = 50_000
MAX_DEPTH = 24
MAX_TEXTS = 2**25
TIMEOUT_S = 20
"""Seconds for a small file; a large one has one more for each of its ``BYTES_PER_S``."""

BYTES_PER_S = 10_000_000
_OWN_BYTES = 2 * 2**30  # address space of an interpreter with h5py, and one copy of a small file

Content = dict[str, Any]
"""Groups are dictionaries, numbers are arrays, one text is a str and several are an array of str."""


def read_hdf5(path: Path, *, timeout_s: float = TIMEOUT_S) -> Content:
    """Read all groups and arrays of a file. Nothing outside of it is read, and no plug-in is loaded.

    Raises:
        ModelFileError: it is damaged, larger than the limit, or holds links, other types than numbers and
            texts, or names that cannot be printed.
        UnsupportedNetworkError: h5py is not installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise UnsupportedNetworkError(
            f"{path}: the package h5py is not installed; run `pip install 'qac-deploy[nir]'`"
        )
    limit_bytes = size_limit(None)
    timeout_s += _num_bytes(path, limit_bytes) / BYTES_PER_S
    limits = {
        "max_bytes": limit_bytes,
        "max_objects": MAX_OBJECTS,
        "max_depth": MAX_DEPTH,
        "max_texts": MAX_TEXTS,
        "address_bytes": 2 * limit_bytes + _OWN_BYTES,
        "cpu_s": int(timeout_s) + 1,
        "module_path": [folder for folder in sys.path if folder],
    }
    command = [sys.executable, "-I", str(_SCRIPT), str(path), json.dumps(limits)]
    try:
        child = run_child(
            command,
            timeout_s=timeout_s,
            env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"{path}: damaged: the HDF5 library did not end in {timeout_s:.3g} s; write the file again"
        ) from None
    if child.returncode != 0:
        said = child.stderr.decode(errors="replace").strip().splitlines()
        last = "".join(filter(str.isprintable, said[-1]))[:200] if said else "no message"
        raise ModelFileError(
            f"{path}: damaged: the HDF5 library ended with code {child.returncode} ({last}), or needs more "
            f"memory than {VARIABLE} = {limit_bytes:,} bytes allows; write the file again"
        )
    return _content(path, child.stdout)


def _num_bytes(path: Path, limit_bytes: int) -> int:
    """Size of an HDF5 file."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_SIGNATURE))
        num_bytes = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if head != _SIGNATURE:
        raise ModelFileError(
            f"{path}: not an HDF5 file, which a NIR graph is; write it with nir.write"
        )
    if num_bytes > limit_bytes:
        raise ModelFileError(
            f"{path}: has {num_bytes:,} bytes, above the limit of {limit_bytes:,}; if the file is right, add "
            f"--limit-bytes {num_bytes}"
        )
    return num_bytes


def _content(path: Path, answer: bytes) -> Content:
    """The content that a child wrote."""
    start = 8 + int.from_bytes(answer[:8], "little")
    header = json.loads(answer[8:start])
    if header.get("refused") is not None:
        reason = shown_text(header["refused"], 300)
        if "path" in header:
            raise ModelFileError(f"{path}: {'/'.join(header['path']) or 'content'}: {reason}")
        after = "/".join(header["after"])
        raise ModelFileError(f"{path}: {reason}" + (f", behind {after}" if after else ""))
    root: Content = {}
    for entry in header["entries"]:
        *groups, name = entry["path"]
        group = root
        for part in groups:
            group = group[part]
        shape = tuple(entry["shape"]) if "shape" in entry else ()
        match entry["kind"]:
            case "group":
                group[name] = {}
            case "texts":
                texts = np.empty(len(entry["texts"]), object)
                texts[:] = entry["texts"]
                group[name] = entry["texts"][0] if shape == () else texts.reshape(shape)
            case "array":
                dtype, size = np.dtype(entry["dtype"]), prod(shape)
                group[name] = np.frombuffer(answer, dtype, size, start).reshape(shape)
                start += size * dtype.itemsize
    return root


def plain_content(record: Mapping[str, Any]) -> Content:
    """The same kinds of values of a record in memory, such as ``NIRGraph.to_dict()``; None is left out."""
    return {str(name): _plain(value) for name, value in record.items() if value is not None}


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return plain_content(value)
        case str():
            return value
        case list() | tuple() if value and not isinstance(value[0], int | float | np.number):
            return np.array([[str(part) for part in pair] for pair in value], object)
    if hasattr(value, "detach"):  # tensors, which some writers leave in their graphs
        value = value.detach().cpu().numpy()
    return np.asarray(value)
