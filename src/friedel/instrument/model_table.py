"""The detector models: sizes, modules, gaps and sensors as the manufacturers give them.

Numbers are those of data sheets and manuals; shapes, pixel sizes, masks and places of pixels were compared with those
of another package for every model that both have (``tests/peers/test_pyfai_detectors.py`` names the deviations).
"""

from __future__ import annotations

from .model_kinds import (
    Bent,
    Chips,
    DetectorModel,
    Family,
    Hexagonal,
    Module,
    Polygon,
    Readout,
    RoundPlate,
    SensorChoice,
    WiderEdges,
    chip_edges,
    stacked,
)


def _metres(micrometres: float) -> float:
    """Return the float nearest to so many µm: pyFAI knows readouts by pixel sizes that are equal to the bit."""
    return float(f"{micrometres!r}e-6")


def _sensors(material: str, *micrometres: float) -> tuple[SensorChoice, ...]:
    return tuple(SensorChoice(material, _metres(thickness)) for thickness in micrometres)


# ---- hybrid pixel detectors tiled from modules

_PILATUS = {"100k": (1, 1), "200k": (2, 1), "300k": (3, 1), "300kw": (1, 3), "900k": (3, 3), "1M": (5, 2), "2M": (8, 3)}
_PILATUS |= {"6M": (12, 5)}
_PILATUS_CDTE = {"300k": (3, 1), "300kw": (1, 3), "900kw": (1, 9), "1M": (5, 2), "2M": (8, 3)}
_PILATUS4 = {"260k": (2, 1), "260kw": (1, 2), "1M": (4, 2), "2M": (6, 3), "4M": (8, 4)}
_EIGER = {"500k": (1, 1), "1M": (2, 1), "4M": (4, 2), "9M": (6, 3), "16M": (8, 4)}
_EIGER2 = {**_EIGER, "1MW": (1, 2), "2MW": (1, 4)}
_LAMBDA = {"60k": (1, 1), "250k": (2, 2), "750k": (2, 6), "2M": (6, 6), "7M5": (10, 10), "10M": (10, 18)}
_MAXIPIX = {"": (1, 1), "2x2": (2, 2), "5x1": (1, 5)}

_SI_PILATUS = _sensors("Si", 320, 450, 1000)
_SI_JUNGFRAU = _sensors("Si", 320, 450)
_LAMBDA_SENSORS = (*_sensors("Si", 300, 500), *_sensors("GaAs", 500), *_sensors("CdTe", 1000))

FAMILIES = (
    Family("Pilatus{}", "Dectris", 172e-6, (195, 487), (17, 7), _PILATUS, _SI_PILATUS),
    Family("PilatusCdTe{}", "Dectris", 172e-6, (195, 487), (17, 7), _PILATUS_CDTE, _sensors("CdTe", 1000), (242, 245)),
    Family("Pilatus4_{}", "Dectris", 150e-6, (255, 513), (20, 7), _PILATUS4, _sensors("Si", 450)),
    Family("Pilatus4_CdTe_{}", "Dectris", 150e-6, (255, 513), (20, 7), _PILATUS4, _sensors("CdTe", 1000), (256, 257)),
    Family("Eiger{}", "Dectris", 75e-6, (514, 1030), (37, 10), _EIGER, _sensors("Si", 450)),
    Family("Eiger2_{}", "Dectris", 75e-6, (512, 512), (0, 0), {"250k": (1, 1)}, _sensors("Si", 450)),
    Family("Eiger2_{}", "Dectris", 75e-6, (512, 1028), (38, 12), _EIGER2, _sensors("Si", 450)),
    Family("Eiger2CdTe_{}", "Dectris", 75e-6, (512, 1028), (38, 12), _EIGER2, _sensors("CdTe", 750), (513, 515)),
    Family("Jungfrau{}", "PSI", 75e-6, (514, 1030), (36, 8), {"1M": (2, 1), "4M": (4, 2)}, _SI_JUNGFRAU),
    # No dummy: a pixel without counts is a valid one (pyFAI takes 0 for invalid, which raises weak intensities).
    Family("Lambda{}", "X-Spectrum", 55e-6, (256, 256), (4, 4), _LAMBDA, _LAMBDA_SENSORS, dummy=None, delta_dummy=0.0),
    Family(
        "Maxipix{}",
        "ESRF",
        55e-6,
        (256, 256),
        (4, 4),
        _MAXIPIX,
        _sensors("Si", 500),
        dummy=None,
        delta_dummy=0.0,
        aliases={"": ("Maxipix 1x1",)},
    ),
)


