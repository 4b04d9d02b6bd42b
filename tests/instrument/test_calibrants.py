"""Calibrants: which rings there are, where, and how bright."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from friedel.core.errors import FileError, ParameterError
from friedel.instrument import Calibrant
from friedel.instrument.calibrant_table import built_in_calibrants
from friedel.instrument.calibrants import MOST_RINGS

CU_K_ALPHA = 1.5406e-10


def test_rings_follow_braggs_law() -> None:
    rings = Calibrant.named("LaB6").rings(CU_K_ALPHA)
    assert rings.spacing[:3] == pytest.approx(4.156826 / np.sqrt([1, 2, 3]), rel=1e-12)
    assert 2 * rings.spacing * np.sin(rings.two_theta / 2) == pytest.approx(np.full(len(rings), 1.5406), rel=1e-12)
    assert (np.diff(rings.two_theta) > 0).all()
    assert rings.complete


def test_reflections_that_coincide_are_one_ring() -> None:
    rings = Calibrant.named("Si").rings(CU_K_ALPHA)
    assert rings.labels[:4] == ("1 1 1", "2 2 0", "3 1 1", "4 0 0")
    assert "5 1 1, 3 3 3" in rings.labels
    assert rings.multiplicity[rings.labels.index("5 1 1, 3 3 3")] == 32


def test_intensities_are_those_of_powder_diffraction_tables() -> None:
    # Certificates of NIST SRM 640e and 660c and powder tables, for Cu Kα and thus an unpolarized beam.
    tables = {
        "Si": ([100, 64.3, 37.3, 9.6], 0.01),
        "LaB6": ([64.3, 100, 41.5, 20.2], 0.05),
        "CeO2": ([100, 27.7, 48.6, 35.7], 0.2),  # the table falls faster with the angle
    }
    for name, (expected, tolerance) in tables.items():
        rings = Calibrant.named(name).rings(CU_K_ALPHA)
        seen = (rings.intensity * (1 + np.cos(rings.two_theta) ** 2))[:4]
        assert 100 * seen / seen.max() == pytest.approx(expected, rel=tolerance)


@given(st.floats(0.05, 3.0), st.floats(0.1, math.pi))
def test_ring_numbers_do_not_depend_on_wavelength_or_range(wavelength: float, two_theta_max: float) -> None:
    for name in ("CeO2", "AgBh"):
        calibrant = Calibrant.named(name)
        some = calibrant.rings(wavelength * 1e-10, two_theta_max)
        most = calibrant.rings(0.05e-10)
        assert some.spacing.tolist() == most.spacing[: len(some)].tolist()
        assert some.labels == most.labels[: len(some)]
        assert len(some) == 0 or some.two_theta[-1] <= two_theta_max * (1 + 1e-9)


def test_layers_have_orders() -> None:
    rings = Calibrant.named("silver behenate").rings(1e-10, math.radians(10))
    assert rings.spacing == pytest.approx(58.380 / np.arange(1, len(rings) + 1))
    assert rings.labels[1] == "0 0 2"
    assert (np.diff(rings.intensity) < 0).all()  # equal |F|², so each order is weaker
    assert not Calibrant.named("AgBh").intensities_known
    assert rings.complete


def test_own_spacings_come_in_any_order() -> None:
    rings = Calibrant.from_spacings("mine", [2.0, 3.0, 1.0]).rings(1e-10)
    assert rings.spacing.tolist() == [3.0, 2.0, 1.0]
    assert rings.intensity.tolist() == [1.0, 1.0, 1.0]
    assert not rings.complete
    with pytest.raises(ParameterError, match="mine has the spacing -1"):
        Calibrant.from_spacings("mine", [-1.0])


@pytest.mark.parametrize(
    "name", ["CeO2", "ceo2", "Ceria", "silver-behenate", "alpha_Al2O3", " LaB6 ", "SRM 640e", "Si_SRM640c", "MgO"]
)
def test_names_as_people_type_them(name: str) -> None:
    assert len(Calibrant.load(name).rings(0.5e-10, 0.5)) > 5


def test_an_unknown_name_says_what_is_near() -> None:
    with pytest.raises(ParameterError, match="Did you mean CeO2"):
        Calibrant.named("CeO3")


@pytest.mark.parametrize(("wavelength", "two_theta_max"), [(0.0, 1.0), (math.nan, 1.0), (1e-10, 0.0), (1e-10, 4.0)])
def test_impossible_ranges_are_refused(wavelength: float, two_theta_max: float) -> None:
    with pytest.raises(ParameterError):
        Calibrant.named("CeO2").rings(wavelength, two_theta_max)


def test_calibrants_can_be_sent_to_workers() -> None:
    calibrant = Calibrant.named("CeO2")
    assert pickle.loads(pickle.dumps(calibrant)) == calibrant  # noqa: S301


def test_every_calibrant_has_a_source_and_is_computed_at_once() -> None:
    for name, calibrant in built_in_calibrants().items():
        assert calibrant.source, name
        rings = calibrant.rings(0.2e-10)
        assert 1 < len(rings) <= MOST_RINGS, name
        assert (np.diff(rings.spacing) < 0).all(), name
        assert (rings.intensity >= 0).all() and rings.intensity.max() == 1.0, name


def test_certified_powders_differ_in_the_cell_only() -> None:
    one, other = (Calibrant.named(name).rings(1e-10) for name in ("Si SRM640d", "Si"))
    assert one.spacing / other.spacing == pytest.approx(np.full(len(one), 5.43123 / 5.431179), rel=1e-12)
    assert one.labels == other.labels


def test_the_rings_of_a_protein_are_the_first_thousand() -> None:
    rings = Calibrant.named("lysozyme").rings(1e-10)
    assert len(rings) == MOST_RINGS
    assert not rings.complete
    assert rings.labels[:4] == ("1 1 0", "2 0 0", "2 1 0", "1 0 1")


def test_a_name_that_could_mean_two_substances_is_refused() -> None:
    with pytest.raises(ParameterError, match="two substances"):
        Calibrant.named("CuO")


def test_spacings_on_the_command_line() -> None:
    assert Calibrant.load("3.1357, 1.9202 1.6376").rings(1e-10).spacing.tolist() == [3.1357, 1.9202, 1.6376]


def test_a_d_file_is_read_back(tmp_path: Path) -> None:
    silicon = Calibrant.named("Si")
    silicon.save(tmp_path / "Si.D", least=0.7)
    read = Calibrant.load(tmp_path / "Si.D")
    rings, expected = read.rings(1.0e-10), silicon.rings(1.0e-10)
    count = len(rings)
    assert read.name == "Si"
    assert read.source == "NIST SRM 640e"
    assert rings.spacing == pytest.approx(expected.spacing[:count], abs=1e-8)
    assert rings.multiplicity.tolist() == expected.multiplicity[:count].tolist()
    assert rings.spacing[-1] > 0.7 > expected.spacing[count]


def test_a_d_file_with_intensities_and_a_line_twice(tmp_path: Path) -> None:
    path = tmp_path / "mine.D"
    path.write_text(
        "# Calibrant: Mine\n# Ref: me\n 2.0 # (1 1 1) 8 50.0\n\n 3.0 # (1 0 0) 6 100\n"
        " 1.0 # (2 2 2) 8 10\n 1.0 # (4 0 0) 6 15\n"
    )
    calibrant = Calibrant.load(str(path))
    rings = calibrant.rings(1e-10)
    assert calibrant.intensities_known
    assert rings.spacing.tolist() == [3.0, 2.0, 1.0]
    assert rings.intensity.tolist() == [1.0, 0.5, 0.25]
    assert rings.labels == ("1 0 0", "1 1 1", "2 2 2, 4 0 0")


def test_a_plain_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# mine\n3.0 2.0\n1.5\n")
    assert Calibrant.load(path).rings(1e-10).spacing.tolist() == [3.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("text", "problem"), [("", "no lattice spacings"), ("3.0\n-1.0\n", "line 2"), ("three\n", "line 1")]
)
def test_a_file_that_is_no_list(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.D"
    path.write_text(text)
    with pytest.raises(FileError, match=problem):
        Calibrant.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        Calibrant.load(tmp_path / "none.D")


def test_a_cif_file(tmp_path: Path) -> None:
    path = tmp_path / "salt.cif"
    path.write_text(
        "data_salt\n_cell_length_a 5.64\n_cell_length_b 5.64\n_cell_length_c 5.64\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'F m -3 m'\nloop_\n"
        "_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nNa1 0 0 0\nCl1 0.5 0.5 0.5\n"
    )
    assert Calibrant.load(path).rings(1e-10).labels[:2] == ("1 1 1", "2 0 0")
