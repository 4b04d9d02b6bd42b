"""The fingerprint names the work, so that an interrupted run is recognised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from friedel.core.provenance import Provenance


def record(**parameters: object) -> Provenance:
    return Provenance.begin("integrate1d", 1, dict(parameters), "cpu")


def test_where_the_result_goes_when_and_in_what_portions_does_not_matter() -> None:
    first = record(npt=1000, output="a.h5", overwrite=False)
    second = replace(
        record(npt=1000, output="b.h5", overwrite=True, report="r.html", block_frames=7),
        started="later",
        device="cuda:0",
    )
    assert first.fingerprint() == second.fingerprint()


def test_parameters_versions_and_inputs_matter(tmp_path: Path) -> None:
    data = tmp_path / "scan.h5"
    data.write_bytes(b"frames")
    base = record(npt=1000).with_inputs([data])
    other_parameter = record(npt=1001).with_inputs([data])
    data.write_bytes(b"FRAMES")
    other_input = record(npt=1000).with_inputs([data])
    others = [
        other_parameter,
        other_input,
        replace(base, version=2),
        replace(base, friedel="0.0.0"),
        replace(base, task="integrate2d"),
    ]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 6
