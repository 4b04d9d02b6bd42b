"""Built-in phases: crystalline calibrants, metals and common compounds at room temperature, each with its source.

Displacements B (Å²) are typical room-temperature values; they shape the fall of intensity with angle only.
"""

from __future__ import annotations

from functools import cache

from friedel.core.errors import ParameterError

from .crystal import Crystal, Site

_RUTILE = "Swope, Smyth & Larson, Am. Mineral. 80 (1995) 448; cell of NIST SRM 674b"
_CORUNDUM = "Lewis, Schwarzenbach & Flack, Acta Cryst. A38 (1982) 733"
_QUARTZ = "Levien, Prewitt & Weidner, Am. Mineral. 65 (1980) 920, origin moved to that of the Tables"
_ZIRCONIA = "Howard, Hill & Reichert, Acta Cryst. B44 (1988) 116"
_WYCKOFF = "Wyckoff, Crystal Structures 1 (1963)"


def _cubic(name: str, a: float, group: str, sites: tuple[Site, ...], source: str) -> Crystal:
    return Crystal(name, (a, a, a, 90.0, 90.0, 90.0), group, sites, source)


def _tetragonal(name: str, a: float, c: float, group: str, sites: tuple[Site, ...], source: str) -> Crystal:
    return Crystal(name, (a, a, c, 90.0, 90.0, 90.0), group, sites, source)


def _hexagonal(name: str, a: float, c: float, group: str, sites: tuple[Site, ...], source: str) -> Crystal:
    return Crystal(name, (a, a, c, 90.0, 90.0, 120.0), group, sites, source)


def _metal(element: str, a: float, group: str, b_iso: float, source: str) -> Crystal:
    return _cubic(element, a, group, (Site(element, (0.0, 0.0, 0.0), b_iso=b_iso),), source)


def _rocksalt(name: str, cation: str, anion: str, a: float, b: tuple[float, float], source: str) -> Crystal:
    sites = (Site(cation, (0.0, 0.0, 0.0), b_iso=b[0]), Site(anion, (0.5, 0.5, 0.5), b_iso=b[1]))
    return _cubic(name, a, "F m -3 m", sites, source)


def _corundum(name: str, metal: str, a: float, c: float, z: float, x: float, source: str) -> Crystal:
    sites = (Site(metal, (0.0, 0.0, z), b_iso=0.25), Site("O", (x, 0.0, 0.25), b_iso=0.28))
    return _hexagonal(name, a, c, "R -3 c:H", sites, source)


def _fullerene() -> Crystal:
    """Return C60 at room temperature.

    The molecules turn; here each is a truncated icosahedron of radius 3.55 Å at rest, its twofold axes along the
    cell's. Intensities are within about 30 % of those measured: the molecule is nearly a sphere.
    """
    golden = (1.0 + 5.0**0.5) / 2.0
    unit = 3.55 / 14.26 / (9.0 * golden + 10.0) ** 0.5
    corners = ((0.0, 1.0, 3.0 * golden), (1.0, 2.0 + golden, 2.0 * golden), (golden, 2.0, 2.0 * golden + 1.0))
    sites = tuple(Site("C", (unit * x, unit * y, unit * z), b_iso=3.0) for x, y, z in corners)
    return _cubic("C60", 14.26, "F m -3", sites, "Dorset & McCourt, Acta Cryst. A50 (1994) 344; model of the molecule")


_METALS = (
    _metal("Ni", 3.5239, "F m -3 m", 0.37, _WYCKOFF),
    _metal("Al", 4.0495, "F m -3 m", 0.86, _WYCKOFF),
    _metal("Cu", 3.6149, "F m -3 m", 0.57, "Straumanis & Yu, Acta Cryst. A25 (1969) 676"),
    _metal("Pt", 3.9231, "F m -3 m", 0.31, "Swanson & Tatge, NBS Circular 539 1 (1953)"),
    _metal("Pd", 3.8902, "F m -3 m", 0.45, "Swanson & Tatge, NBS Circular 539 1 (1953)"),
    _metal("Au", 4.0782, "F m -3 m", 0.62, "Maeland & Flanagan, Can. J. Phys. 42 (1964) 2364"),
    _metal("Ag", 4.0862, "F m -3 m", 0.77, "Swanson & Tatge, NBS Circular 539 1 (1953)"),
    _metal("Fe", 2.8665, "I m -3 m", 0.33, _WYCKOFF),
    _metal("W", 3.1652, "I m -3 m", 0.16, _WYCKOFF),
    _hexagonal("Ti", 2.9508, 4.6855, "P 63/m m c", (Site("Ti", (1 / 3, 2 / 3, 0.25), b_iso=0.5),), _WYCKOFF),
)

