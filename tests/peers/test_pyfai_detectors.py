"""Every detector of pyFAI: names, shapes, pixel sizes, masks pixel by pixel, corners; and who deviates why."""

from __future__ import annotations

import hashlib
import json
from functools import cache

import numpy as np
import pytest

from friedel.instrument import Detector, Geometry
from friedel.instrument.detector_file import corner_table
from friedel.instrument.models import find_model, models
from peer_python import run_peer
from shared_data import shared

pytestmark = pytest.mark.peer

GENERIC = "Detector"
PLACES = 1e-7
"""Places of corners agree to this, in m: pyFAI keeps them as float32."""

ELSEWHERE = {
    "Jungfrau8M": "pyFAI doubles every 256th pixel of the assembled image, where no chip ends; its own table of chips "
    "counts equal pixels of 75 µm",
    "Jungfrau_16M_cor": "pyFAI doubles pixels where one module is stored under another; the image is already corrected",
}
"""Detectors whose pixels are elsewhere, with the reason."""

OTHER_DUMMY = {name: "a pixel without counts is a valid one" for name in models() if name.startswith("Lambda")}
"""Detectors whose value for invalid pixels is another one, with the reason."""

REGISTRY = """
import json
from pyFAI.detectors import ALL_DETECTORS
outputs["aliases"] = np.array(json.dumps({name: kind.__name__ for name, kind in ALL_DETECTORS.items()}))
"""

DESCRIBE = """
import hashlib, json
from pyFAI.detectors import ALL_DETECTORS
found = {}
for kind in set(ALL_DETECTORS.values()):
    name = kind.__name__
    if name == "Detector":
        continue
    detector = kind()
    shape = detector.shape
    mask = detector.calc_mask() if detector.get_mask() is not None else None
    mask = np.zeros(shape, bool) if mask is None else mask != 0
    found[name] = {
        "shape": shape, "pixel": (detector.pixel1, detector.pixel2), "dummy": detector.dummy,
        "delta_dummy": detector.delta_dummy, "masked": int(mask.sum()),
        "mask": hashlib.sha256(np.packbits(mask).tobytes()).hexdigest(),
        "sensors": sorted((item.material.name if hasattr(item.material, "name") else str(item.material), item.thickness)
                          for item in kind.SENSORS),
    }
    i, j = np.meshgrid(np.linspace(0, shape[0] - 1, 37).astype(int), np.linspace(0, shape[1] - 1, 41).astype(int),
                       indexing="ij")
    if detector.uniform_pixel and detector.IS_FLAT:
        p1, p2, _ = detector.calc_cartesian_positions(i.astype(float), j.astype(float), center=False)
        outputs[name] = np.stack([np.zeros_like(p1), p1, p2], axis=-1)[:, :, None, :]
    else:
        outputs[name] = detector.get_pixel_corners()[i, j].astype("f8")
outputs["found"] = np.array(json.dumps(found))
"""


@cache
def theirs() -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    made = run_peer(DESCRIBE)
    return json.loads(str(made.pop("found"))), made


def test_every_name_of_a_detector_is_understood() -> None:
    aliases = json.loads(str(run_peer(REGISTRY)["aliases"]))
    assert len(aliases) > 290
    others = {name: kind for name, kind in aliases.items() if kind != GENERIC and find_model(name).name != kind}
    assert not others


def test_every_detector_has_the_same_pixels_and_mask() -> None:
    found, _ = theirs()
    assert len(found) > 100
    differences = []
    for name, other in found.items():
        ours = Detector.named(name)
        mask = ours.mask()
        digest = hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
        if (
            ours.shape != tuple(other["shape"])
            or not np.allclose((ours.pixel1, ours.pixel2), other["pixel"], rtol=1e-12)
            or digest != other["mask"]
        ):
            differences.append((name, ours.shape, (ours.pixel1, ours.pixel2), int(mask.sum()), other))
    assert not differences


def test_every_corner_is_at_the_same_place() -> None:
    found, places = theirs()
    differences = {}
    for name in found:
        detector = Detector.named(name)
        rows, columns = detector.known_shape()
        i, j = (np.linspace(0, size - 1, count).astype(int) for size, count in ((rows, 37), (columns, 41)))
        taken = [detector.corner_positions(slice(row, row + 1)) for row in i]
        p1, p2, p3 = (None if parts[0] is None else np.concatenate(parts)[:, j] for parts in zip(*taken, strict=True))
        ours = np.stack([np.zeros_like(p1) if p3 is None else p3, p1, p2], axis=-1)
        other = places[name]
        if other.shape[2] == 1:
            ours = ours[:, :, :1]
        elif other.shape[2] == 6:  # from the corner above round the other way
            ours = np.roll(ours[:, :, ::-1], 1, axis=2)
        worst = float(np.abs(ours - other).max())
        if worst > PLACES:
            differences[name] = worst
    assert set(differences) == set(ELSEWHERE), differences


