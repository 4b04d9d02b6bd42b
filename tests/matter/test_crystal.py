"""Crystals: atoms, absences and intensities that every textbook and powder file agrees on."""

import gemmi
import numpy as np
import pytest

from friedel.core.errors import FileError, ParameterError
from friedel.matter import Crystal, Site, atomic_form_factor, built_in_phases
from shared_data import shared


def indices(crystal, d_min):
    return {tuple(sorted(map(abs, hkl))) for hkl in crystal.reflections(d_min).hkl.tolist()}


# Atoms in the cell and density in g/cm³ (CRC Handbook, mineral data).
CELLS = [
    ("CeO2", 12, 7.21),
    ("LaB6", 7, 4.71),
    ("Si", 8, 2.329),
    ("diamond", 8, 3.515),
    ("NaCl", 8, 2.163),
    ("Al2O3", 30, 3.985),
    ("ZnO", 4, 5.67),
    ("rutile", 6, 4.25),
    ("anatase", 12, 3.89),
    ("quartz", 9, 2.65),
    ("calcite", 30, 2.711),
    ("ZrO2", 12, 5.81),
    ("Ni", 4, 8.91),
    ("Fe", 2, 7.87),
    ("Ti", 2, 4.50),
    ("Pt", 4, 21.45),
    ("Au", 4, 19.29),
]


@pytest.mark.parametrize(("name", "count", "density"), CELLS)
def test_cells_hold_what_they_weigh(name, count, density):
    crystal = Crystal.named(name)
    assert len(crystal.atoms()) == count
    assert crystal.density == pytest.approx(density, rel=4e-3)
    assert crystal.source


# Peak heights relative to the strongest, Cu Kα, powder diffraction file (PDF numbers of calculated patterns).
CU_K_ALPHA = 1.5406
PATTERNS = [
    ("Si", {"111": 100, "022": 65, "113": 37, "004": 10, "133": 14, "224": 19}),
    ("CeO2", {"111": 100, "002": 29, "022": 52, "113": 42, "222": 8, "004": 8, "133": 16}),
    ("NaCl", {"111": 9, "002": 100, "022": 58, "113": 2, "222": 17, "004": 7, "024": 17}),
    ("LaB6", {"001": 60, "011": 100, "111": 42, "002": 22, "012": 47, "112": 25}),
    ("Ni", {"111": 100, "002": 45, "022": 24, "113": 28}),
    ("ZnO", {"100": 55, "002": 41, "101": 100, "102": 22, "110": 32, "103": 29}),
    ("rutile", {"110": 100, "101": 47, "200": 7, "111": 19, "211": 53, "220": 16}),
]


@pytest.mark.parametrize(("name", "expected"), PATTERNS)
def test_relative_intensities(name, expected):
    crystal = Crystal.named(name)
    reflections = crystal.reflections(0.9)
    theta = np.arcsin(CU_K_ALPHA / 2 / reflections.spacing)
    lorentz_polarization = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    intensity = reflections.multiplicity * reflections.structure_factor_squared * lorentz_polarization
    cubic = len(set(crystal.cell[:3])) == 1
    found = {}
    for hkl, value in zip(reflections.hkl.tolist(), intensity, strict=True):
        key = sorted(map(abs, hkl)) if cubic else [abs(index) for index in hkl]
        found.setdefault("".join(map(str, key)), value)
    for hkl, height in expected.items():
        assert 100 * found[hkl] / intensity.max() == pytest.approx(height, abs=3.5), hkl


def test_quartz_has_its_doublet():
    # The strongest line of quartz is the sum of 101 and 011, the 100 about a fifth of it (PDF 46-1045).
    reflections = Crystal.named("quartz").reflections(3.0)
    theta = np.arcsin(CU_K_ALPHA / 2 / reflections.spacing)
    intensity = reflections.multiplicity * reflections.structure_factor_squared / (np.sin(theta) ** 2 * np.cos(theta))
    first = intensity[reflections.spacing > 4].sum()
    assert first / intensity[reflections.spacing < 3.5].sum() == pytest.approx(0.21, abs=0.05)


def test_systematic_absences():
    assert indices(Crystal.named("Si"), 0.95) == {
        (1, 1, 1), (0, 2, 2), (1, 1, 3), (0, 0, 4), (1, 3, 3), (2, 2, 4), (1, 1, 5), (3, 3, 3), (0, 4, 4)
    }  # fmt: skip
    assert all(len({index % 2 for index in hkl}) == 1 for hkl in indices(Crystal.named("CeO2"), 0.7))
    assert all(sum(hkl) % 2 == 0 for hkl in indices(Crystal.named("Fe"), 0.6))
    assert (0, 0, 1) in indices(Crystal.named("LaB6"), 0.7)
    assert [0, 0, 3] not in Crystal.named("Al2O3").reflections(1.0).hkl.tolist()


