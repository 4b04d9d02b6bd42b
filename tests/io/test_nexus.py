"""What is written as NeXus is found again, and any HDF5 browser plots it."""

from __future__ import annotations

import errno
import string
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from friedel.core.errors import DataError, FileError, OutputError
from friedel.core.provenance import Provenance
from friedel.data import coordinate, radial_coordinate
from friedel.io import open_dataset, read_provenance, variable_path, write_dataset
from shared_data import shared

DIMS = ("frame", "radial", "azimuth", "layer")
NAMES = st.text(string.ascii_letters + string.digits + "_ -+.()", min_size=1, max_size=12).filter(
    lambda name: (
        not name.strip(".").startswith("process_") and name.strip(".") and not name.endswith(("_errors", "_indices"))
    )
)
TYPES = st.sampled_from([np.dtype(kind) for kind in ("f4", "f8", "i4", "i8", "u2", "bool", "c8")])
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["units", "long_name", "note", "colours"]),
    st.one_of(
        st.text(max_size=8).filter(lambda t: "\0" not in t and not t.startswith("json:")),
        st.integers(-5, 5),
        st.floats(-1, 1),
        st.lists(st.integers(0, 9), max_size=3),
    ),
    max_size=3,
)


@st.composite
def datasets(draw) -> xr.Dataset:
    sizes = {dim: draw(st.integers(1, 4)) for dim in DIMS}

    def variable(dims):
        dtype = draw(TYPES)
        values = draw(hnp.arrays(dtype, tuple(sizes[dim] for dim in dims)))
        return xr.Variable(dims, values, draw(ATTRIBUTES))

    some_dims = st.lists(st.sampled_from(DIMS), unique=True, max_size=3).map(tuple)
    names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=6))
    split = draw(st.integers(1, len(names)))
    data = {name: variable(draw(some_dims)) for name in names[:split] if name not in (*DIMS, "coordinates")}
    data |= {f"{name}_errors": item.copy() for name, item in list(data.items()) if draw(st.booleans())}
    coords = {name: variable(draw(some_dims)) for name in names[split:] if name not in (*DIMS, "coordinates")}
    for dim in DIMS:
        if draw(st.booleans()):
            coords[dim] = coordinate(dim, np.arange(sizes[dim]) * 0.5, "mm")
    if draw(st.booleans()):
        coords["phase_name"] = ("frame", np.array(["α", "", "long name", "d"])[: sizes["frame"]])
    return xr.Dataset(data, coords, draw(ATTRIBUTES))


def test_a_signal_called_errors_has_none(tmp_path):
    dataset = xr.Dataset({"errors": ((), np.float32(0))})
    write_dataset(tmp_path / "errors.h5", dataset)
    assert list(open_dataset(tmp_path / "errors.h5").load()) == ["errors"]


