"""Which of a scan's per-frame values is the rotation, the translation, the height and the monitor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import DataError
from friedel.workflows.axes import LAYER_NAMES, MONITOR_NAMES, ROTATION_NAMES, TRANSLATION_NAMES, AxisLike

DEGREE_NAMES = ("", "deg", "degree", "degrees", "°")
RADIAN_NAMES = ("rad", "radian", "radians")

BEAM_LOST = 0.01
"""A frame counts as lost if the monitor is below this part of its median."""


@dataclass(frozen=True)
class ScanMotors:
    """The per-frame values of a translation-rotation scan.

    Attributes
    ----------
    rotation : ndarray of float64, shape (frames,)
        Degrees.
    translation : ndarray of float64, shape (frames,)
        In `translation_unit`.
    layer : ndarray of float64, shape (frames,), or None
        Height, in `translation_unit`; None when it does not move.
    monitor : ndarray of float64, shape (frames,), or None
        Counts that are proportional to the intensity of the beam; NaN where the beam was lost.
    translation_unit : str
    names : dict
        Role to the name of the axis that was taken for it.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    layer: NDArray[np.float64] | None
    monitor: NDArray[np.float64] | None
    translation_unit: str
    names: dict[str, str]

    @classmethod
    def identify(
        cls,
        axes: Mapping[str, AxisLike],
        rotation: str | None = None,
        translation: str | None = None,
        layer: str | None = None,
        monitor: str | None = None,
        mismatched: Mapping[str, int] | None = None,
    ) -> ScanMotors:
        """Find the motors among the axes of a scan; a name that is given is taken.

        Parameters
        ----------
        axes : mapping
            Name to values, unit and path.
        rotation, translation, layer, monitor : str, optional
            Names of axes. "none" leaves out the layer or the monitor.
        mismatched : mapping, optional
            Motors with another number of values than there are frames, and how many they have; named in messages.

        Raises
        ------
        DataError
            If a name is not there, or the rotation or the translation cannot be told.
        """
        found: dict[str, str] = {}
        listing = _listing(axes, mismatched or {})
        found["rotation"] = _choose(axes, "rotation", rotation, ROTATION_NAMES, found, listing)
        found["translation"] = _choose(axes, "translation", translation, TRANSLATION_NAMES, found, listing)
        optional = {"layer": (layer, LAYER_NAMES), "monitor": (monitor, MONITOR_NAMES)}
        for role, (wanted, names) in optional.items():
            name = None if wanted == "none" else _find(axes, role, wanted, names, found, listing)
            if name is not None:
                found[role] = name
        moving = axes[found["translation"]]
        return cls(
            rotation=_degrees(axes[found["rotation"]]),
            translation=np.asarray(moving.values, float),
            layer=_values(axes, found.get("layer")),
            monitor=_monitor(axes, found.get("monitor")),
            translation_unit=moving.units or "mm",
            names=found,
        )


def _values(axes: Mapping[str, AxisLike], name: str | None) -> NDArray[np.float64] | None:
    return None if name is None else np.asarray(axes[name].values, float)


def _degrees(axis: AxisLike) -> NDArray[np.float64]:
    values, units = np.asarray(axis.values, float), axis.units.strip().lower()
    if units not in (*DEGREE_NAMES, *RADIAN_NAMES):
        raise DataError(
            f"The rotation {axis.path} is in {axis.units!r}, which is not known.", "Give it in degrees or radians."
        )
    return np.degrees(values) if units in RADIAN_NAMES else values


def _monitor(axes: Mapping[str, AxisLike], name: str | None) -> NDArray[np.float64] | None:
    values = _values(axes, name)
    if values is None:
        return None
    usable = values[np.isfinite(values) & (values > 0)]
    if usable.size < values.size / 2:
        raise DataError(
            f"The monitor {name} is positive at only {usable.size} of {values.size} frames.",
            "Name another with --monitor, or leave it out with --monitor none.",
        )
    lost = ~(np.isfinite(values) & (values > BEAM_LOST * np.median(usable)))
    return np.where(lost, np.nan, values)


def _moves(axis: AxisLike) -> bool:
    values = np.asarray(axis.values, float)
    return values.size > 1 and bool(np.any(values != values[0]))


def _find(
    axes: Mapping[str, AxisLike],
    role: str,
    wanted: str | None,
    names: Sequence[str],
    taken: Mapping[str, str],
    listing: str,
) -> str | None:
    if wanted is not None:
        for name, axis in axes.items():
            if wanted in (name, axis.path):
                return name
        raise DataError(f"There is no {role} called {wanted!r} with one value per frame.", listing)
    free = {name.lower(): name for name, axis in axes.items() if name not in taken.values() and _moves(axis)}
    for candidate in names:
        for lower, name in free.items():
            parts = axes[name].path.lower().strip("/").split("/")
            # NXmonitor groups are called control and hold `data`: the group's name tells more than the dataset's.
            if candidate == lower or (candidate in parts[-2:] and role == "monitor"):
                return name
    return None


def _choose(
    axes: Mapping[str, AxisLike],
    role: str,
    wanted: str | None,
    names: Sequence[str],
    taken: Mapping[str, str],
    listing: str,
) -> str:
    name = _find(axes, role, wanted, names, taken, listing)
    if name is None:
        raise DataError(f"The {role} of the scan cannot be told from the names.", f"Name it with --{role}. {listing}")
    return name


def _listing(axes: Mapping[str, AxisLike], mismatched: Mapping[str, int]) -> str:
    text = "Values with one entry per frame: " + (", ".join(axes) or "none") + "."
    if not mismatched:
        return text
    frames = len(next(iter(axes.values())).values) if axes else 0
    others = ", ".join(f"{name} ({count} values)" for name, count in mismatched.items())
    count = f", there are {frames} frames" if frames else ""
    return f"{text} Of another length: {others}{count}; the scan may have stopped early."
