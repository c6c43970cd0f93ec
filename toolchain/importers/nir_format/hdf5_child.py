"""Read an HDF5 file and write its content to stdout, as a script in its own interpreter.

The HDF5 library crashes or never ends on some damaged files, so no other process should open one that came
from a stranger. The parent sets limits of memory and time, and reads the answer with ``hdf5_file``.

The answer is the length of a JSON header (8 bytes, little-endian), the header, and the bytes of all arrays in
its order. This script imports h5py, NumPy and the standard library alone.
"""

from __future__ import annotations

import json
import sys
from typing import Any

if __name__ == "__main__":  # before anything is loaded that could need memory
    LIMITS = json.loads(sys.argv[2])
    sys.path[:] = LIMITS.pop("module_path")  # of the parent, so that the same h5py is found
    try:
        import resource
    except ImportError:  # Windows has no such limits
        del LIMITS["address_bytes"], LIMITS["cpu_s"]
    else:
        for kind, most in (
            (resource.RLIMIT_AS, LIMITS.pop("address_bytes")),
            (resource.RLIMIT_CPU, LIMITS.pop("cpu_s")),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))

import h5py
import numpy as np

MAX_NAME = 200
BYTES_PER_NUMBER = 8  # all numbers are computed with in float64
_FILTERS = {1, 2, 3, 4, 32000}  # deflate, shuffle, fletcher32, szip, lzf: no plug-ins


class RefusedError(Exception):
    """Something that no NIR file needs; the arguments are its place and what is wrong."""


class Content:
    """The objects of a file, within limits.

    Args:
        max_bytes: of all arrays together, as they are declared, in float64.
        max_objects: groups and data sets.
        max_depth: levels of groups.
        max_texts: characters of all texts together.
    """

    def __init__(self, max_bytes: int, max_objects: int, max_depth: int, max_texts: int) -> None:
        self.max_bytes, self.max_objects = max_bytes, max_objects
        self.max_depth, self.max_texts = max_depth, max_texts
        self.entries: list[dict[str, Any]] = []
        self.arrays: list[np.ndarray] = []
        self._num_bytes = self._num_texts = 0

    def read_group(self, group: Any, path: list[str]) -> None:
        """Read a group and all in it."""
        if len(path) > self.max_depth:
            raise RefusedError(path, f"more than {self.max_depth} groups deep")
        for name in group:
            if not name.isprintable() or len(name) > MAX_NAME:
                raise RefusedError(
                    path,
                    f"a name in it must be at most {MAX_NAME} printable characters, not {name[:60]!a}",
                )
            where = [*path, name]
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise RefusedError(where, "a link to another place or file, which is not followed")
            item = group[name]
            if len(self.entries) >= self.max_objects:
                raise RefusedError(where, f"more than {self.max_objects:,} groups and arrays")
            if isinstance(item, h5py.Group):
                self.entries.append({"path": where, "kind": "group"})
                self.read_group(item, where)
            elif isinstance(item, h5py.Dataset):
                self._read_dataset(item, where)
            else:
                raise RefusedError(where, "neither a group nor an array")

    def _read_dataset(self, dataset: Any, where: list[str]) -> None:
        created = dataset.id.get_create_plist()
        if dataset.is_virtual or created.get_external_count():
            raise RefusedError(where, "stored in another file, which is not read")
        filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
        if unknown := filters - _FILTERS:
            raise RefusedError(where, f"compressed by filter {min(unknown)}, a plug-in")
        if dataset.shape is None:
            raise RefusedError(where, "an array without values")
        if h5py.check_string_dtype(dataset.dtype) is not None:
            self._read_texts(dataset, where)
        elif dataset.dtype.kind in "biuf" and dataset.dtype.itemsize <= 8:
            self._read_numbers(dataset, where)
        else:
            raise RefusedError(where, f"of type {str(dataset.dtype)[:60]}, not numbers or texts")

    def _read_numbers(self, dataset: Any, where: list[str]) -> None:
        self._num_bytes += dataset.size * BYTES_PER_NUMBER
        if self._num_bytes > self.max_bytes:
            raise RefusedError(
                where, f"takes all arrays above the limit of {self.max_bytes:,} bytes of memory"
            )
        array = np.asarray(dataset[()], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        self.entries.append(
            {"path": where, "kind": "array", "dtype": array.dtype.str, "shape": array.shape}
        )
        self.arrays.append(array)

    def _read_texts(self, dataset: Any, where: list[str]) -> None:
        if dataset.size > self.max_texts:
            raise RefusedError(where, f"holds {dataset.size:,} texts")
        values = [dataset[()]] if dataset.shape == () else list(dataset[()].reshape(-1))
        texts = [value if isinstance(value, str) else bytes(value).decode() for value in values]
        self._num_texts += sum(map(len, texts))
        if self._num_texts > self.max_texts:
            raise RefusedError(where, f"takes all texts above {self.max_texts:,} characters")
        self.entries.append(
            {"path": where, "kind": "texts", "texts": texts, "shape": dataset.shape}
        )


def answer_for(path: str, limits: dict[str, int]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and the arrays of a file; a header with ``refused`` if it is not read."""
    content = Content(**limits)
    try:
        with h5py.File(path, "r") as file:
            content.read_group(file, [])
    except RefusedError as refused:
        where, reason = refused.args
        return {"refused": reason, "path": where}, []
    except Exception as error:  # h5py raises many types on damaged files
        place = content.entries[-1]["path"] if content.entries else []
        reason = str(error).strip() or type(error).__name__
        return {"refused": f"damaged ({reason[:200]})", "after": place}, []
    return {"entries": content.entries}, content.arrays


if __name__ == "__main__":
    header, arrays = answer_for(sys.argv[1], LIMITS)
    encoded = json.dumps(header).encode()
    sys.stdout.buffer.write(len(encoded).to_bytes(8, "little") + encoded)
    for values in arrays:
        sys.stdout.buffer.write(np.ascontiguousarray(values).data)
    sys.stdout.buffer.flush()
