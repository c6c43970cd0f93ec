"""The cases of a reader: a reader and a number give the same bytes on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz.mutations.damage import damage
from fuzz.seeds import Files
from fuzz.table import Reader

_DAMAGED = 0.35  # share of cases that are damaged without regard to their format


@dataclass(frozen=True)
class Case:
    """One changed file.

    Attributes:
        seed: index of the sound files that it was made of.
        is_damage: whether bytes were changed without regard to the format, so that checksums must tell.
    """

    seed: int
    file: str
    content: bytes
    is_damage: bool


def case_of(reader: Reader, sound: list[Files], number: int) -> Case:
    """Make a case that differs from its sound file."""
    chance = Random(f"{reader.name}:{number}")
    while True:
        seed = chance.randrange(len(sound))
        name = chance.choice([name for name in reader.files if name in sound[seed]])
        is_damage = chance.random() < _DAMAGED
        change = damage if is_damage else reader.change
        content = change(sound[seed][name], chance)
        if content != sound[seed][name]:
            return Case(seed, name, content, is_damage)


class Stage:
    """Folders with the sound files of a reader, in which one file at a time is replaced."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.sound = reader, list(reader.seeds())
        self._folders = [folder / reader.name / str(n) / "case" for n in range(len(self.sound))]
        for seed, files in enumerate(self.sound):
            for name, content in files.items():
                path = self._folders[seed] / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def contents(self) -> list[Any]:
        """What the reader makes of the sound files, None where it refuses all files."""
        from toolchain.errors import QacDeployError

        found = []
        for folder in self._folders:
            try:
                found.append(self.reader.read(folder))
            except QacDeployError:
                found.append(None)
        return found

    def placed(self, case: Case) -> Path:
        """The folder of a case, in which all other files are sound."""
        folder = self._folders[case.seed]
        (folder / case.file).write_bytes(case.content)
        return folder

    def cleared(self, case: Case) -> None:
        """Put the sound file back."""
        (self._folders[case.seed] / case.file).write_bytes(self.sound[case.seed][case.file])
