"""Finished parts of an unfinished run, kept as lines of a text file so that the run can go on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from toolchain.bounded_readers import parse_json
from toolchain.errors import ModelFileError
from toolchain.files.whole_files import FileKind, require_replaceable_file, whole_file
from toolchain.networks.record_reader import RecordReader

Key = TypeVar("Key")
Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class JournalKind(Generic[Key, Part]):
    """What a journal keeps.

    Attributes:
        file: how such a file is recognised.
        format: the text in its first line.
        as_record: the line of a finished part.
        from_record: the part of a line; it refuses a damaged one.
        another_at_work: end of the message if another run holds the journal.
        remedy: end of the message if it cannot be written.
    """

    file: FileKind
    format: str
    as_record: Callable[[Key, Part], Mapping[str, object]]
    from_record: Callable[[RecordReader], tuple[Key, Part]]
    another_at_work: str
    remedy: str


class LineJournal(Generic[Key, Part]):
    """A text file: its first line describes the run, each further line holds one finished part.

    The file is replaced as a whole when a run writes its first part, and appended to after that. An
    interrupt can cut off only the last line. A run holds a lock next to the file for as long as it lives: two
    runs at once would mix their parts.

    Attributes:
        finished: parts that an earlier run finished.
    """

    def __init__(
        self,
        path: Path,
        run: Mapping[str, object],
        kind: JournalKind[Key, Part],
        *,
        resume: bool,
    ) -> None:
        """Read the parts of an earlier run, if ``resume``.

        Args:
            run: what two runs must have in common to share parts.

        Raises:
            ModelFileError: the path cannot be written, another run is at work on it, or its file is of
                another run or damaged.
        """
        require_replaceable_file(path, kind.file, remedy=kind.remedy)
        self._path, self._run, self._kind = path, run, kind
        self._file: IO[str] | None = None
        self._lock = _Lock(path, kind.another_at_work, kind.remedy)
        try:
            self.finished = _read(path, run, kind) if resume and path.exists() else {}
        except BaseException:
            self._lock.release()
            raise

    def write(self, key: Key, part: Part) -> None:
        """Keep a finished part; the operating system has it on return.

        Raises:
            ModelFileError: the file cannot be written.
        """
        kind = self._kind
        if self._file is None:
            with whole_file(self._path, kind.file, remedy=kind.remedy) as new:
                parts = [_line(kind.as_record(*kept)) for kept in self.finished.items()]
                new.write_text(_line({"format": kind.format, **self._run}) + "".join(parts))
        try:
            self._file = self._file or self._path.open("a")
            self._file.write(_line(kind.as_record(key, part)))
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error, kind.remedy) from None

    def close(self, *, finished: bool) -> None:
        """Close the file, and remove it if the run is finished."""
        if self._file is not None:
            self._file.close()
        if finished:
            self._path.unlink(missing_ok=True)
        self._lock.release()


class _Lock:
    """A lock on a path that ends with its process, however that ends; its file is removed by the last run."""

    def __init__(self, path: Path, another_at_work: str, remedy: str) -> None:
        """Take the lock.

        Raises:
            ModelFileError: another run holds it, or its file cannot be written.
        """
        self._path = path.with_name(f"{path.name}.lock")
        self._another_at_work = another_at_work
        try:
            self._file = self._path.open("w")
            while not self._taken(path):  # a run that ended has removed the file meanwhile
                self._file.close()
                self._file = self._path.open("w")
        except OSError as error:
            raise _unwritable(path, error, remedy) from None

    def _taken(self, path: Path) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ModelFileError(f"{path}: {self._another_at_work}") from None
        except OSError:  # a file system without locks
            return True
        with suppress(FileNotFoundError):
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        return False

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()


def _unwritable(path: Path, error: OSError, remedy: str) -> ModelFileError:
    return ModelFileError(f"{path}: cannot be written ({error}); {remedy}")


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record) + "\n"


def _read(path: Path, run: Mapping[str, object], kind: JournalKind[Key, Part]) -> dict[Key, Part]:
    try:
        # an interrupt may have cut off the line after the last line end
        lines = path.read_bytes().split(b"\n")[:-1]
        found, *parts = (
            RecordReader(path, f"line {number}", parse_json(line))
            for number, line in enumerate(lines, start=1)
        )
        wanted: dict[str, Any] = {"format": kind.format, **run}
        for field, value in wanted.items():
            if found.value(field) != value:
                raise ModelFileError(
                    f"{path}: is of another run: its {field.replace('_', ' ')} differs; run without "
                    f"--resume to start over"
                )
        return dict(kind.from_record(reader) for reader in parts)
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not {kind.file.name} ({error}); run without --resume to start over"
        ) from None