_CUBIC = (
    _cubic(
        "CeO2",
        5.411651,
        "F m -3 m",
        (Site("Ce", (0.0, 0.0, 0.0), b_iso=0.25), Site("O", (0.25, 0.25, 0.25), b_iso=0.45)),
        "cell of NIST SRM 674b; fluorite structure",
    ),
    _cubic(
        "LaB6",
        4.156826,
        "P m -3 m",
        (Site("La", (0.0, 0.0, 0.0), b_iso=0.40), Site("B", (0.1997, 0.5, 0.5), b_iso=0.30)),
        "NIST SRM 660c",
    ),
    _cubic("Si", 5.431179, "F d -3 m:2", (Site("Si", (0.125, 0.125, 0.125), b_iso=0.46),), "NIST SRM 640e"),
    _cubic("diamond", 3.56679, "F d -3 m:2", (Site("C", (0.125, 0.125, 0.125), b_iso=0.15),), _WYCKOFF),
    _rocksalt("NaCl", "Na", "Cl", 5.6401, (1.7, 1.4), "Swanson & Fuyat, NBS Circular 539 2 (1953)"),
    _rocksalt("MgO", "Mg", "O", 4.2112, (0.31, 0.34), "Hazen, Am. Mineral. 61 (1976) 266"),
    _rocksalt("NiO", "Ni", "O", 4.1771, (0.35, 0.45), _WYCKOFF),
)

_OXIDES = (
    _corundum("Al2O3", "Al", 4.759355, 12.99231, 0.35219, 0.30633, f"cell of NIST SRM 676a; {_CORUNDUM}"),
    _corundum("Cr2O3", "Cr", 4.9590, 13.5959, 0.34750, 0.30580, "cell of NIST SRM 674b; " + _WYCKOFF),
    _corundum("Fe2O3", "Fe", 5.0356, 13.7489, 0.35530, 0.30590, "Blake et al., Am. Mineral. 51 (1966) 123"),
    _hexagonal(
        "ZnO",
        3.2499,
        5.2065,
        "P 63 m c",
        (Site("Zn", (1 / 3, 2 / 3, 0.0), b_iso=0.60), Site("O", (1 / 3, 2 / 3, 0.3821), b_iso=0.65)),
        "cell of NIST SRM 674b; Kihara & Donnay, Can. Mineral. 23 (1985) 647",
    ),
    _tetragonal(
        "rutile",
        4.5939,
        2.9589,
        "P 42/m n m",
        (Site("Ti", (0.0, 0.0, 0.0), b_iso=0.45), Site("O", (0.3051, 0.3051, 0.0), b_iso=0.50)),
        _RUTILE,
    ),
    _tetragonal(
        "anatase",
        3.7842,
        9.5146,
        "I 41/a m d:1",
        (Site("Ti", (0.0, 0.0, 0.0), b_iso=0.40), Site("O", (0.0, 0.0, 0.2081), b_iso=0.60)),
        "Horn, Schwerdtfeger & Meagher, Z. Kristallogr. 136 (1972) 273",
    ),
    _hexagonal(
        "quartz",
        4.9160,
        5.4054,
        "P 32 2 1",
        (Site("Si", (0.4697, 0.0, 2 / 3), b_iso=0.55), Site("O", (0.4135, 0.2669, 0.7858), b_iso=1.10)),
        _QUARTZ,
    ),
    Crystal(
        "ZrO2",
        (5.1505, 5.2116, 5.3173, 90.0, 99.230, 90.0),
        "P 1 21/c 1",
        (
            Site("Zr", (0.2754, 0.0395, 0.2083), b_iso=0.35),
            Site("O", (0.0700, 0.3317, 0.3447), b_iso=0.55),
            Site("O", (0.4496, 0.7569, 0.4792), b_iso=0.50),
        ),
        _ZIRCONIA,
    ),
    _hexagonal(
        "calcite",
        4.9896,
        17.0610,
        "R -3 c:H",
        (
            Site("Ca", (0.0, 0.0, 0.0), b_iso=0.75),
            Site("C", (0.0, 0.0, 0.25), b_iso=0.65),
            Site("O", (0.2568, 0.0, 0.25), b_iso=1.35),
        ),
        "Effenberger, Mereiter & Zemann, Z. Kristallogr. 156 (1981) 233",
    ),
)