def test_every_detector_has_the_same_invalid_value_and_sensors() -> None:
    found, _ = theirs()
    differences = {}
    for name, other in found.items():
        model = models()[name]
        if (model.dummy, model.delta_dummy) != (other["dummy"], other["delta_dummy"] or 0.0):
            differences[name] = (model.dummy, other["dummy"])
        sold = sorted((material, thickness) for material, thickness in other["sensors"])
        assert [material for material, _ in sorted(model.sensors)] == [material for material, _ in sold], name
        np.testing.assert_allclose([t for _, t in sorted(model.sensors)], [t for _, t in sold], err_msg=name)
    assert set(differences) == set(OTHER_DUMMY), differences


THEIR_FILES = """
import json
from pyFAI.detectors import NexusDetector, detector_factory
for name in json.loads(str(inputs["names"])):
    detector = detector_factory(name)
    detector.save(str(inputs["folder"]) + f"/{name}.h5")
for name in json.loads(str(inputs["written"])):
    detector = NexusDetector(str(inputs["folder"]) + f"/ours_{name}.h5")
    outputs[name + ".mask"] = np.asarray(detector.mask) != 0 if detector.mask is not None else np.zeros(1)
    outputs[name + ".corners"] = detector.get_pixel_corners()
    outputs[name + ".numbers"] = np.array([*detector.shape, detector.pixel1, detector.pixel2, detector.CORNERS])
"""

KINDS = ("Pixirad1", "ImXPadS140", "Xpad_flat", "Maxipix2x2", "Pilatus100k", "Jungfrau")


def test_detector_files_go_both_ways(tmp_path) -> None:
    detectors = {name: Detector.named(name) for name in KINDS}
    detectors["bent"] = Detector.cylindrical((40, 300), 1e-4, 1e-4, 0.02)
    for name, detector in detectors.items():
        detector.save(tmp_path / f"ours_{name}.h5")
    folder = np.array(str(tmp_path))
    made = run_peer(THEIR_FILES, names=json.dumps(KINDS), written=json.dumps(list(detectors)), folder=folder)
    for name, detector in detectors.items():
        expected = corner_table(detector)
        np.testing.assert_allclose(made[name + ".corners"], expected, atol=PLACES, err_msg=name)
        assert np.array_equal(np.broadcast_to(made[name + ".mask"], detector.shape), detector.mask()), name
        numbers = [*detector.known_shape(), detector.pixel1, detector.pixel2, detector.n_corners]
        np.testing.assert_allclose(made[name + ".numbers"], numbers, err_msg=name)
    for name in KINDS:
        theirs_read = Detector.load(tmp_path / f"{name}.h5")
        ours = corner_table(detectors[name])
        other = corner_table(theirs_read)
        if theirs_read.n_corners == 6:
            other = np.roll(other[:, :, ::-1], 1, axis=2)
        np.testing.assert_allclose(other, ours, atol=PLACES, err_msg=name)
        assert np.array_equal(theirs_read.mask(), detectors[name].mask()), name


TAPER = """
import pyFAI
from pyFAI.detectors import FReLoN
from pyFAI.geometry import Geometry
detector = FReLoN(str(inputs["spline"]))
Geometry(0.1, 0.05, 0.04, detector=detector, wavelength=1e-10).save(str(inputs["folder"]) + "/theirs.poni")
ai = pyFAI.load(str(inputs["folder"]) + "/ours.poni")
outputs["masked"] = detector.calc_mask() != 0
outputs["name"] = np.array(type(ai.detector).__name__)
outputs["2th"] = ai.center_array(detector.shape, "2th_rad")
"""


def test_the_taper_of_a_frelon_masks_its_rim(tmp_path) -> None:
    spline = shared("diffraction", "spline", "frelon21_mar16.spline")
    text = f'poni_version: 2.1\nDetector: FReLoN\nDetector_config: {{"splineFile": "{spline}"}}\n'
    place = "Distance: 0.1\nPoni1: 0.05\nPoni2: 0.04\nWavelength: 1e-10\n"
    (tmp_path / "given.poni").write_text(text + place)
    ours = Geometry.load(tmp_path / "given.poni")
    ours.save(tmp_path / "ours.poni")
    made = run_peer(TAPER, spline=np.array(str(spline)), folder=np.array(str(tmp_path)))
    assert ours.detector.name == "FReLoN" == str(made["name"])
    assert ours.detector.mask().sum() > 70_000
    # The displacement of theirs is in single precision: a pixel at the border may fall to either side.
    assert (ours.detector.mask() != made["masked"]).sum() < 5
    np.testing.assert_allclose(ours.center_array("2th_rad"), made["2th"], atol=1e-6)
    assert Geometry.load(tmp_path / "theirs.poni") == ours == Geometry.load(tmp_path / "ours.poni")
