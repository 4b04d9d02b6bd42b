from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core import provenance
from friedel.core.errors import FileError, ParameterError
from friedel.core.provenance import InputFile, Provenance, refuse_to_replace_inputs

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
notes = st.dictionaries(st.text(), plain, max_size=3)
inputs = st.builds(InputFile, st.text(), st.integers(0), st.text(), st.text())
records = st.recursive(
    st.builds(
        Provenance,
        st.text(),
        st.integers(1),
        notes,
        st.text(),
        st.text(),
        st.text(),
        st.tuples(inputs),
        st.just(()),
        notes,
    ),
    lambda earlier: st.builds(
        Provenance, st.text(), st.integers(1), notes, st.text(), st.text(), st.text(), st.just(()), st.tuples(earlier)
    ),
    max_leaves=3,
)


@given(records)
def test_a_record_survives_the_file(record: Provenance) -> None:
    assert Provenance.from_json(record.to_json()) == record


@pytest.mark.parametrize("text", ["{}", "[]", '{"task": 1, "surprise": 2}', "no json"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Provenance.from_json(text)


def test_an_input_is_recorded_once(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"frames")
    record = Provenance.begin("x", 1, {}, "cpu").with_inputs([file]).with_inputs([file])
    assert [item.path for item in record.inputs] == [str(file)]
    assert record.inputs[0].size == 6


def test_the_hash_follows_the_content_not_the_name(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"frames")
    second.write_bytes(b"frames")
    before = InputFile.describe(first).hash
    assert before == InputFile.describe(second).hash
    second.write_bytes(b"framed")
    assert before != InputFile.describe(second).hash


def test_a_large_file_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "WHOLE_HASH_LIMIT", 1000)
    monkeypatch.setattr(provenance, "SAMPLE_SIZE", 10)
    file = tmp_path / "large"
    content = bytearray(os.urandom(5000))
    file.write_bytes(content)
    before = InputFile.describe(file).hash
    assert before.startswith("blake2b-sampled:")
    content[-1] ^= 1  # the last sample ends with the file
    file.write_bytes(content)
    assert InputFile.describe(file).hash != before


def test_the_time_of_a_sampled_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Provenance.begin("xrdct", 1, {}, "cpu")
    file = tmp_path / "frames"
    file.write_bytes(bytes(5000))
    whole = record.with_inputs([file]).fingerprint()
    os.utime(file, (1, 1))
    assert record.with_inputs([file]).fingerprint() == whole
    monkeypatch.setattr(provenance, "WHOLE_HASH_LIMIT", 1000)
    monkeypatch.setattr(provenance, "SAMPLE_SIZE", 10)
    sampled = record.with_inputs([file]).fingerprint()
    content = bytearray(5000)
    content[100] = 1  # between the samples
    file.write_bytes(content)
    assert InputFile.describe(file).is_sampled
    assert record.with_inputs([file]).fingerprint() != sampled


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="gone"):
        InputFile.describe(tmp_path / "gone")


def test_notes_are_added() -> None:
    record = Provenance.begin("x", 1, {}, "cpu").with_notes(center=3.5).with_notes(layout="snake")
    assert record.notes == {"center": 3.5, "layout": "snake"}
    assert record.folder == os.getcwd()  # noqa: PTH109 - the specification, not the implementation


def test_an_input_is_no_output_under_any_name(tmp_path: Path) -> None:
    data = tmp_path / "data.h5"
    data.write_bytes(b"counts")
    (tmp_path / "symbolic.h5").symlink_to(data)
    (tmp_path / "hard.h5").hardlink_to(data)
    for name in ("data.h5", "symbolic.h5", "hard.h5", "./data.h5"):
        with pytest.raises(ParameterError, match="read here"):
            refuse_to_replace_inputs([None, tmp_path / "new.h5", tmp_path / name], ["CeO2", data])
    refuse_to_replace_inputs([None, tmp_path / "new.h5"], [data])
    (tmp_path / "old.h5").write_bytes(b"earlier")
    refuse_to_replace_inputs([tmp_path / "old.h5"], [data, tmp_path / "absent.cbf"])
