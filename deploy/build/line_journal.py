"""Finished parts of an unfinished run, kept as lines of a text file so that the run can go on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

from toolchain.bounded_readers import MAX_JOURNAL_BYTES, parse_json, read_bytes
from toolchain.errors import ModelFileError
from toolchain.files.lock import one_run_at_a_time
from toolchain.files.whole_files import FileKind, require_replaceable_file, whole_file
from toolchain.schema import typed

_SEAL = "sha256"
_SEALED = re.compile(rb'(\{.*), "sha256": "([0-9a-f]{64})"\}')
_RESTART = "run without --resume to start over"

Key = TypeVar("Key")
Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class JournalKind(Generic[Key, Part]):
    """What a journal keeps.

    Attributes:
        file: how such a file is recognised.
        format: the text in its first line.
        as_record: the line of a finished part.
        from_record: the part of a line, which is given with the path of the file, the place of the line in
            it and the remedy; it refuses a wrong one with a ModelFileError.
        another_at_work: end of the message if another run holds the journal.
        remedy: end of the message if it cannot be written.
    """

    file: FileKind
    format: str
    as_record: Callable[[Key, Part], Mapping[str, object]]
    from_record: Callable[[Any, Path, str, str], tuple[Key, Part]]
    another_at_work: str
    remedy: str


class LineJournal(Generic[Key, Part]):
    """A text file: its first line describes the run, each further line holds one finished part.

    Each line ends with the digest of the line and of all lines before it, so that a changed byte, or a line
    that is missing or elsewhere, is found. The file is replaced as a whole when a run writes its first part,
    and appended to after that. An interrupt can cut off only the last line. A run holds a lock next to the
    file for as long as it lives: two runs at once would mix their parts.

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
        self._digest = ""  # of all lines
        with ExitStack() as unless_read:
            lock = path.with_name(f"{path.name}.lock")
            try:
                unless_read.enter_context(one_run_at_a_time(lock, self._refuse_to_wait))
            except OSError as error:
                raise _unwritable(path, error, kind.remedy) from None
            self.finished = _read(path, run, kind) if resume and path.exists() else {}
            self._lock = unless_read.pop_all()

    def write(self, key: Key, part: Part) -> None:
        """Keep a finished part; the operating system has it on return.

        Raises:
            ModelFileError: the file cannot be written.
        """
        kind = self._kind
        if self._file is None:
            with whole_file(self._path, kind.file, remedy=kind.remedy) as new:
                lines = [{"format": kind.format, **self._run}]
                lines += [dict(kind.as_record(*kept)) for kept in self.finished.items()]
                self._digest = ""
                new.write_text("".join(map(self._sealed, lines)))
        try:
            self._file = self._file or self._path.open("a")
            self._file.write(self._sealed(kind.as_record(key, part)))
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error, kind.remedy) from None

    def _sealed(self, record: Mapping[str, object]) -> str:
        text, self._digest = _line(record, self._digest)
        return text

    def close(self, *, finished: bool) -> None:
        """Close the file, and remove it if the run is finished."""
        if self._file is not None:
            self._file.close()
        if finished:
            self._path.unlink(missing_ok=True)
        self._lock.close()

    def _refuse_to_wait(self) -> None:
        raise ModelFileError(f"{self._path}: {self._kind.another_at_work}")


def _unwritable(path: Path, error: OSError, remedy: str) -> ModelFileError:
    return ModelFileError(f"{path}: cannot be written ({error}); {remedy}")


def _line(record: Mapping[str, object], before: str) -> tuple[str, str]:
    """A line that ends with its digest, and the digest.

    Args:
        before: digest of the line before it, or an empty text.
    """
    text = json.dumps(record)
    digest = sha256(f"{before}{text}".encode()).hexdigest()
    return f'{text[:-1]}, "{_SEAL}": "{digest}"}}\n', digest


def _read(path: Path, run: Mapping[str, object], kind: JournalKind[Key, Part]) -> dict[Key, Part]:
    try:
        # an interrupt may have cut off the line after the last line end
        lines = read_bytes(path, MAX_JOURNAL_BYTES).split(b"\n")[:-1]
        found, *parts = map(parse_json, lines)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: not {kind.file.name} ({error}); {_RESTART}") from None
    found = typed(found, dict[str, Any], path, where="line 1", remedy=_RESTART)
    for field, value in {"format": kind.format, **run}.items():
        if found.get(field) != value:
            raise ModelFileError(
                f"{path}: is of another run: its {field.replace('_', ' ')} differs; {_RESTART}"
            )
    _check_digests(path, lines)
    finished = {}
    for number, part in enumerate(parts, start=2):
        content = typed(part, dict[str, Any], path, where=f"line {number}", remedy=_RESTART)
        del content[_SEAL]
        key, value = kind.from_record(content, path, f"line {number}", _RESTART)
        finished[key] = value
    return finished


def _check_digests(path: Path, lines: Iterable[bytes]) -> None:
    before = b""
    for number, line in enumerate(lines, start=1):
        sealed = _SEALED.fullmatch(line)
        if sealed is None or sha256(before + sealed[1] + b"}").hexdigest().encode() != sealed[2]:
            raise ModelFileError(
                f"{path}: line {number} was changed since it was written; {_RESTART}"
            )
        before = sealed[2]