@pytest.mark.parametrize("name", sorted(built_in_phases()))
def test_multiplicities_count_every_reflection_once(name):
    crystal = Crystal.named(name)
    d_min = 1.0
    cell = gemmi.UnitCell(*crystal.cell)
    everything = np.asarray(gemmi.make_miller_array(cell, gemmi.find_spacegroup_by_name("P 1"), d_min, 0.0, True))
    values = np.abs(crystal.structure_factors(everything, cell.calculate_d_array(everything))) ** 2
    reflections = crystal.reflections(d_min)
    # P1 lists one of each Friedel pair.
    total = (reflections.multiplicity * reflections.structure_factor_squared).sum()
    assert total == pytest.approx(2 * values.sum(), rel=1e-6)
    assert reflections.multiplicity.sum() == 2 * (values > 1e-8 * values.max()).sum()
    assert (np.diff(reflections.spacing) <= 1e-9).all()


@pytest.mark.parametrize("name", ["CeO2", "quartz", "ZrO2"])
def test_structure_factors_are_those_of_gemmi(name):
    crystal = Crystal.named(name)
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(*crystal.cell)
    structure.spacegroup_hm = crystal.space_group
    structure.determine_and_set_spacegroup("S.H2")
    for number, site in enumerate(crystal.sites):
        atom = gemmi.SmallStructure.Site()
        atom.label, atom.fract = f"{site.element}{number}", gemmi.Fractional(*site.position)
        atom.element, atom.occ, atom.u_iso = gemmi.Element(site.element), site.occupancy, site.b_iso / (8 * np.pi**2)
        structure.add_site(atom)
    structure.change_occupancies_to_crystallographic()
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    reflections = crystal.reflections(1.2)
    for hkl, expected in zip(reflections.hkl.tolist(), reflections.structure_factor_squared, strict=True):
        value = calculator.calculate_sf_from_small_structure(structure, hkl)
        assert abs(value) ** 2 == pytest.approx(expected, rel=1e-3)


def test_form_factors_start_at_the_number_of_electrons():
    for element in ("C", "O", "Si", "Ce", "Au"):
        number = gemmi.Element(element).atomic_number
        assert atomic_form_factor(element, np.array([0.0]))[0] == pytest.approx(number, rel=5e-3)


@pytest.mark.parametrize(
    ("file", "count", "group"),
    [
        (("pdf_nisi", "Si_Fd-3m.cif"), 8, "F d -3 m:1"),
        (("pdf_nisi", "Ni_Fm-3m.cif"), 4, "F m -3 m"),
        (("cimetidine", "cimetidine_solution.cif"), 68, "P 1 21/a 1"),
        (("pbso4", "PbSO4-COD-1528837.cif"), 24, "P n m a"),
    ],
)
def test_structures_from_databases(file, count, group):
    crystal = Crystal.load(shared("crystal", *file))
    assert len(crystal.atoms()) == count
    assert crystal.space_group == group
    assert len(crystal.reflections(1.5)) > 0


def test_a_cif_of_silicon_is_the_built_in_silicon():
    read = Crystal.from_cif(shared("crystal", "pdf_nisi", "Si_Fd-3m.cif")).reflections(1.0)
    built_in = Crystal.named("Si").scaled(5.43053 / 5.431179).reflections(1.0)
    np.testing.assert_allclose(read.spacing, built_in.spacing, rtol=1e-9)
    np.testing.assert_allclose(read.structure_factor_squared, built_in.structure_factor_squared, rtol=0.05)


def test_names_and_what_is_said_of_unknown_ones():
    assert Crystal.named("ceo2") is Crystal.named("CeO2")
    assert Crystal.named("TiO2_anatase").name == "anatase"
    with pytest.raises(ParameterError, match=r"'unobtainium'(.|\n)*CeO2, LaB6"):
        Crystal.named("unobtainium")


def test_files_that_are_no_structure(tmp_path):
    with pytest.raises(FileError, match=r"absent\.cif: No such file"):
        Crystal.from_cif(tmp_path / "absent.cif")
    (tmp_path / "text.cif").write_text("hello")
    with pytest.raises(FileError, match=r"text\.cif"):
        Crystal.from_cif(tmp_path / "text.cif")
    (tmp_path / "empty.cif").write_text("data_x\n_cell_length_a 3\n")
    with pytest.raises(FileError, match="space group"):
        Crystal.from_cif(tmp_path / "empty.cif")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": (0, 1, 1, 90, 90, 90)}, "cell of x"),
        ({"space_group": "F m 7"}, "'F m 7'"),
        ({"sites": (Site("Xx", (0, 0, 0)),)}, "'Xx'"),
    ],
)
def test_impossible_crystals_are_refused(change, message):
    values = {"cell": (4, 4, 4, 90, 90, 90), "space_group": "P 1", "sites": (Site("C", (0, 0, 0)),)} | change
    with pytest.raises(ParameterError, match=message):
        Crystal("x", **values)


def test_a_cell_without_reflections_in_range():
    assert len(Crystal.named("Si").reflections(10.0)) == 0
