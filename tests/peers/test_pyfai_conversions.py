"""Geometries in the terms of other programs, against pyFAI's conversions."""

import json

import numpy as np
import pytest

from friedel.instrument import Detector, Fit2D, Geometry
from friedel.instrument.geometry_formats import Given, read_geometry, write_geometry
from friedel.instrument.geometry_formats.entries import Entries
from peer_python import run_peer
from shared_data import shared

pytestmark = pytest.mark.peer

SHAPE = (61, 83)
PIXELS = (172e-6, 100e-6)
SAMPLES = ("CeO2_Pilatus1M_2.poni", "LaB6_40keV_MarCCD.poni", "transfer.poni")
IMAGED11 = (
    "distance",
    "tilt_x",
    "tilt_y",
    "tilt_z",
    "y_center",
    "y_size",
    "z_center",
    "z_size",
    "o11",
    "o22",
    "wavelength",
)
FIELDS = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3")


def places() -> np.ndarray:
    """Return (distance, poni1, poni2, rot1, rot2, rot3) of 15 geometries, tilted up to 60 degrees."""
    random = np.random.default_rng(4)
    wide = [random.uniform(0.05, 2.0, 15), *random.uniform(-0.2, 0.2, (2, 15)), *random.uniform(-1.05, 1.05, (3, 15))]
    return np.stack(wide, axis=1)


def samples() -> np.ndarray:
    """Return the same of shared PONI files."""
    found = [Geometry.load(shared("diffraction", "poni_samples", name)) for name in SAMPLES]
    return np.array([[getattr(one, field) for field in FIELDS] for one in found])


THEIRS = """
from pyFAI.detectors import Detector
from pyFAI.geometry import Geometry
def fields(one):
    return np.array([one.dist, one.poni1, one.poni2, one.rot1, one.rot2, one.rot3])
for n, place in enumerate(inputs["places"]):
    for orientation in (1, 2, 3, 4):
        detector = Detector(*inputs["pixels"], max_shape=tuple(inputs["shape"]), orientation=orientation)
        own = Geometry(*place, detector=detector, wavelength=7e-11)
        parameters = own.getImageD11(wavelength_unit="A")
        key = f"{n}.{orientation}.imaged11"
        outputs[key] = np.array([parameters[str(name)] for name in inputs["imaged11"]], float)
        back = Geometry().setImageD11(dict(parameters), wavelength_unit="A")
        outputs[key + ".back"] = fields(back)
    terms = own.getFit2D()
    names = ["directDist", "centerX", "centerY", "tilt", "tiltPlanRotation", "pixelX", "pixelY", "wavelength"]
    outputs[f"{n}.fit2d"] = np.array([terms[name] for name in names], float)
    back = Geometry(detector=detector).setFit2D(*outputs[f"{n}.fit2d"][:5], detector=detector)
    outputs[f"{n}.fit2d.back"] = fields(back)
    header = own.getSPD()
    names = ["PSize_1", "PSize_2", "Center_1", "Center_2", "SampleDistance", "WaveLength"]
    outputs[f"{n}.spd"] = np.array([header[name] for name in names], float)
    cxi = own.getCXI()["detector_1"]["geometry_1"]
    outputs[f"{n}.cxi"] = np.array([*cxi["translation"], *cxi["orientation"]], float)
"""


@pytest.fixture(scope="module")
def all_places():
    return np.concatenate([places(), samples()])


@pytest.fixture(scope="module")
def theirs(all_places):
    return run_peer(
        THEIRS, places=all_places, pixels=np.array(PIXELS), shape=np.array(SHAPE), imaged11=np.array(IMAGED11)
    )


def geometry_at(place, orientation=3):
    return Geometry(Detector.from_shape(SHAPE, *PIXELS, orientation=orientation), *place, wavelength=7e-11)


def close(ours, reference):
    np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-9)


def test_fit2d_there_and_back(all_places, theirs, tmp_path):
    for n, place in enumerate(all_places):
        write_geometry(tmp_path / "file", geometry_at(place), "fit2d")
        entries = Entries.parse("file", (tmp_path / "file").read_text())
        names = ["directDist", "centerX", "centerY", "tilt", "tiltPlanRotation", "pixelX", "pixelY", "wavelength"]
        close([entries.number(name) for name in names], theirs[f"{n}.fit2d"])
        found = Fit2D(*theirs[f"{n}.fit2d"][:5]).to_geometry(geometry_at(place).detector)
        # Theirs is an arc cosine: at small angles it has half the digits.
        reference = theirs[f"{n}.fit2d.back"]
        ours = np.array([getattr(found, field) for field in FIELDS])
        np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-7)
        close(ours[:3], reference[:3])


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_imaged11_there_and_back(all_places, theirs, tmp_path, orientation):
    for n, place in enumerate(all_places):
        geometry = geometry_at(place, orientation)
        write_geometry(tmp_path / "file", geometry, "imaged11")
        entries = Entries.parse("file", (tmp_path / "file").read_text(), separator=r"\s")
        close([entries.number(name) for name in IMAGED11], theirs[f"{n}.{orientation}.imaged11"])
        found = read_geometry(tmp_path / "file", Given(geometry.detector)).geometry
        close([getattr(found, field) for field in FIELDS], theirs[f"{n}.{orientation}.imaged11.back"])


