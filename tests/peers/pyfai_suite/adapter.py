"""pyFAI's integrator with friedel inside: what computes is replaced, what only holds parameters stays pyFAI's.

Runs in the peers' interpreter. Every method of `FriedelGeometry` and `FriedelIntegrator` is one that pyFAI computes
itself with; here it asks friedel and counts the call, so that a test that never came here is not taken for one passed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyFAI.geometry
import pyFAI.geometry.core
import pyFAI.integrator.azimuthal
from pyFAI import units
from pyFAI.containers import ErrorModel, Integrate1dResult, Integrate2dResult
from pyFAI.io.ponifile import PoniFile

from friedel.instrument import Detector, Geometry
from friedel.instrument.pixel_shapes import PixelTable
from friedel.techniques.integration.estimators import Percentile, SigmaClip
from friedel.techniques.integration.radial_map import FrameBlock, RadialMap

SPLITTINGS = {"no": "none", "bbox": "bbox", "pseudo": "pseudo", "full": "full"}
ERRORS = {0: "none", 1: "variance", 2: "poisson", 3: "azimuthal", 4: "poisson"}


class Calls:
    """How often friedel was asked since the count was last set to zero."""

    count: ClassVar[int] = 0


def asked() -> None:
    """Count a call."""
    Calls.count += 1


class FriedelGeometry:
    """Positions, angles and corrections of pixels by friedel; mixed into pyFAI's geometry."""

    def friedel_geometry(self, shape: Any = None) -> Geometry:
        """Return this geometry as friedel's."""
        asked()
        detector = self.detector
        shape = tuple(int(size) for size in (self.get_shape(shape) or ()))
        orientation = int(detector.orientation) or 3
        pixels = Detector.from_shape(shape, float(detector.pixel1), float(detector.pixel2), orientation=orientation)
        if not (detector.IS_FLAT and detector.uniform_pixel):
            pixels = replace(pixels, pixels=PixelTable(detector.get_pixel_corners(), orientation=orientation))
        return Geometry(
            pixels, self.dist, self.poni1, self.poni2, self.rot1, self.rot2, self.rot3, wavelength=self.wavelength
        )

    @property
    def cut(self) -> str:
        """Return where the azimuth jumps."""
        return "pi" if self.chiDiscAtPi else "0"

    def center_array(self, shape: Any = None, unit: Any = units.TTH_DEG, scale: bool = True, **_: Any) -> Any:
        """Return the coordinate of the centres."""
        unit = units.to_unit(unit)
        geometry = self.friedel_geometry(shape)
        if unit.name.startswith("chi_"):
            return geometry.azimuth_center(discontinuity=self.cut) * (unit.scale if scale else 1.0)
        found = geometry.center_array(unit.name)
        return found if scale else found / unit.scale

    def corner_array(self, shape: Any = None, unit: Any = None, scale: bool = True, **_: Any) -> Any:
        """Return the coordinate and the azimuth of the corners, (rows, columns, 4, 2)."""
        unit = units.to_unit(units.TTH_RAD if unit is None else unit[0] if isinstance(unit, (tuple, list)) else unit)
        geometry = self.friedel_geometry(shape)
        found = geometry.corner_array(unit.name)
        found = found if scale else found / unit.scale
        corners = np.stack([found, geometry.azimuth_corners(discontinuity=self.cut)], axis=-1)
        # friedel goes round every pixel in the same sense, pyFAI the other way round where one axis is mirrored.
        mirrored = int(self.detector.orientation) in (2, 4)
        return np.ascontiguousarray(corners[:, :, [0, 3, 2, 1]]) if mirrored else corners

    def chiArray(self, shape: Any = None) -> Any:  # noqa: N802
        """Return the azimuth of the centres in rad."""
        return self.friedel_geometry(shape).azimuth_center(discontinuity=self.cut)

    def solidAngleArray(self, shape: Any = None, order: Any = 3, absolute: bool = False, **keywords: Any) -> Any:  # noqa: N802
        """Return the solid angle relative to a pixel at the point of normal incidence."""
        if order not in (3, True) or absolute:
            return super().solidAngleArray(shape, order=order, absolute=absolute, **keywords)
        found = self.friedel_geometry(shape).solid_angle()
        return (found, None) if keywords.get("with_checksum") else found


class FriedelBareGeometry(FriedelGeometry, pyFAI.geometry.Geometry):
    """pyFAI's geometry without an integrator."""