@settings(max_examples=120, deadline=None)
@given(dataset=datasets())
def test_round_trip(dataset, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round_trip.h5"
    write_dataset(path, dataset)
    if dataset.data_vars:
        found = open_dataset(path).load()
        found.attrs.pop("default")
        xr.testing.assert_identical(found, dataset)


def patterns() -> xr.Dataset:
    record = Provenance.begin("integrate1d", 1, {"npt": 3}, "cpu")
    record = Provenance("xrdct", 2, {"method": "fbp"}, "cpu", "0.1", "2026-01-01", earlier=(record,))
    return xr.Dataset(
        {
            "intensity": (("frame", "radial"), np.arange(6.0).reshape(2, 3), {"units": "counts"}),
            "intensity_errors": (("frame", "radial"), np.ones((2, 3))),
            "mean": ("radial", np.arange(3.0)),
        },
        {
            "radial": radial_coordinate([1.0, 2.0, 3.0], "q_nm^-1"),
            "dty": coordinate("frame", [0.5, 0.6], "mm"),
            "time": ("frame", np.array(["2026-01-01", "2026-01-02"], "datetime64[ns]")),
        },
        {"default": "mean", "provenance": record.to_json(), "title": "Two patterns", "settings": {"a": [1, 2]}},
    )


def test_browsers_are_led_to_a_plot(tmp_path):
    write_dataset(tmp_path / "a.h5", patterns())
    with h5py.File(tmp_path / "a.h5") as file:
        entry = file[file.attrs["default"]]
        assert entry.attrs["NX_class"] == "NXentry"
        group = entry[entry.attrs["default"]]
        assert group.name == "/entry/mean"
        group = entry["intensity"]
        assert group.attrs["NX_class"] == "NXdata"
        assert group.attrs["signal"] == "intensity"
        assert group.attrs["axes"].tolist() == [".", "radial"]
        assert group.attrs["radial_indices"].tolist() == [1]
        assert group.attrs["dty_indices"].tolist() == [0]
        assert group["intensity_errors"].shape == group["intensity"].shape
        assert group["intensity"].attrs["units"] == "counts"
        assert group["intensity"].attrs["interpretation"] == "spectrum"
        assert group["radial"].attrs["units"] == "1/nm"
        assert group["radial"].attrs["long_name"] == "Scattering vector q"
        assert group["radial"] == entry["mean/radial"], "stored once"
        assert entry["title"].asstr()[()] == "Two patterns"


def test_each_execution_is_a_process(tmp_path):
    dataset = patterns()
    write_dataset(tmp_path / "a.h5", dataset)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["entry/process_1/task"].asstr()[()] == "integrate1d"
        assert file["entry/process_2/task"].asstr()[()] == "xrdct"
        assert file["entry/process_2"].attrs["NX_class"] == "NXprocess"
        assert '"method": "fbp"' in file["entry/process_2/parameters/data"].asstr()[()]
    found = open_dataset(tmp_path / "a.h5")
    assert found.attrs == dataset.attrs
    assert read_provenance(tmp_path / "a.h5") == (Provenance.from_json(dataset.attrs["provenance"]),)


def test_reading_is_lazy_and_cheap_to_index(tmp_path):
    write_dataset(tmp_path / "a.h5", patterns())
    found = open_dataset(tmp_path / "a.h5")
    assert not found.intensity._in_memory
    assert found.intensity[1, ::-1].values.tolist() == [5, 4, 3]
    assert found.intensity[:, [2, 0]].values.tolist() == [[2, 0], [5, 3]]
    assert found.intensity[-1:, 1].values.tolist() == [4]


def test_a_lazy_dataset_is_copied_in_slabs(tmp_path, monkeypatch):
    monkeypatch.setattr("friedel.io.nexus.SLAB_BYTES", 24)
    dataset = patterns()
    write_dataset(tmp_path / "a.h5", dataset)
    write_dataset(tmp_path / "b.h5", open_dataset(tmp_path / "a.h5"))
    xr.testing.assert_identical(open_dataset(tmp_path / "b.h5").load(), dataset)


def test_streamed_values_only_get_their_axes(tmp_path):
    dataset = patterns()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[variable_path("intensity")] = np.full((2, 3), 7.0)
        file[variable_path("intensity_errors")] = np.full((2, 3), 8.0)
        write_dataset(file, dataset, existing=("intensity", "intensity_errors"))
    found = open_dataset(tmp_path / "a.h5")
    assert (found.intensity == 7).all()
    assert (found.intensity_errors == 8).all()
    assert found.intensity.attrs == {"units": "counts"}
    assert found.radial.values.tolist() == [1, 2, 3]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file[variable_path("intensity")] = np.zeros((2, 4))
        with pytest.raises(DataError, match=r"should hold \(2, 3\), it holds \(2, 4\)"):
            write_dataset(file, dataset, existing=("intensity",))


def test_foreign_nexus_files_open_too():
    found = open_dataset(shared("tomography", "example_nxxrdct.nxs"))
    assert found.intensity.shape == (181, 8, 8)
    stxm = open_dataset(shared("tomography", "savu_mm.nxs"), "entry1/stxm_entry")
    assert stxm["data"].dims == ("theta", "y", "x")
    assert stxm.theta.attrs["units"] == "degree"


class TestBadInput:
    def test_a_failed_write_leaves_the_old_file_alone(self, tmp_path):
        path = tmp_path / "a.h5"
        write_dataset(path, patterns())
        with pytest.raises(DataError, match="cannot be stored"):
            write_dataset(path, patterns().assign_attrs(bad=object()))
        assert list(tmp_path.iterdir()) == [path]
        assert open_dataset(path).attrs["title"] == "Two patterns"
        with pytest.raises(OutputError, match="exists already"):
            write_dataset(path, patterns(), overwrite=False)

    def test_no_folder(self, tmp_path):
        with pytest.raises(OutputError, match="no folder"):
            write_dataset(tmp_path / "none" / "a.h5", patterns())

    def test_no_nexus(self):
        with pytest.raises(FileError, match="no NXdata"):
            open_dataset(shared("tomography", "Patterns.h5"))

    def test_a_name_that_is_no_group(self, tmp_path):
        with pytest.raises(DataError, match="holds a '/'"):
            write_dataset(tmp_path / "a.h5", xr.Dataset({"a/b": 1}))


def test_a_full_disk_is_said_in_one_sentence(tmp_path, monkeypatch):
    """HDF5 would crash when it closes a file that it could not write."""

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="no space left"):
        write_dataset(tmp_path / "x.h5", xr.Dataset({"a": ("n", np.arange(3.0))}))
    assert not list(tmp_path.iterdir())
