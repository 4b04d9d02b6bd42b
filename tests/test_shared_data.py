from pathlib import Path

import pytest

import shared_data


def test_variable_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shared_data.VARIABLE, str(tmp_path))
    (tmp_path / "data").mkdir()
    assert shared_data.shared() == tmp_path / "data"


def test_absent_data_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shared_data.VARIABLE, str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="absent"):
        shared_data.shared("nothing.h5")