class FriedelIntegrator(FriedelGeometry, pyFAI.integrator.azimuthal.AzimuthalIntegrator):
    """Patterns and cakes by friedel, in pyFAI's containers."""

    def friedel_map(self, data: Any, method: Any, unit: Any, given: dict[str, Any], **binning: Any) -> Any:
        """Return friedel's patterns of one frame, with the map that made them."""
        dummy, delta_dummy = self._normalize_dummies(given.get("dummy"), given.get("delta_dummy"), data)
        mask = self._normalize_mask(given.get("mask"))[0]
        dark = self._normalize_dark(given.get("dark"))[0]
        flat = self._normalize_flat(given.get("flat"))[0]
        variance = given.get("variance")
        model = ErrorModel.VARIANCE if variance is not None else ErrorModel.parse(given.get("error_model"))
        factor = given.get("polarization_factor")
        factor, offset = factor if isinstance(factor, tuple) else (factor, 0.0)
        azimuth = given.get("azimuth_range")
        radial = given.get("radial_range")
        options: dict[str, Any] = {
            "unit": unit.name,
            "splitting": SPLITTINGS[method.split_lower],
            "mask": mask,
            "detector_mask": False,
            "dark": dark,
            "flat": flat,
            "dummy": None if dummy is None else float(dummy),
            "delta_dummy": float(delta_dummy or 0.0),
            "solid_angle": bool(given.get("correctSolidAngle", True)),
            "polarization": None if factor is None else float(factor),
            "polarization_axis": float(np.rad2deg(offset)),
            "radial_range": None if radial is None else (float(min(radial)), float(max(radial))),
            "azimuth_range": None if azimuth is None else tuple(float(angle) for angle in azimuth),
            "discontinuity": self.cut,
            "error_model": ERRORS[int(model)],
            "negative": "keep",
            "empty": float(self._empty),
            "keep_sums": True,
            "weighted": bool(method.weighted_average),
        }
        if "estimator" in given:
            options["estimator"] = given["estimator"]
        plan = RadialMap.build(self.friedel_geometry(data.shape), **options | binning)
        normalization = np.array([float(given.get("normalization_factor", 1.0))])
        frames = np.asarray(data)[None]
        found = plan(FrameBlock(frames, normalization=normalization, variance=variance))
        return plan, found, model, float(normalization[0])

    def integrate1d(self, data: Any, npt: int, *, method: Any = ("bbox", "csr", "cython"), unit: Any = units.Q,
                    filename: Any = None, **given: Any) -> Any:  # fmt: skip
        """Return the pattern of a frame."""
        method = self._normalize_method(method, dim=1, default=self.DEFAULT_METHOD_1D)
        unit = units.to_unit(unit)
        plan, found, model, factor = self.friedel_map(data, method, unit, given, npt=int(npt))
        errors = () if found.intensity_errors is None else (found.intensity_errors[0],)
        result = Integrate1dResult(plan.radial.centers, found.intensity[0], *errors)
        result._set_unit(unit)
        self.describe(result, plan, found, model, factor, method, given)
        result._set_method_called("integrate1d_ng")
        if filename is not None:
            pyFAI.integrator.azimuthal.save_integrate_result(filename, result)
        return result

    integrate1d_ng = integrate1d_legacy = _integrate1d_legacy = integrate1d

    def integrate2d(self, data: Any, npt_rad: int, npt_azim: int = 360, *, method: Any = ("bbox", "csr", "cython"),
                    unit: Any = units.Q, filename: Any = None, **given: Any) -> Any:  # fmt: skip
        """Return the cake of a frame."""
        method = self._normalize_method(method, dim=2, default=self.DEFAULT_METHOD_2D)
        unit, azimuth_unit = unit if isinstance(unit, (tuple, list)) else (unit, units.CHI_DEG)
        unit, azimuth_unit = units.to_unit(unit), units.to_unit(azimuth_unit)
        if unit.name.startswith("chi_"):
            swapped = {
                "radial_range": given.pop("azimuth_range", None),
                "azimuth_range": given.pop("radial_range", None),
            }
            turned = self.integrate2d(
                data, npt_azim, npt_rad, method=method, unit=(azimuth_unit, unit), **swapped, **given
            )
            return Integrate2dResult(turned.intensity.T, turned.azimuthal, turned.radial)
        if given.get("azimuth_range") is not None:
            to_degrees = 180 / np.pi / azimuth_unit.scale
            given["azimuth_range"] = tuple(float(angle) * to_degrees for angle in given["azimuth_range"])
        plan, found, model, factor = self.friedel_map(
            data, method, unit, given, npt=int(npt_rad), npt_azimuth=int(npt_azim)
        )
        errors = () if found.intensity_errors is None else (found.intensity_errors[0],)
        azimuth = plan.azimuth.centers * azimuth_unit.scale
        result = Integrate2dResult(found.intensity[0], plan.radial.centers, azimuth, *errors)
        result._set_radial_unit(unit)
        result._set_azimuthal_unit(azimuth_unit)
        self.describe(result, plan, found, model, factor, method, given)
        result._set_method_called("integrate2d")
        return result

    integrate2d_ng = _integrate2d_ng = integrate2d_legacy = integrate2d

    def sigma_clip(self, data: Any, npt: int = 1024, *, method: Any = ("no", "csr", "cython"), unit: Any = units.Q,
                   thres: float = 5.0, max_iter: int = 5, error_model: Any = None, **given: Any) -> Any:  # fmt: skip
        """Return the pattern without outliers."""
        model = "poisson" if error_model is None and given.get("variance") is None else error_model
        estimator = SigmaClip(max(float(thres), 1.0), int(max_iter))
        return self.integrate1d(data, npt, method=method, unit=unit, error_model=model, estimator=estimator, **given)

    sigma_clip_ng = sigma_clip

    def medfilt1d_ng(self, data: Any, npt: int = 1024, *, method: Any = ("full", "csr", "cython"),
                     unit: Any = units.Q, percentile: Any = 50, **given: Any) -> Any:  # fmt: skip
        """Return the pattern of percentiles."""
        pair = percentile if isinstance(percentile, (tuple, list)) else (percentile, percentile)
        estimator = Percentile(*(float(value) for value in pair))
        return self.integrate1d(data, npt, method=method, unit=unit, estimator=estimator, **given)

    def describe(self, result: Any, plan: Any, found: Any, model: Any, factor: float, method: Any, given: Any) -> None:
        """Set what a result says beside its numbers."""
        sums, shape = found.sums, plan.bins
        result._set_sum_signal(sums.signal[0].reshape(shape))
        result._set_sum_normalization(np.broadcast_to(sums.normalization, sums.signal.shape)[0].reshape(shape) * factor)
        squared = np.broadcast_to(sums.normalization_squared, sums.signal.shape)[0].reshape(shape)
        result._set_sum_normalization2(squared * factor**2)
        result._set_count(np.broadcast_to(sums.count, sums.signal.shape)[0].reshape(shape))
        if sums.variance is not None:
            result._set_sum_variance(sums.variance[0].reshape(shape))
            result._set_sem(found.intensity_errors[0])
            std = np.full(shape, self._empty, np.float64)
            squared = squared * factor**2
            np.divide(sums.variance[0].reshape(shape), squared, out=std, where=squared > 0)
            result._set_std(np.sqrt(std))
        result._set_method(method)
        result._set_compute_engine("friedel")
        result._set_dummy(self.empty)
        result._set_has_dark_correction(given.get("dark") is not None)
        result._set_has_flat_correction(given.get("flat") is not None)
        result._set_has_mask_applied(given.get("mask") is not None)
        result._set_polarization_factor(given.get("polarization_factor"))
        result._set_normalization_factor(factor)
        result._set_metadata(given.get("metadata"))
        result._set_error_model(model)
        result._set_poni(PoniFile(self))
        result._set_has_solidangle_correction(given.get("correctSolidAngle", True))
        result._set_weighted_average(method.weighted_average)


def install() -> None:
    """Put friedel into every place where pyFAI's tests and its worker find the integrator."""
    import pyFAI
    import pyFAI.load_integrators
    import pyFAI.worker

    plain = pyFAI.integrator.azimuthal.AzimuthalIntegrator
    FriedelIntegrator.__name__ = plain.__name__  # which tests of promotion and of PONI files compare
    for module in (pyFAI.integrator.azimuthal, pyFAI.worker, pyFAI.load_integrators, pyFAI):
        for name, value in list(vars(module).items()):
            if value is plain:
                setattr(module, name, FriedelIntegrator)
    pyFAI.geometry.Geometry = FriedelBareGeometry