def _plain(
    name: str,
    manufacturer: str,
    shape: tuple[int, int],
    pixel: float,
    *aliases: str,
    binning: int = 1,
    sensors: tuple[SensorChoice, ...] = (),
    note: str = "",
) -> DetectorModel:
    """Return a detector of one piece; its pixel size in µm."""
    return DetectorModel(
        name,
        shape,
        _metres(pixel),
        _metres(pixel),
        manufacturer,
        default_binning=binning,
        sensors=sensors,
        aliases=aliases,
        note=note,
    )


_FLAT_PANELS_AND_CAMERAS = (
    _plain("Perkin", "Perkin Elmer", (4096, 4096), 100.0, "Perkin Elmer", "Perkin detector", binning=2),
    _plain("Pixium", "Thales Electronics", (1910, 2480), 154.0, "Pixium 4700", "Thales Electronics", binning=2),
    _plain("Dexela2923", "Perkin Elmer", (3888, 3072), 75.0),
    _plain("ADSC_Q4", "ADSC", (2304, 2304), 51.0, "Quantum 4"),
    _plain("ADSC_Q210", "ADSC", (4096, 4096), 51.0, "Quantum 210"),
    _plain("ADSC_Q270", "ADSC", (4168, 4168), 51.0, "Quantum 270"),
    _plain("ADSC_Q315", "ADSC", (6144, 6144), 51.0, "Quantum 315"),
    _plain("HF_130K", "ADSC", (256, 512), 150.0),
    _plain("HF_262k", "ADSC", (512, 512), 150.0),
    _plain("HF_1M", "ADSC", (1024, 1024), 150.0),
    _plain("HF_2M", "ADSC", (1536, 1536), 150.0, "HF 2.4M"),
    _plain("HF_4M", "ADSC", (2048, 2048), 150.0),
    _plain("HF_9M", "ADSC", (3072, 3072), 150.0, "HF 9.4M"),
    _plain("Fairchild", "Fairchild Semiconductor", (4096, 4096), 15.0, "Condor", "Fairchild Condor 486:90"),
    _plain("Titan", "Agilent", (2048, 2048), 60.0, "Titan 2k x 2k", "OXD Titan", "Agilent Titan"),
    _plain("Basler", "Basler", (966, 1296), 3.75, "aca1300"),
    _plain("Apex2", "Bruker", (1024, 1024), 120.0, "ApexII", "Bruker"),
    _plain("RaspberryPi5M", "Raspberry Pi", (1944, 2592), 1.4, "Picam v1"),
    _plain("RaspberryPi8M", "Raspberry Pi", (2464, 3280), 1.12, "Picam v2"),
    _plain("RaspberryPi12M", "Raspberry Pi", (3040, 4056), 1.55, "Picam HQ"),
    _plain("Mar555", "Mar Research", (3072, 2560), 139.0, sensors=_sensors("Se", 300)),
    _plain(
        "FReLoN",
        "ESRF",
        (2048, 2048),
        50.0,
        note="Its taper distorts the image: give the spline file that describes it (splineFile in the geometry).",
    ),
    _plain(
        "Lambda9M",
        "X-Spectrum",
        (3868, 3227),
        55.0,
        sensors=_LAMBDA_SENSORS,
        note="Its modules lie where each one was mounted: give the mask of the detector.",
    ),
    DetectorModel(
        "Mythen",
        (1, 1280),
        8e-3,
        50e-6,
        "Dectris",
        sensors=_SI_PILATUS,
        aliases=("Mythen 1280",),
        note="Strips: one row of pixels 8 mm high.",
    ),
)


# ---- Rayonix and Mar Research

_PIXELS_44 = {1: 44.2708, 2: 88.5417, 3: 132.8125, 4: 177.0833, 5: 221.3542, 6: 265.625, 8: 354.1667, 10: 442.7083}
_PIXELS_39 = {1: 39.0625, 2: 78.125, 3: 117.1875, 4: 156.25, 5: 195.3125, 6: 234.375, 8: 312.5, 10: 390.625}
_PIXELS_36 = {1: 36.621, 2: 73.242, 3: 109.971, 4: 146.484, 8: 292.969}
_PIXELS_15 = {1: 15.625, 2: 31.25, 3: 46.875, 4: 62.5, 5: 78.125, 6: 93.75, 8: 125.0, 10: 156.25}


