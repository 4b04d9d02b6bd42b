"""What a result says of itself, as the user reads it."""

from __future__ import annotations

import pytest
import xarray as xr

from friedel.apps.verdict import judgement_of, refuse_failed
from friedel.core.errors import CalibrationError

FINDINGS = [
    ["fit", "good", "All well.", ""],
    ["rings", "doubtful", "Rings are off.", "Check the calibrant."],
    ["peaks", "failed", "Peaks are strangers.", "Check the calibrant."],
    ["energy", "noted", "The energy is not told.", "See more rings."],
    ["azimuth", "doubtful", "A wave.", "Refine rot1."],
    ["precision", "doubtful", "Imprecise.", "Expose longer."],
]


def judged(verdict: str, findings: list[list[str]]) -> xr.Dataset:
    return xr.Dataset(attrs={"verdict": verdict, "findings": findings})


def test_each_complaint_has_its_advice_the_worst_first_and_three_at_most() -> None:
    judgement = judgement_of(judged("failed", FINDINGS))
    assert judgement is not None
    assert judgement.complaints == (
        "Peaks are strangers. Check the calibrant.",
        "Rings are off.",
        "A wave. Refine rot1.",
        "Not said here, but in the report (--report page.html): 1 more.",
    )
    assert judgement.notes == ("The energy is not told. See more rings.",)


def test_a_result_that_failed_is_refused_with_its_worst_finding() -> None:
    with pytest.raises(CalibrationError) as caught:
        refuse_failed(judged("failed", FINDINGS))
    assert caught.value.problem == "Peaks are strangers. Check the calibrant."
