"""Folders that are written whole or not at all, each with a manifest of its files.

By the manifest a command recognises a folder and the files that it may replace. Files that were changed or
added since belong to the user, and no command deletes them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import msgspec
import numpy as np
from msgspec import Struct

from deploy.build.one_folder import of_one_folder
from toolchain.bounded_readers import MAX_JSON_BYTES, parse_json, read_bytes
from toolchain.errors import ModelFileError
from toolchain.field_types import Count, Text
from toolchain.files.digest import file_sha256
from toolchain.files.exchange import put_in_place
from toolchain.files.whole_files import (
    MANIFEST,
    clear_abandoned,
    require_outside_ours,
    require_writable,
    staging,
)
from toolchain.interrupts import uninterrupted
from toolchain.schema import typed
from toolchain.shown_values import shown

VERSION = 1
_NAMED = 3  # differences that a message names; it counts the others


class _Manifest(Struct, kw_only=True):
    """``manifest.json``; what else is in it, the comparison with its digest finds."""

    format: Text
    version: Count
    files: dict[str, Text]


@dataclass(frozen=True)
class FolderKind:
    """Folders of one kind.

    Attributes:
        name: with its article, for messages.
        format: the format in its manifest.
        made_by: the command that makes such a folder.
    """

    name: str
    format: str
    made_by: str


BUILD = FolderKind("a build folder", "qac-deploy build", "qac-deploy compile model.pt")
EXPLORATION = FolderKind("an exploration", "qac-deploy exploration", "qac-deploy explore model.pt")
SANAFE_EXPORT = FolderKind(
    "an export to SANA-FE",
    "qac-deploy export to SANA-FE",
    "qac-deploy export build/ --format sanafe",
)

C_EXPORT = FolderKind(
    "an export to C", "qac-deploy export to C", "qac-deploy export build/ --format c"
)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Differences of a folder from its manifest.

    Attributes:
        changed, missing, added: paths in the folder, in order.
        num_files: number of files in the manifest.
    """

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    num_files: int

    def __str__(self) -> str:
        """The first few differences; added files come last."""
        found = [f"{path} was changed" for path in self.changed]
        found += [f"{path} is missing" for path in self.missing]
        found += [f"{path} was not written by qac-deploy" for path in self.added]
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return "; ".join(found[:_NAMED]) + more


@contextmanager
def whole_folder(destination: Path, kind: FolderKind) -> Iterator[Path]:
    """A folder to write into, which replaces ``destination`` when the block ends without an error.

    On an error or interrupt it is removed, and the destination stays as it was. If the destination is a
    symbolic link, the folder that it names is replaced.

    Raises:
        ModelFileError: the destination may not be replaced, or cannot be written.
    """
    require_replaceable_folder(destination, kind)
    try:
        real = destination.resolve()
        real.parent.mkdir(parents=True, exist_ok=True)
        with staging(real) as prepared:
            prepared.new.mkdir()
            yield prepared.new
            _write_manifest(prepared.new, kind)
            require_replaceable_folder(destination, kind)  # it may have changed meanwhile
            with uninterrupted():
                put_in_place(prepared.new, real, prepared.old)
    except OSError as error:
        raise ModelFileError(
            f"{destination}: cannot be written ({error}); nothing was changed; choose another with --out"
        ) from error


def require_replaceable_folder(destination: Path, kind: FolderKind) -> None:
    """Check that a path is free, an empty folder, or a folder of the kind with no file changed or added.

    Raises:
        ModelFileError: anything else is there; the message names the first such files.
    """
    try:
        clear_abandoned(destination.resolve().parent)  # may put back an earlier folder
        require_outside_ours(destination)
        require_writable(destination.resolve().parent)
        _require_elsewhere(destination)
        is_new = not destination.exists() or (
            destination.is_dir() and not any(destination.iterdir())
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"{destination}: cannot be written ({error}); choose another with --out"
        ) from error
    if is_new:
        return
    refusal = f"{destination}: exists and is not {kind.name}, so it is not replaced"
    if not destination.is_dir():
        raise ModelFileError(f"{refusal}; choose another with --out")
    if not os.path.lexists(destination / MANIFEST):
        raise ModelFileError(
            f"{refusal}: it has no {MANIFEST} (nor has one of an earlier version); remove it yourself, or "
            f"choose another with --out"
        )
    try:
        changes = of_one_folder(destination, lambda: changes_of(destination, kind))
    except ModelFileError as error:
        raise ModelFileError(f"{refusal} ({error}); choose another with --out") from error
    if changes.changed or changes.added:
        raise ModelFileError(
            f"{destination}: is not replaced, since your changes in it would be lost: {changes}; move it "
            f"away, or choose another with --out"
        )


def _require_elsewhere(destination: Path) -> None:
    """The current folder is not replaced: whoever works in it would go on in one that was deleted.

    Raises:
        ModelFileError: the destination is the current folder, or has it in it.
    """
    here, real = Path.cwd(), destination.resolve()
    if real == here or real in here.parents:
        raise ModelFileError(
            f"{destination}: is the current folder, or one above it, and would be replaced under you; run "
            f"the command from another folder, or choose another with --out"
        )


