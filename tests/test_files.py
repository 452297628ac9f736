"""A file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from unstir.errors import InputError
from unstir.files import whole_file


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "x.txt"
    with whole_file(path) as partial:
        partial.write_text("old")
        assert not path.exists()
    with pytest.raises(KeyError), whole_file(path) as partial:
        partial.write_text("new, but")
        raise KeyError
    with pytest.raises(InputError, match=r"x\.txt could not be written"), whole_file(path) as partial:
        partial.write_text("new, but")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    with whole_file(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"), whole_file(tmp_path / "file" / "x") as partial:
        partial.write_text("")
