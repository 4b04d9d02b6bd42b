"""The layouts for other programs, read back by those programs: pyFAI and silx."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import friedel
from friedel.instrument import Detector, Geometry
from peer_python import run_peer

pytestmark = pytest.mark.peer

SHAPE = (80, 70)

CODE = """
import json
from pathlib import Path
import h5py, silx.io, silx.io.nxdata
from pyFAI.io.integration_config import WorkerConfig
from pyFAI.io.nexus import load_nexus
from pyFAI.worker import Worker
folder = Path(str(inputs["folder"]))
for name in ("nxmonopd", "nxcansas"):
    result = load_nexus(folder / f"{name}.h5")
    for key in ("radial", "intensity", "sigma", "sum_signal", "sum_normalization", "sum_normalization2", "count"):
        outputs[f"{name}.{key}"] = getattr(result, key)
    outputs[f"{name}.unit"] = np.array(str(result.unit))
    outputs[f"{name}.distance"] = result.poni.dist
    outputs[f"{name}.factor"] = result.normalization_factor
for name in ("pyfai", "cakes", "nxmonopd", "nxcansas", "nxazint1d"):
    with silx.io.open(str(folder / f"{name}.h5")) as file:
        shown = silx.io.nxdata.get_default(file)
        outputs[f"{name}.shown"] = shown.signal[()]
        outputs[f"{name}.axis"] = shown.axes[-1][()]
        outputs[f"{name}.path"] = np.array(shown.group.name)
with h5py.File(folder / "pyfai.h5") as file:
    config = json.loads(file["entry_0000/integrate/configuration/data"][()])
worker = Worker()
worker.set_config(WorkerConfig.from_dict(config))
worker.output = "raw"
frame = np.load(folder / "frames.npy")[0]
worker.reconfig(frame.shape, sync=True)
outputs["repeated"] = worker.process(frame).intensity
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("layouts")
    Geometry(Detector.from_shape(SHAPE, 2e-4), 0.1, 0.004, 0.005, 0.1, wavelength=1e-10).save(made / "setup.poni")
    np.save(made / "frames.npy", np.random.default_rng(3).poisson(40, (3, *SHAPE)).astype(np.int32))
    common = {
        "geometry": made / "setup.poni",
        "npt": 30,
        "unit": "q_A^-1",
        "error_model": "poisson",
        "normalization_factor": 2.0,
        "radial_range": (0.3, 1.2),
        "empty": 0.0,
    }
    for layout in ("friedel", "pyfai", "nxmonopd", "nxcansas", "nxazint1d"):
        friedel.integrate1d(made / "frames.npy", format=layout, output=made / f"{layout}.h5", **common)
    friedel.integrate2d(made / "frames.npy", format="pyfai", npt_azimuth=9, output=made / "cakes.h5", **common)
    return made


@pytest.fixture(scope="module")
def read_back(folder) -> dict[str, np.ndarray]:
    return run_peer(CODE, folder=str(folder))


@pytest.mark.parametrize("name", ["nxmonopd", "nxcansas"])
def test_pyfai_reads_the_application_definitions(name, folder, read_back) -> None:
    ours = friedel.open(folder / "friedel.h5")
    # pyFAI gives the newest entry, and of those of one second the first.
    found = read_back[f"{name}.intensity"]
    number = int(np.argmin([np.abs(found - pattern).sum() for pattern in ours.intensity.values]))
    np.testing.assert_array_equal(found, ours.intensity[number])
    np.testing.assert_array_equal(read_back[f"{name}.sigma"], ours.intensity_errors[number])
    np.testing.assert_array_equal(read_back[f"{name}.radial"], ours.radial)
    assert str(read_back[f"{name}.unit"]) == "q_A^-1"
    assert read_back[f"{name}.distance"] == 0.1
    assert read_back[f"{name}.factor"] == 2.0
    ratio = read_back[f"{name}.sum_signal"] / read_back[f"{name}.sum_normalization"]
    np.testing.assert_allclose(ratio, found, rtol=1e-6)


@pytest.mark.parametrize("name", ["pyfai", "cakes", "nxmonopd", "nxcansas", "nxazint1d"])
def test_silx_shows_the_data_by_default(name, folder, read_back) -> None:
    assert str(read_back[f"{name}.path"]).startswith("/entry_0000/")
    ours = friedel.open(folder / f"{name}.h5")
    expected = ours.intensity[0] if name in ("nxmonopd", "nxcansas") else ours.intensity
    np.testing.assert_array_equal(read_back[f"{name}.shown"], expected)
    np.testing.assert_array_equal(read_back[f"{name}.axis"], ours.radial)


def test_pyfai_repeats_it_from_the_configuration_in_the_file(folder, read_back) -> None:
    ours = friedel.open(folder / "friedel.h5").intensity[0]
    np.testing.assert_allclose(read_back["repeated"][1:-1], ours[1:-1], rtol=1e-5)