_OTHERS = (
    _hexagonal(
        "graphite",
        2.456,
        6.696,
        "P 63/m m c",
        (Site("C", (0.0, 0.0, 0.25), b_iso=0.5), Site("C", (1 / 3, 2 / 3, 0.25), b_iso=0.5)),
        _WYCKOFF,
    ),
    _tetragonal(
        "cristobalite",
        4.9717,
        6.9223,
        "P 41 21 2",
        (Site("Si", (0.3003, 0.3003, 0.0), b_iso=0.60), Site("O", (0.2392, 0.1044, 0.1787), b_iso=1.20)),
        "Downs & Palmer, Am. Mineral. 79 (1994) 9",
    ),
    _cubic(
        "Cu2O",
        4.2685,
        "P n -3 m:2",
        (Site("Cu", (0.0, 0.0, 0.0), b_iso=1.60), Site("O", (0.25, 0.25, 0.25), b_iso=1.60)),
        "Kirfel & Eichhorn, Acta Cryst. A46 (1990) 271; cuprite",
    ),
    _hexagonal(
        "vanadinite",
        10.3231,
        7.3399,
        "P 63/m",
        (
            Site("Pb", (1 / 3, 2 / 3, 0.0076), b_iso=1.0),
            Site("Pb", (0.2542, 0.0050, 0.25), b_iso=1.0),
            Site("V", (0.4095, 0.3844, 0.25), b_iso=0.5),
            Site("O", (0.3300, 0.5000, 0.25), b_iso=1.0),
            Site("O", (0.6010, 0.4770, 0.25), b_iso=1.0),
            Site("O", (0.3300, 0.2640, 0.0620), b_iso=1.0),
            Site("Cl", (0.0, 0.0, 0.0), b_iso=1.5),
        ),
        "cell of Okudera, Am. Mineral. 98 (2013) 1573; atoms of Dai & Hughes, Can. Mineral. 27 (1989) 189",
    ),
    _fullerene(),
)

_ALIASES = {
    "tio2": "rutile",
    "tio2_rutile": "rutile",
    "tio2_anatase": "anatase",
    "caco3": "calcite",
    "sio2": "quartz",
    "corundum": "Al2O3",
    "hematite": "Fe2O3",
    "ceria": "CeO2",
    "cuprite": "Cu2O",
    "buckminsterfullerene": "C60",
}


@cache
def built_in_phases() -> dict[str, Crystal]:
    """Return the built-in phases by name."""
    return {crystal.name: crystal for crystal in (*_CUBIC, *_METALS, *_OXIDES, *_OTHERS)}


def find_phase(name: str) -> Crystal:
    """Return the built-in phase called `name`; case does not matter.

    Raises
    ------
    ParameterError
        If there is none; the message lists those that are.
    """
    by_key = {key.casefold(): crystal for key, crystal in built_in_phases().items()}
    key = name.strip().casefold()
    key = _ALIASES.get(key, key).casefold()
    if key not in by_key:
        raise ParameterError(
            f"There is no built-in phase {name!r}.",
            f"Phases: {', '.join(built_in_phases())}; or give the path of a CIF file.",
        )
    return by_key[key]