def require_unchanged(folder: Path, kind: FolderKind) -> None:
    """Check that all files of a folder are there and unchanged; others may have been added.

    Raises:
        ModelFileError: the folder is not of the kind, or files differ; the message names the first ones.
    """
    changes = changes_of(folder, kind)
    if changes.changed or changes.missing:
        raise ModelFileError(
            f"{folder}: is not as it was written: {changes}; `{kind.made_by}` makes another; if the changes "
            f"are yours, choose another folder with --out"
        )


def require_regular_files(folder: Path, kind: FolderKind) -> None:
    """Check that reading the files of a folder waits for nothing, whatever was put in their places.

    Raises:
        ModelFileError: the folder is not of the kind, or a FIFO, socket or device is in it.
    """
    for name in recorded_digests(folder, kind):
        path = folder / name
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ModelFileError(
                f"{path}: is no regular file (a FIFO, a socket or a device); {_remedy(kind)}"
            )


def recorded_digests(folder: Path, kind: FolderKind) -> Mapping[str, str]:
    """SHA-256 of every file of a folder by its path, as its manifest records them.

    Raises:
        ModelFileError: the folder is not of the kind, or its manifest was changed.
    """
    path = folder / MANIFEST
    try:
        if folder.is_file():
            raise ModelFileError(
                f"{folder}: is a file, and {kind.name} is a folder, which `{kind.made_by}` makes"
            )
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ModelFileError(
                f"{path}: is not a regular file; `{kind.made_by}` makes {kind.name}"
            )
        text = read_bytes(path, MAX_JSON_BYTES)
        document = parse_json(text)
    except OSError as error:
        raise ModelFileError(
            f"{path}: cannot be read, so {folder} is not {kind.name} of this version; `{kind.made_by}` "
            f"makes one"
        ) from error
    except ValueError as error:
        raise ModelFileError(f"{path}: was changed ({error}); {_remedy(kind)}") from error
    manifest = typed(document, _Manifest, path, remedy=_remedy(kind))
    if manifest.format != kind.format:
        raise ModelFileError(
            f"{path}: has format {shown(manifest.format)}, so {folder} is not {kind.name}; "
            f"`{kind.made_by}` makes one"
        )
    if manifest.version != VERSION:
        raise ModelFileError(
            f"{path}: has version {manifest.version}, this qac-deploy reads version {VERSION}; "
            f"{_remedy(kind)}"
        )
    if text != _manifest_text(kind, manifest.files).encode():
        raise ModelFileError(f"{path}: was changed; {_remedy(kind)}")
    return manifest.files


def changes_of(folder: Path, kind: FolderKind) -> Changes:
    """Compare every file of a folder with its manifest.

    Raises:
        ModelFileError: the folder is not of the kind, or its manifest was changed.
    """
    files = recorded_digests(folder, kind)
    found = _digests(folder)
    return Changes(
        changed=tuple(name for name in files if name in found and found[name] != files[name]),
        missing=tuple(name for name in files if name not in found),
        added=tuple(name for name in found if name not in files and name != MANIFEST),
        num_files=len(files),
    )


def _remedy(kind: FolderKind) -> str:
    return f"`{kind.made_by}` makes another"


def _write_manifest(folder: Path, kind: FolderKind) -> None:
    (folder / MANIFEST).write_text(_manifest_text(kind, _digests(folder)))


def _manifest_text(kind: FolderKind, files: Any) -> str:
    """The text of a manifest; its last field is the digest of the other fields."""
    document = {"format": kind.format, "version": VERSION, "files": files}
    digest = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return json.dumps({**document, "sha256": digest}, indent=1) + "\n"


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path in a folder; for empty folders, links and so on, a description.

    No symbolic link is followed.
    """
    found = {}
    for parent, folders, files in os.walk(folder, onerror=_fail):
        here = Path(parent)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *links):
            path = here / name
            found[path.relative_to(folder).as_posix()] = _digest(path)
        if not files and not folders and here != folder:
            found[here.relative_to(folder).as_posix()] = "an empty folder"
    return dict(sorted(found.items()))


def _digest(path: Path) -> str:
    if not stat.S_ISREG(path.lstat().st_mode):
        return "not a regular file"
    return file_sha256(path)


def _fail(error: OSError) -> None:
    raise error


def write_json(path: Path, document: Any) -> None:
    """Readable JSON with a final newline; the same document gives the same bytes."""
    try:  # Python indents without its encoder in C, in ten times the time
        text = msgspec.json.format(json.dumps(document, allow_nan=False), indent=1)
    except msgspec.DecodeError:  # a byte of a file name that is no UTF-8
        text = json.dumps(document, indent=1)
    path.write_text(text + "\n")


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Like ``numpy.savez``, but with no time stamps, so that the same arrays give the same bytes."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(
                    file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False
                )
