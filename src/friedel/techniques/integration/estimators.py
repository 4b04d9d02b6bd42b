"""How the intensity of a bin is estimated from its pixels: by their mean, or robustly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, get_args

from friedel.core.errors import ParameterError
from friedel.kernels.cuda_robust import CudaRobustScatter
from friedel.kernels.cuda_scatter import CudaScatter
from friedel.kernels.robust import RobustScatter
from friedel.kernels.scatter import BinSums, Scatter

Plan = Scatter | RobustScatter | CudaScatter | CudaRobustScatter
"""What sums frames: of the CPU, for frames in memory; of a GPU, for frames in its memory."""

HYBRID = "hybrid"
"""Error model: the spread on the ring while outliers are clipped, the counts for the errors of what is left."""


@dataclass(frozen=True)
class Mean:
    """The mean of all valid pixels."""

    name: ClassVar[str] = "mean"
    robust: ClassVar[bool] = False

    def sum(self, plan: Plan, frames: Any, error_model: str, **arguments: Any) -> BinSums:
        """Return the sums over all valid pixels; `arguments` as for `Scatter`."""
        assert isinstance(plan, Scatter | CudaScatter)
        return plan(frames, error_model=summed_model(error_model), **arguments)


@dataclass(frozen=True)
class SigmaClip:
    """The mean of what sigma clipping leaves; see `friedel.kernels.clip`.

    Attributes
    ----------
    threshold : float
        Pixels farther from the mean of their bin than this many standard deviations are dropped; in large bins
        Chauvenet's criterion raises it.
    iterations : int
        Most rounds of dropping.
    """

    threshold: float = 5.0
    iterations: int = 5
    name: ClassVar[str] = "sigma-clip"
    robust: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.threshold >= 1:
            raise ParameterError(f"threshold is {self.threshold}.", "Give 1 or more standard deviations.")
        if self.iterations < 0:
            raise ParameterError(f"iterations is {self.iterations}.", "Give 0 or more rounds of clipping.")

    def sum(self, plan: Plan, frames: Any, error_model: str, **arguments: Any) -> BinSums:
        """Return the sums over the pixels that are left; without an error model the spread on the ring decides."""
        assert isinstance(plan, RobustScatter | CudaRobustScatter)
        model: Any = "azimuthal" if error_model == "none" else error_model
        sums = plan.clip(frames, error_model=model, threshold=self.threshold, iterations=self.iterations, **arguments)
        return replace(sums, variance=None) if error_model == "none" else sums


@dataclass(frozen=True)
class Percentile:
    """The mean of the pixels between two percentiles of their bin, the median by default; see
    `friedel.kernels.percentile`.

    Attributes
    ----------
    low, high : float
        Percentiles, 0 to 100.
    """

    low: float = 50.0
    high: float = 50.0
    name: ClassVar[str] = "percentile"
    robust: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 100:
            raise ParameterError(
                f"percentile is {self.low} to {self.high}.", "Give two numbers from 0 to 100, the lower one first."
            )

    def sum(self, plan: Plan, frames: Any, error_model: str, **arguments: Any) -> BinSums:
        """Return the sums over the pixels between the percentiles."""
        assert isinstance(plan, RobustScatter)
        return plan.percentile(frames, low=self.low, high=self.high, error_model=summed_model(error_model), **arguments)


Estimator = Mean | SigmaClip | Percentile
_BY_NAME: dict[str, type[Estimator]] = {kind.name: kind for kind in get_args(Estimator)}


def estimator_of(value: Estimator | str | Mapping[str, Any]) -> Estimator:
    """Return an estimator that is given as such, by its name, or as `describe` gives it.

    Raises
    ------
    ParameterError
        If there is none of that name.
    """
    if isinstance(value, Mean | SigmaClip | Percentile):
        return value
    values = dict(value) if isinstance(value, Mapping) else {"name": value}
    name = str(values.pop("name")).replace("_", "-")
    if name not in _BY_NAME:
        raise ParameterError(f"estimator is {value!r}.", f"Choose one of {', '.join(_BY_NAME)}.")
    return _BY_NAME[name](**values)


def describe(estimator: Estimator) -> dict[str, Any]:
    """Return an estimator as plain values, from which `estimator_of` makes it again."""
    return {"name": estimator.name, **asdict(estimator)}


def summed_model(error_model: str) -> Any:
    """Return the error model of the final sums, which `Scatter` knows."""
    return "poisson" if error_model == HYBRID else error_model