def test_spd(all_places, theirs, tmp_path):
    # pyFAI has no rotations here; what it has is the same.
    for n, place in enumerate(all_places):
        write_geometry(tmp_path / "file", geometry_at(place), "spd")
        entries = Entries.parse("file", (tmp_path / "file").read_text(), separator="=")
        names = ["PSize_1", "PSize_2", "Center_1", "Center_2", "SampleDistance", "WaveLength"]
        close([entries.number(name) for name in names], theirs[f"{n}.spd"])


def test_cxi(all_places, theirs, tmp_path):
    import h5py

    for n, place in enumerate(all_places):
        write_geometry(tmp_path / "file.cxi", geometry_at(place), "cxi")
        with h5py.File(tmp_path / "file.cxi") as file:
            group = file["entry_1/instrument_1/detector_1/geometry_1"]
            close([*group["translation"][()], *group["orientation"][()]], theirs[f"{n}.cxi"])


CXI_BACK = """
from pyFAI.geometry import Geometry
for n, (translation, orientation) in enumerate(zip(inputs["translations"], inputs["orientations"])):
    own = Geometry()
    own.setCXI({"detector_1": {"x_pixel_size": inputs["pixels"][1], "y_pixel_size": inputs["pixels"][0],
        "geometry_1": {"translation": translation, "orientation": orientation}}})
    outputs[str(n)] = np.array([own.dist, own.poni1, own.poni2, own.rot1, own.rot2, own.rot3])
"""


def test_cxi_of_ours_read_by_pyfai(all_places, tmp_path):
    import h5py

    translations, orientations = [], []
    for place in all_places:
        write_geometry(tmp_path / "file.cxi", geometry_at(place), "cxi")
        with h5py.File(tmp_path / "file.cxi") as file:
            group = file["entry_1/instrument_1/detector_1/geometry_1"]
            translations.append(group["translation"][()])
            orientations.append(group["orientation"][()])
    found = run_peer(CXI_BACK, translations=translations, orientations=orientations, pixels=np.array(PIXELS))
    for n, place in enumerate(all_places):
        close(found[str(n)], place)


CRYSTFEL = """
import json
from pyFAI.geometry.crystfel import parse_crystfel_geom, build_geometry
for n, path in enumerate(json.loads(str(inputs["paths"]))):
    own = build_geometry(parse_crystfel_geom(path))
    outputs[f"{n}.place"] = np.array([own.dist, own.poni1, own.poni2, own.wavelength])
    outputs[f"{n}.mask"] = np.asarray(own.detector.mask)
    outputs[f"{n}.angles"] = own.center_array(unit="2th_rad")
    outputs[f"{n}.azimuths"] = own.center_array(unit="chi_rad")
"""


def test_crystfel_of_ours_read_by_pyfai(tmp_path):
    # Upright detectors: it reads neither z of the vectors nor coffset, and square pixels only.
    random = np.random.default_rng(2)
    made, paths = [], []
    for n in range(4):
        detector = Detector.named("Pilatus300k")
        made.append(Geometry(detector, random.uniform(0.1, 1.0), *random.uniform(0.0, 0.1, 2), wavelength=5e-11))
        paths.append(str(tmp_path / f"{n}.geom"))
        write_geometry(paths[-1], made[-1], "crystfel")
    found = run_peer(CRYSTFEL, paths=json.dumps(paths))
    for n, geometry in enumerate(made):
        assert np.array_equal(found[f"{n}.mask"] != 0, geometry.detector.mask())
        valid = ~geometry.detector.mask()
        close(found[f"{n}.place"][[0, 3]], [geometry.distance, geometry.wavelength])
        # Its corners have 32 bits.
        angles = geometry.center_array("2th_rad")
        np.testing.assert_allclose(found[f"{n}.angles"][valid], angles[valid], rtol=0, atol=2e-7)
        azimuths = np.exp(1j * found[f"{n}.azimuths"][valid])
        far = angles[valid] > 0.01
        np.testing.assert_allclose(azimuths[far], np.exp(1j * geometry.azimuth_center()[valid])[far], rtol=0, atol=1e-4)


SAMPLES_OF_IMAGED11 = """
import json
from pyFAI.geometry import Geometry
for name, path in json.loads(str(inputs["paths"])).items():
    lines = dict(line.split() for line in open(path) if len(line.split()) == 2)
    values = {str(key): float(lines[key]) for key in [*inputs["imaged11"], "o12", "o21"]}
    one = Geometry().setImageD11(values | {"shape": (2167, 2070)}, wavelength_unit="A")
    outputs[name] = np.array([one.dist, one.poni1, one.poni2, one.rot1, one.rot2, one.rot3, one.wavelength * 1e10])
"""


def test_imaged11_samples_read_alike():
    names = ["CeO2.par", "eiger_example_geometry.par"]
    paths = {name: str(shared("diffraction", "poni_samples", name)) for name in names}
    reference = run_peer(SAMPLES_OF_IMAGED11, paths=json.dumps(paths), imaged11=np.array(IMAGED11))
    for name, path in paths.items():
        found = read_geometry(path, Given(shape=(2167, 2070))).geometry
        close([*(getattr(found, field) for field in FIELDS), found.wavelength * 1e10], reference[name])
