"""The command that lists calibrants and their rings."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from friedel.core.errors import ParameterError
from friedel.core.files import refuse_existing

from .tables import write_table

if TYPE_CHECKING:
    from friedel.instrument import Calibrant, Rings

SPACINGS_ONLY = 1e-12
"""A wavelength in m at which all rings are seen: that of a table without one."""


def calibrants(
    name: str | None = None,
    /,
    *,
    wavelength: str | None = None,
    energy: str | None = None,
    two_theta_max: float | None = None,
    rings: int = 40,
    output: Annotated[str | None, Parameter(alias="-o")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the calibrants, or the rings of one.

    Parameters
    ----------
    name
        A calibrant, a CIF file, a .D file, or d in Å with commas between; without one all calibrants are listed.
    wavelength
        Wavelength: 0.4066A, 0.04066nm.
    energy
        Photon energy: 30.5keV.
    two_theta_max
        Largest scattering angle in degrees.
    rings
        Most rings to show.
    output
        A .D file to write (d down to 0.5 Å).
    overwrite
        Replace the output if it exists.
    """
    if name is None:
        _write_all()
        return
    from friedel.core.quantities import wavelength_given
    from friedel.instrument import Calibrant

    calibrant = Calibrant.load(name)
    if output is not None:
        refuse_existing([output], overwrite)
        calibrant.save(output)
        sys.stdout.write(f"Wrote {output}.\n")
        return
    _write_one(calibrant, wavelength_given(wavelength, energy), two_theta_max, rings)


def _write_all() -> None:
    from friedel.instrument.calibrant_table import aliases_of, built_in_calibrants

    rows = [(name, ", ".join(aliases_of(name)), one.source) for name, one in built_in_calibrants().items()]
    write_table(("name", "also called", "source"), rows)
    sys.stdout.write("\nOthers: any built-in phase, a CIF file, a .D file, or d in Å with commas between.\n")


def _write_one(calibrant: Calibrant, wavelength: float | None, two_theta_max: float | None, most: int) -> None:
    if two_theta_max is not None and wavelength is None:
        raise ParameterError(
            "Without a wavelength rings have no angle, and two_theta_max is given.", "Give a wavelength or an energy."
        )
    if two_theta_max is not None and not 0 < two_theta_max <= 180:
        raise ParameterError(f"two_theta_max is {two_theta_max}.", "Give more than 0 and at most 180 degrees.")
    rings = calibrant.rings(wavelength or SPACINGS_ONLY, math.radians(two_theta_max or 180.0))
    for line in _description(calibrant):
        sys.stdout.write(f"{line}\n")
    header: tuple[str, ...] = ("ring", "h k l", "d (Å)", "q (1/nm)", "multiplicity", "intensity")
    rows = [_row(number, rings) for number in range(min(len(rings), most))]
    if wavelength is None:
        header = header[:-1]
    else:
        header = (*header[:4], "2theta (deg)", *header[4:])
        angles = [f"{math.degrees(angle):.4f}" for angle in rings.two_theta[: len(rows)]]
        intensities = [f"{100.0 * height:.2f}" for height in rings.intensity[: len(rows)]]
        rows = [
            (*row[:4], angle, *row[4:], height) for row, angle, height in zip(rows, angles, intensities, strict=True)
        ]
    sys.stdout.write("\n")
    write_table(header, rows)
    _write_what_is_left(calibrant, rings, len(rows), wavelength)


def _description(calibrant: Calibrant) -> list[str]:
    lines = [calibrant.name]
    if calibrant.crystal is not None:
        a, b, c, *angles = calibrant.crystal.cell
        lines.append(
            f"cell     {a:.8g} {b:.8g} {c:.8g} Å, {' '.join(f'{angle:g}' for angle in angles)} degrees, "
            f"{calibrant.crystal.space_group}"
        )
    if calibrant.layer is not None:
        lines.append(f"layers   {calibrant.layer:g} Å")
    return [*lines, f"source   {calibrant.source}"] if calibrant.source else lines


def _row(number: int, rings: Rings) -> tuple[str, ...]:
    spacing, multiplicity = float(rings.spacing[number]), int(rings.multiplicity[number])
    count = str(multiplicity) if multiplicity else ""
    return (str(number), rings.labels[number], f"{spacing:.6f}", f"{20.0 * math.pi / spacing:.4f}", count)


def _write_what_is_left(calibrant: Calibrant, rings: Rings, shown: int, wavelength: float | None) -> None:
    notes = []
    if shown < len(rings):
        notes.append(f"{len(rings) - shown} more (--rings {len(rings)}).")
    if not rings.complete and wavelength is not None:
        notes.append("The list ends before the largest angle.")
    if wavelength is not None and not calibrant.intensities_known:
        notes.append("Intensities are an assumption: the structure is not known.")
    if notes:
        sys.stdout.write("\n" + " ".join(notes) + "\n")
