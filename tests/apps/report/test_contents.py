"""What is shown of a result."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from friedel.apps.report.contents import sections


def found_peaks() -> xr.Dataset:
    nothing = np.nan
    return xr.Dataset(
        {
            "n_peaks": ("frame", np.array([2, 1, 0], np.int32), {"units": "", "long_name": "Number of peaks"}),
            "peak_x": (("frame", "peak"), [[10.2, 250.0], [11.0, nothing], [nothing, nothing]]),
            "peak_y": (("frame", "peak"), [[20.7, 130.0], [21.0, nothing], [nothing, nothing]]),
        },
        attrs={"default": "n_peaks"},
    )


def test_peaks_are_shown_over_frames_and_over_the_detector() -> None:
    shown = {section.name: section for section in sections(found_peaks(), {})}
    assert list(shown) == ["n_peaks", "peak_positions"]
    (picture,) = shown["peak_positions"].draw.keywords["maps"]  # type: ignore[attr-defined]
    assert picture.step == 3 and picture.color_limits() == (0, 1)
    assert picture.values.shape == (130 // 3 + 1, 250 // 3 + 1)
    assert picture.values.sum() == 3
    assert picture.values[20 // 3, 10 // 3] == 1 and picture.values[43, 83] == 1


@pytest.mark.parametrize("frames", [0, 3])
def test_without_peaks_there_is_no_picture_of_where_they_are(frames) -> None:
    nothing = np.full((3, frames), np.nan)
    peaks = xr.Dataset({"peak_x": (("frame", "peak"), nothing), "peak_y": (("frame", "peak"), nothing)})
    assert list(sections(peaks, {})) == []
