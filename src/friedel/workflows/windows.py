"""Windows of a pattern that are asked for by name: regions and peaks."""

from __future__ import annotations

from friedel.core.errors import ParameterError

LEAST_PEAK_PART = 0.1
"""Part of a peak's largest area in the volume below which a voxel's position and width are left out."""


def parse_window(text: str, kind: str) -> tuple[str, float, float]:
    """Read "name=low:high".

    Raises
    ------
    ParameterError
        Naming the text, if it is not of that form or the limits are out of order.
    """
    name, equals, limits = text.partition("=")
    low, colon, high = limits.partition(":")
    try:
        window = (name.strip(), float(low), float(high))
    except ValueError:
        window = ("", 0.0, 0.0)
    if not (equals and colon and window[0] and window[1] < window[2]):
        raise ParameterError(
            f"{kind}: {text!r} cannot be understood.", "Give NAME=LOW:HIGH with LOW < HIGH, in the radial unit."
        )
    return window
