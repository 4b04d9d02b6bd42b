"""From cleaned sinograms to slices and, where there is a rule for them, their standard deviations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from friedel.core.errors import ParameterError

from .cleanup import Cleaning
from .reconstruction import ReconstructionPlan

Singles = NDArray[np.float32]

LINEAR_METHODS = ("gridding", "fbp")
"""Methods through which a variance can be carried."""


@dataclass(frozen=True, eq=False)
class SlicePlan:
    """A plan: sinograms of some channels to their slices.

    Attributes
    ----------
    plan : ReconstructionPlan
    variance_plan : BackprojectionVariance, GriddingVariance or None
        For the standard deviations of the slices.
    """

    plan: ReconstructionPlan
    variance_plan: Any = None

    def __call__(self, sinograms: Mapping[str, Singles]) -> dict[str, Singles]:
        """Reconstruct.

        Parameters
        ----------
        sinograms : mapping
            "sinogram" and, with a plan for it, "variance", each (angle, translation, channel).

        Returns
        -------
        dict
            "volume" and, with a plan for it, "volume_errors", each (y, x, channel).
        """
        result = {"volume": self.plan(sinograms["sinogram"])}
        if self.variance_plan is not None:
            result["volume_errors"] = np.sqrt(np.maximum(self.variance_plan(sinograms["variance"]), 0))
        return result


@dataclass(frozen=True)
class NoErrors:
    """Why slices have no standard deviations.

    Attributes
    ----------
    reason, remedy : str
    """

    reason: str
    remedy: str

    @property
    def message(self) -> str:
        """What is said when they were not asked for."""
        return f"No standard deviations are written: {self.reason}."

    def refusal(self) -> ParameterError:
        """Return what is raised when they were."""
        return ParameterError(f"errors: {self.reason}.", self.remedy)


def missing_rule(method: str, cleaning: Cleaning, transmission: bool = False) -> NoErrors | None:
    """Return why the variance of the samples cannot be carried to the slices; None where it can.

    Variances are carried through what is linear in the data; a median or a logarithm is not.
    """
    if method not in LINEAR_METHODS:
        return NoErrors(
            f"the uncertainty of {method} is not known, it is not linear in the data",
            "Use --method gridding or fbp, or leave out --errors.",
        )
    if cleaning.outliers is not None:
        return NoErrors(
            "the uncertainty after replacing outliers is not known", "Leave out --outliers or leave out --errors."
        )
    if cleaning.rings != "none":
        return NoErrors(
            f"the uncertainty after removing rings ({cleaning.rings}) is not known",
            "Use --rings none, or leave out --errors.",
        )
    if transmission:
        return NoErrors(
            "the uncertainty of the logarithm of a transmission is not known",
            "Use --transmission off, or leave out --errors.",
        )
    return None
