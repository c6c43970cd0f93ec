"""Files that are written whole or not at all, whenever a run is interrupted."""

from __future__ import annotations

import shutil

import pytest

from toolchain.files.whole_files import ANY_FILE, whole_file


def test_an_interrupt_while_the_staging_folder_is_removed_leaves_none_behind(tmp_path, monkeypatch):
    remove = shutil.rmtree

    def interrupted(folder, **options):
        (folder / "lock").unlink()
        monkeypatch.setattr(shutil, "rmtree", remove)
        raise KeyboardInterrupt

    def write():
        with whole_file(tmp_path / "table.csv", ANY_FILE) as part:
            part.write_text("whole")
            monkeypatch.setattr(shutil, "rmtree", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
