"""Goniometer files and their refinement against pyFAI."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from calibrant_rings import CERIA, moved, ring_places
from friedel.instrument import Detector, Goniometer
from friedel.techniques.calibration import ControlPoints, refine
from friedel.techniques.calibration.goniometer_model import GoniometerModel, names_in, usual_formulas
from peer_python import run_peer

pytestmark = pytest.mark.peer

FIELDS = ("distance", "poni1", "poni2", "rot1", "rot2", "rot3")
VALUES = {"distance": 0.3, "poni1": 0.045, "poni2": 0.041, "rot1": 0.01, "rot2": -0.02}

READ = """
from pyFAI.goniometer import Goniometer
gonio = Goniometer.sload(str(inputs["path"]))
positions = inputs["positions"]
found = [gonio.get_ai(tuple(row) if len(row) > 1 else row[0]) for row in positions]
outputs["fields"] = np.array([[ai.dist, ai.poni1, ai.poni2, ai.rot1, ai.rot2, ai.rot3] for ai in found])
outputs["wavelength"] = np.array([ai.wavelength for ai in found])
outputs["orientation"] = np.array(int(gonio.detector.orientation))
gonio.save(str(inputs["path"]) + ".theirs")
"""


def goniometer(moves: dict[str, str], slopes: dict[str, float]) -> Goniometer:
    formulas = usual_formulas(moves)
    values = {name: (VALUES | slopes).get(name, 0.0) for name in names_in(formulas, tuple(moves))}
    return Goniometer.of(
        Detector.named("Pilatus300k", orientation=2), formulas, values, tuple(moves), wavelength=0.4e-10
    )


@pytest.mark.parametrize(
    ("moves", "slopes", "positions"),
    [
        ({"nu": "rot1"}, {"rot1_per_nu": math.pi / 180}, [[-10.0], [0.0], [35.0]]),
        ({"delta": "rot2"}, {"rot2_per_delta": -math.pi / 180}, [[0.0], [12.0]]),
        ({"z": "distance"}, {"distance_per_z": 1e-3, "poni1_per_z": 1e-5}, [[0.0], [150.0]]),
        ({"nu": "rot1", "delta": "rot2"}, {"rot1_per_nu": 0.0175, "rot2_per_delta": 0.0174}, [[5.0, 7.0], [1.0, 2.0]]),
    ],
)
def test_pyfai_reads_what_is_written_and_we_read_theirs(
    tmp_path: Path, moves: dict[str, str], slopes: dict[str, float], positions: list[list[float]]
) -> None:
    made = goniometer(moves, slopes)
    path = tmp_path / "gonio.json"
    made.with_values([value for _, value in made.values], np.eye(len(made.values))).save(path)
    theirs = run_peer(READ, path=np.array(str(path)), positions=np.array(positions))
    again = Goniometer.load(str(path) + ".theirs")
    for number, row in enumerate(positions):
        at = dict(zip(made.motors, row, strict=True))
        ours = made.geometry(at)
        np.testing.assert_allclose(theirs["fields"][number], [getattr(ours, name) for name in FIELDS], atol=1e-12)
        assert theirs["wavelength"][number] == ours.wavelength
        back = again.geometry(at)
        for name in FIELDS:
            assert getattr(back, name) == pytest.approx(getattr(ours, name), abs=1e-12), name
        assert back.detector.orientation == 2
    assert theirs["orientation"] == 2


REFINE = """
import json
from pyFAI.goniometer import GoniometerRefinement, GeometryTransformation
from pyFAI.control_points import ControlPoints
from pyFAI.calibrant import Calibrant
table = json.load(open(str(inputs["path"])))
function = table["trans_function"]
function.pop("content")
calibrant = Calibrant(filename=str(inputs["spacings"]), wavelength=table["wavelength"])
class Quiet:
    def write(self, text): pass
    def flush(self): pass
sys.stdout = Quiet()
transformation = GeometryTransformation(**function)
names = table["param_names"]
gonio = GoniometerRefinement(
    dict(zip(names, table["param"])), lambda position: position, transformation, detector="Pilatus300k",
    wavelength=table["wavelength"],
)
for number, position in enumerate(inputs["positions"]):
    chosen = inputs["image"] == number
    points = ControlPoints(calibrant=calibrant, wavelength=table["wavelength"])
    for ring in np.unique(inputs["ring"][chosen]):
        these = chosen & (inputs["ring"] == ring)
        points.append(list(zip(inputs["y"][these] - 0.5, inputs["x"][these] - 0.5)), int(ring))
    gonio.new_geometry(f"image {number}", metadata=position, control_points=points, calibrant=calibrant)
for _ in range(5):
    gonio.refine2("slsqp", maxiter=2000)
gonio.refine2("simplex", maxiter=4000)
gonio.refine2("slsqp", maxiter=2000)
outputs["values"] = np.array(gonio.param)
outputs["chi2"] = np.array(gonio.chi2())
"""


def test_the_same_points_give_the_same_goniometer(tmp_path: Path) -> None:
    truth = goniometer({"nu": "rot1"}, {"rot1_per_nu": math.pi / 180})
    truth = Goniometer.of(
        Detector.named("Pilatus300k"), usual_formulas({"nu": "rot1"}), dict(truth.values), ("nu",), 0.4e-10
    )
    positions = np.array([[0.0], [10.0], [20.0], [30.0]])
    model = GoniometerModel(truth, positions)
    places = [ring_places(geometry, rings=30).of_image(number) for number, geometry in enumerate(model.templates)]
    points = moved(ControlPoints.joined(places), np.random.default_rng(0))
    ours = refine(points, model, CERIA, robust=False)
    CERIA.save(tmp_path / "spacings.D", least=0.3)
    start = truth.with_values(model.start * 1.001)
    start.save(tmp_path / "start.json")
    columns = {name: getattr(points, name) for name in ("y", "x", "ring", "image")}
    theirs = run_peer(
        REFINE,
        path=np.array(str(tmp_path / "start.json")),
        spacings=np.array(str(tmp_path / "spacings.D")),
        positions=positions[:, 0],
        **columns,
    )
    # They minimise angles, here it is pixels: both within the errors of the truth, and of one another.
    for found in (ours.values, theirs["values"]):
        assert np.abs((found - model.start) / ours.errors).max() < 4.0
    assert np.abs((ours.values - theirs["values"]) / ours.errors).max() < 3.0
    table = json.loads((tmp_path / "start.json").read_text())
    assert tuple(table["param_names"]) == ours.names
