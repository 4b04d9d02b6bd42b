"""Files are written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from friedel.core.errors import OutputError
from friedel.core.files import output_error, refuse_existing, replacing, write_whole


def test_text_is_written_as_utf8_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    write_whole(path, "5 µm\n")
    assert path.read_bytes() == b"5 \xc2\xb5m\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("old")

    def half() -> None:
        with replacing(path) as temporary:
            Path(temporary).write_text("ne")
            raise RuntimeError("the power went off")

    with pytest.raises(RuntimeError):
        half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_open_files_are_let_go_before_they_are_replaced(tmp_path: Path) -> None:
    path, seen = tmp_path / "mine.txt", []
    path.write_text("old")
    with replacing(path, release=lambda final: seen.append(final.read_text())) as temporary:
        Path(temporary).write_text("new")
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        write_whole(tmp_path / "none" / "mine.txt", b"")


def test_a_file_that_exists_is_replaced_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    refuse_existing([path, None])
    path.write_text("old")
    refuse_existing([path], overwrite=True)
    with pytest.raises(OutputError, match="exists already"):
        refuse_existing([None, path])


def test_the_file_is_named_not_the_one_that_is_written_for_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    with pytest.raises(OutputError, match=r"^\S*/mine.txt: there is no space"), replacing(path) as outer:
        raise output_error(outer, OSError(errno.ENOSPC, "No space left on device"))
