"""The units that a user may ask for, as data: what each measures, how it is shown, which values it may take.

A unit shows a quantity (`QUANTITIES`) on a scale, some through a transform: ``log_q_nm`` is the natural logarithm of
q in 1/nm. How the quantities follow from the place of a pixel is for `friedel.instrument.coordinates` to say.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .errors import ParameterError
from .formula import Formula

HC_KEV_ANGSTROM = 12.398419843320026
"""Planck constant times speed of light in keV Å (CODATA 2018, exact by the SI of 2019)."""

DEGREES = 180.0 / math.pi
FORMULA = "formula:"

Transform = Literal["", "log10", "log", "log1p", "arcsinh"]


@dataclass(frozen=True)
class Quantity:
    """What a unit measures.

    Attributes
    ----------
    name : str
        As formulas call it.
    long_name : str
        What to write at the axis.
    formula_scale : float
        Value in formulas for one SI unit (rad, m, 1/m).
    formula_units : str
        Units that formulas take it in.
    beam : float or None
        Its value at the beam where it is a function of the distance from the beam alone; None where it is not.
    needs_wavelength : bool
    signed : bool
        Whether it has values below zero.
    angle : bool
        Whether it is periodic: a full turn leads back to the same place.
    sample : bool
        Whether it depends on how the sample is mounted.
    sided : bool
        Whether it jumps where the scattering vector crosses the plane of beam and surface normal, which is where a
        grazing-incidence pattern has its missing wedge.
    """

    name: str
    long_name: str
    formula_scale: float = 1.0
    formula_units: str = "rad"
    beam: float | None = None
    needs_wavelength: bool = False
    signed: bool = True
    angle: bool = False
    sample: bool = False
    sided: bool = False


def _wave_vector(name: str, long_name: str, *, sample: bool = True, sided: bool = False) -> Quantity:
    return Quantity(name, long_name, 1e-9, "1/nm", needs_wavelength=True, sample=sample, sided=sided)


QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("two_theta", "Scattering angle 2θ", beam=0.0, signed=False),
        Quantity("q", "Scattering vector q", 1e-9, "1/nm", beam=0.0, needs_wavelength=True, signed=False),
        Quantity("d", "Lattice spacing d", 1e9, "nm", beam=math.inf, needs_wavelength=True, signed=False),
        Quantity("r", "Radius on the detector", 1e3, "mm", beam=0.0, signed=False),
        Quantity(
            "dstar2", "Squared reciprocal spacing d*²", 1e-18, "1/nm^2", beam=0.0, needs_wavelength=True, signed=False
        ),
        Quantity("chi", "Azimuth χ", angle=True),
        Quantity("x", "Position x", 1e3, "mm"),
        Quantity("y", "Position y", 1e3, "mm"),
        Quantity("z", "Position along the beam", 1e3, "mm"),
        _wave_vector("qx", "Scattering vector qx", sample=False),
        _wave_vector("qy", "Scattering vector qy", sample=False),
        _wave_vector("qz", "Scattering vector qz", sample=False),
        Quantity("scattering_angle_horz", "Horizontal scattering angle", sample=True),
        Quantity("scattering_angle_vert", "Vertical scattering angle", sample=True),
        Quantity("exit_angle_horz", "Horizontal exit angle", sample=True),
        Quantity("exit_angle_vert", "Vertical exit angle", sample=True),
        _wave_vector("qxgi", "Scattering vector along the surface, across the beam"),
        _wave_vector("qygi", "Scattering vector along the surface normal"),
        _wave_vector("qzgi", "Scattering vector along the surface, along the beam"),
        _wave_vector("qip", "In-plane scattering vector qᵢₚ", sided=True),
        _wave_vector("qoop", "Out-of-plane scattering vector qₒₒₚ"),
        Quantity("chigi", "Polar angle χ to the surface normal", angle=True, sample=True, sided=True),
    )
}
"""What units measure and formulas may name."""

FORMULA_NAMES = (*QUANTITIES, "wavelength")
WAVELENGTH_IN_FORMULAS = 1e9
"""Formulas take the wavelength in nm."""


@dataclass(frozen=True)
class Unit:
    """How a quantity is shown on an axis.

    Attributes
    ----------
    name : str
        As the user gives it, like "q_nm^-1", or the whole text of a formula.
    quantity : str
        One of `QUANTITIES`, or "" for a formula.
    scale : float
        Shown value for one SI unit (rad, m, 1/m, 1/m²), before the transform.
    units : str
        In UDUNITS spelling, "" for a pure number.
    transform : {"", "log10", "log", "log1p", "arcsinh"}
        Applied to the scaled value.
    aliases : tuple of str
        Other names that are understood, such as pyFAI's.
    label : str
        What to write at the axis, if it is not the name of the quantity.
    formula : Formula or None
        What is shown instead of a quantity.
    """

    name: str
    quantity: str
    scale: float = 1.0
    units: str = ""
    transform: Transform = ""
    aliases: tuple[str, ...] = ()
    label: str = ""
    formula: Formula | None = field(default=None, repr=False)

    @property
    def measures(self) -> Quantity | None:
        """The quantity shown, None for a formula."""
        return QUANTITIES.get(self.quantity)

    @property
    def used(self) -> tuple[Quantity, ...]:
        """All quantities that take part."""
        names = self.formula.variables if self.formula else (self.quantity,)
        return tuple(QUANTITIES[name] for name in sorted(names) if name in QUANTITIES)

    @property
    def long_name(self) -> str:
        """What to write at the axis."""
        return self.label or (self.formula.text if self.formula else QUANTITIES[self.quantity].long_name)

    @property
    def needs_wavelength(self) -> bool:
        """Whether the value depends on the wavelength."""
        named = self.formula is not None and "wavelength" in self.formula.variables
        return named or any(quantity.needs_wavelength for quantity in self.used)

    @property
    def needs_sample(self) -> bool:
        """Whether the value depends on how the sample is mounted."""
        return any(quantity.sample for quantity in self.used)

    @property
    def sided(self) -> bool:
        """Whether the value jumps at the missing wedge."""
        return any(quantity.sided for quantity in self.used)

    @property
    def signed(self) -> bool:
        """Whether values below zero mean something."""
        return self.measures is None or self.measures.signed or self.transform in ("log10", "log")

    @property
    def period(self) -> float:
        """Length of a full turn as shown, 0 where the unit is no angle of a circle."""
        return 2.0 * math.pi * self.scale if self.measures is not None and self.measures.angle else 0.0

    @property
    def beam(self) -> float | None:
        """Value at the beam itself, of a unit that depends on the distance from it alone; else None."""
        if self.measures is None or self.measures.beam is None:
            return None
        return -math.inf if self.transform in ("log10", "log") else self.measures.beam


def _inverse(quantity: str, *, aliases: str = "") -> tuple[Unit, Unit]:
    """Return the units nm⁻¹ and Å⁻¹ of a component of the scattering vector."""
    nanometre, angstrom = (tuple(f"{alias}_{end}" for alias in aliases.split()) for end in ("nm^-1", "A^-1"))
    return (
        Unit(f"{quantity}_nm^-1", quantity, 1e-9, "1/nm", aliases=nanometre),
        Unit(f"{quantity}_A^-1", quantity, 1e-10, "1/Angstrom", aliases=angstrom),
    )


def _angle(quantity: str, name: str = "") -> tuple[Unit, Unit]:
    name = name or quantity
    return Unit(f"{name}_deg", quantity, DEGREES, "deg"), Unit(f"{name}_rad", quantity, 1.0, "rad")


UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        *_angle("two_theta", "2th"),
        *_inverse("q", aliases="qtot"),
        Unit("d_nm", "d", 1e9, "nm"),
        Unit("d_A", "d", 1e10, "Angstrom"),
        Unit("r_mm", "r", 1e3, "mm"),
        Unit("r_m", "r", 1.0, "m"),
        Unit("d_m", "d", 1.0, "m"),
        Unit("dstar2_nm^-2", "dstar2", 1e-18, "1/nm^2", aliases=("d*2_nm^-2",)),
        Unit("dstar2_A^-2", "dstar2", 1e-20, "1/Angstrom^2", aliases=("d*2_A^-2",)),
        Unit("log10_q_m", "q", 1.0, transform="log10", aliases=("log10(q.m)_None",), label="log₁₀(q·m)"),
        Unit("log_q_nm", "q", 1e-9, transform="log", aliases=("log(q.nm)_None",), label="ln(q·nm)"),
        Unit("log1p_q_nm", "q", 1e-9, transform="log1p", aliases=("log(1+q.nm)_None",), label="ln(1 + q·nm)"),
        Unit("log1p_q_A", "q", 1e-10, transform="log1p", aliases=("log(1+q.A)_None",), label="ln(1 + q·Å)"),
        Unit("arcsinh_q_nm", "q", 1e-9, transform="arcsinh", aliases=("arcsinh(q.nm)_None",), label="arsinh(q·nm)"),
        Unit("arcsinh_q_A", "q", 1e-10, transform="arcsinh", aliases=("arcsinh(q.A)_None",), label="arsinh(q·Å)"),
        *_inverse("qx"),
        *_inverse("qy"),
        *_inverse("qz"),
        *_angle("chi"),
        *_angle("scattering_angle_horz"),
        *_angle("scattering_angle_vert"),
        *_angle("exit_angle_horz"),
        *_angle("exit_angle_vert"),
        *_inverse("qxgi"),
        *_inverse("qygi"),
        *_inverse("qzgi"),
        *_inverse("qip"),
        *_inverse("qoop"),
        *_angle("chigi"),
    )
}
"""The units by name."""

_BY_ALIAS = {alias: unit for unit in UNITS.values() for alias in unit.aliases}

RADIAL_UNITS: tuple[str, ...] = tuple(name for name, unit in UNITS.items() if unit.beam is not None)
"""Units of the distance from the beam, as powder patterns are shown over."""


@cache
def unit_named(text: str) -> Unit:
    """Return the unit that a text names.

    Parameters
    ----------
    text : str
        A name or alias, or ``"formula: EXPRESSION"``, which may be followed by ``; units: ...`` and ``; label: ...``.
        Formulas are made of the names of `QUANTITIES`, lengths on the detector in mm, lattice spacings and the
        wavelength in nm, scattering vectors in 1/nm, angles in rad.

    Raises
    ------
    ParameterError
        If there is no such unit, or the formula cannot be read.
    """
    name = text.strip()
    if name.startswith(FORMULA):
        return _formula_unit(name)
    found = UNITS.get(name) or _BY_ALIAS.get(name)
    if found is None:
        names = (*UNITS, *_BY_ALIAS)
        near = [known for known in names if known.startswith(f"{name}_")]
        near = near or difflib.get_close_matches(name, UNITS, 3) or difflib.get_close_matches(name, names, 3, 0.5)
        hint = f"Did you mean {' or '.join(near)}? docs/reference/units.md lists all units." if near else ""
        raise ParameterError(f"There is no unit {name!r}.", hint or f'Units: {", ".join(UNITS)}, "formula: ...".')
    return found


def _formula_unit(text: str) -> Unit:
    expression, *further = (" ".join(part.split()) for part in text.removeprefix(FORMULA).split(";"))
    given: dict[str, str] = {}
    for part in further:
        key, colon, value = part.partition(":")
        if key.strip() not in ("units", "label") or not colon:
            raise ParameterError(
                f"The unit {text!r} goes on with {part!r}.",
                'Write "formula: EXPRESSION; units: UNITS; label: LABEL".',
            )
        given[key.strip()] = value.strip()
    formula = Formula(expression, names=FORMULA_NAMES)
    name = "; ".join([f"{FORMULA} {expression}", *(f"{key}: {value}" for key, value in given.items())])
    return Unit(name, "", units=given.get("units", ""), label=given.get("label", ""), formula=formula)


def _checked_name(text: str) -> str:
    return unit_named(text).name


UnitName = Annotated[str, AfterValidator(_checked_name), Field(examples=list(UNITS))]
"""Name of a unit, as a parameter of a task: aliases are replaced by the name."""

RadialUnit = UnitName


def wavelength_from_energy(energy_kev: float) -> float:
    """Return the wavelength in m of photons of `energy_kev` keV."""
    return HC_KEV_ANGSTROM / energy_kev * 1e-10


def energy_from_wavelength(wavelength_m: float) -> float:
    """Return the energy in keV of photons of wavelength `wavelength_m` m."""
    return HC_KEV_ANGSTROM / (wavelength_m * 1e10)