def _rayonix(
    name: str,
    shape: tuple[int, int],
    pixels: dict[int, float],
    *aliases: str,
    binning: int = 1,
    shapes: dict[int, tuple[int, int]] | None = None,
    round_plate: bool = False,
) -> DetectorModel:
    """Return a CCD behind a phosphor; pixel sizes in µm by binning."""
    shape_by_factor = {factor: (shape[0] // factor, shape[1] // factor) for factor in pixels} | (shapes or {})
    return DetectorModel(
        name,
        shape,
        _metres(pixels[1]),
        _metres(pixels[1]),
        "Rayonix",
        default_binning=binning,
        readouts=tuple(Readout(shape_by_factor[factor], _metres(pixel)) for factor, pixel in pixels.items()),
        sensors=_sensors("Gd2O2S", 40),
        aliases=aliases,
        layout=RoundPlate() if round_plate else None,
    )


_RAYONIX = (
    _rayonix(
        "Rayonix133", (4096, 4096), {1: 32.0, 2: 64.0, 4: 128.0, 8: 256.0}, "MAR 133", binning=2, round_plate=True
    ),
    _rayonix(
        "RayonixSx165",
        (4096, 4096),
        {1: 39.5, 2: 79.0, 3: 118.616, 4: 158.0, 8: 316.0},
        "MAR 165",
        shapes={3: (1364, 1364)},
        round_plate=True,
    ),
    _rayonix("RayonixSx200", (4096, 4096), {1: 48.0, 2: 96.0, 3: 144.0, 4: 192.0, 8: 384.0}),
    _rayonix("RayonixLx170", (1920, 3840), _PIXELS_44, "Rayonix LX170 HS"),
    _rayonix("RayonixMx170", (3840, 3840), _PIXELS_44, "Rayonix MX170 HS"),
    # pyFAI spells the last one so; there is no LX225.
    _rayonix("RayonixLx255", (1920, 5760), _PIXELS_44, "Rayonix LX255 HS", "Rayonix LX225 HS"),
    _rayonix("RayonixMx225", (6144, 6144), _PIXELS_36, "MAR 225", binning=2),
    _rayonix("RayonixMx225hs", (5760, 5760), _PIXELS_39, binning=2),
    _rayonix("RayonixMx300", (8192, 8192), _PIXELS_36, "MAR 300", binning=2),
    _rayonix("RayonixMx300hs", (7680, 7680), _PIXELS_39, binning=2),
    _rayonix("RayonixMx325", (8192, 8192), {1: 39.673, 2: 79.346, 3: 119.135, 4: 158.691, 8: 317.383}, binning=2),
    _rayonix("RayonixMx340hs", (7680, 7680), _PIXELS_44, binning=2),
    _rayonix("RayonixMx425hs", (9600, 9600), _PIXELS_44),
    _rayonix("RayonixSx30hs", (1920, 1920), _PIXELS_15),
    _rayonix("RayonixSx85hs", (1920, 1920), _PIXELS_44),
)

_IMAGE_PLATES = (
    DetectorModel(
        "Mar345",
        (3450, 3450),
        100e-6,
        100e-6,
        "Mar Research",
        readouts=(
            *(Readout((size, size), 100e-6) for size in (3450, 3000, 2400, 1800)),
            *(Readout((size, size), 150e-6) for size in (2300, 2000, 1600, 1200)),
        ),
        sensors=_sensors("BaFBr0.85I0.15", 124),
        aliases=("Mar3450",),
        layout=RoundPlate(),
    ),
    DetectorModel(
        "Aarhus",
        (1000, 16000),
        24.893e-6,
        24.893e-6,
        "Aarhus University",
        layout=Bent(0.29989),
        note="Built with a radius of 0.3 m, and of 1.2 m: a geometry file tells it (radius).",
    ),
    DetectorModel(
        "Rapid", (2560, 4700), 100e-6, 100e-6, "Rigaku", aliases=("Rapid II", "R-axis Rapid"), layout=Bent(0.12726)
    ),
)


# ---- hexagonal pixels

_PITCH = 60e-6


def _pixirad(count: int) -> DetectorModel:
    return DetectorModel(
        f"Pixirad{count}",
        (476, 512 * count),
        _PITCH * 3**0.5 / 2,
        _PITCH,
        "Pixirad",
        modules=stacked((476, 512 * count), (476, 512)),
        layout=Hexagonal(),
    )


# ---- chips whose pixels at the edges are wider

_XPAD_CHIP, _XPAD_PIXEL = (120, 80), 130e-6
_XPAD_NOTE = "Pixels at the edges of chips are 2.5 times as wide, and masked with the outermost ones."


def _xpad(name: str, shape: tuple[int, int], chip: tuple[int, int], layout: WiderEdges, *aliases: str) -> DetectorModel:
    return DetectorModel(
        name,
        shape,
        _XPAD_PIXEL,
        _XPAD_PIXEL,
        "imXPAD",
        gap_rows=chip_edges(shape[0], chip[0]),
        gap_columns=chip_edges(shape[1], chip[1]),
        modules=stacked(shape, chip),
        aliases=aliases,
        layout=layout,
        note=_XPAD_NOTE,
    )


_BOTH = WiderEdges(_XPAD_CHIP, (2.5, 2.5))
_CIRPAD_EDGES = WiderEdges((80, 120), (2.5, 1.0))

_XPADS = (
    _xpad("ImXPadS10", (120, 80), _XPAD_CHIP, _BOTH),
    _xpad("ImXPadS70", (120, 560), _XPAD_CHIP, _BOTH),
    _xpad("ImXPadS70V", (560, 120), (80, 120), WiderEdges((80, 120), (2.5, 2.5))),
    _xpad("ImXPadS140", (240, 560), _XPAD_CHIP, _BOTH),
    _xpad(
        "Xpad_flat", (960, 560), _XPAD_CHIP, WiderEdges(_XPAD_CHIP, (1.0, 2.5), (3.57e-3, 0.0)), "Xpad S540 flat", "D5"
    ),
    DetectorModel(
        "Cirpad",
        (11200, 120),
        _XPAD_PIXEL,
        _XPAD_PIXEL,
        "imXPAD",
        gap_rows=chip_edges(11200, 80),
        gap_columns=((0, 1), (119, 120)),
        modules=stacked((11200, 120), (560, 120)),
        aliases=("XCirpad",),
        # A module of 560 rows, 3 of which are 2.5 times as high on each side of 6 seams, and a gap of 20.
        layout=Polygon(_CIRPAD_EDGES, 560, (560 + 18 + 20) * _XPAD_PIXEL, 6.74),
        note="Modules on an arc. " + _XPAD_NOTE,
    ),
)

_JUNGFRAU_8M = Chips(
    (256, 256),
    (
        ((1, 259), (607, 866, 1124, 1382)),
        ((69, 328), (1646, 1905, 2163, 2421)),
        ((550, 809), (607, 866, 1124, 1382)),
        ((597, 856, 1114, 1372), (69, 328)),
        ((619, 878), (1646, 1905, 2163, 2421)),
        ((667, 926, 1185, 1442), (2698, 2957)),
        ((1100, 1359), (607, 866, 1124, 1382)),
        ((1169, 1428), (1646, 1905, 2163, 2421)),
        ((1636, 1895, 2153, 2411), (1, 259)),
        ((1650, 1909), (538, 797, 1055, 1313)),
        ((1706, 1965, 2223, 2481), (2629, 2888)),
        ((1719, 1978), (1577, 1836, 2094, 2352)),
        ((2200, 2459), (538, 797, 1055, 1313)),
        ((2269, 2528), (1577, 1836, 2094, 2352)),
        ((2750, 3009), (538, 797, 1055, 1313)),
        ((2819, 3078), (1577, 1836, 2094, 2352)),
    ),
)
_CORRECTED_MODULE = (514, 1030)

_JUNGFRAUS = (
    DetectorModel(
        "Jungfrau",
        (512, 1024),
        75e-6,
        75e-6,
        "PSI",
        modules=(Module((0, 512), (0, 1024)),),
        sensors=_SI_JUNGFRAU,
        aliases=("Jungfrau 500k",),
        layout=WiderEdges((256, 256), (2.0, 2.0)),
        note="One module as it is read out: pixels where two chips meet are twice as wide.",
    ),
    DetectorModel(
        "Jungfrau8M",
        (3333, 3212),
        75e-6,
        75e-6,
        "PSI",
        modules=_JUNGFRAU_8M.module_spans(),
        sensors=_SI_JUNGFRAU,
        layout=_JUNGFRAU_8M,
    ),
    DetectorModel(
        "Jungfrau_16M_cor",
        (32 * 514, 1030),
        75e-6,
        75e-6,
        "PSI",
        gap_rows=tuple((255 + top, 259 + top) for top in range(0, 32 * 514, 514)),
        gap_columns=((255, 259), (513, 517), (771, 775)),
        modules=stacked((32 * 514, 1030), _CORRECTED_MODULE),
        sensors=_SI_JUNGFRAU,
        note="32 modules one on the other as they are stored, not where they are: give a detector file for that.",
    ),
)

MODELS: tuple[DetectorModel, ...] = (
    *(model for family in FAMILIES for model in family.models()),
    *_FLAT_PANELS_AND_CAMERAS,
    *_RAYONIX,
    *_IMAGE_PLATES,
    *(_pixirad(count) for count in (1, 2, 4, 8)),
    *_XPADS,
    *_JUNGFRAUS,
)
