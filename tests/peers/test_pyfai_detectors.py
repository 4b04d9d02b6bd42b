"""Every detector of pyFAI: names, shapes, pixel sizes, masks pixel by pixel, corners; and who deviates why."""

from __future__ import annotations

import hashlib
import json
from functools import cache

import numpy as np
import pytest

from friedel.instrument import Detector
from friedel.instrument.models import find_model, models
from peer_python import run_peer

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
