"""Phantoms: fractions of a volume, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from friedel.core.errors import ParameterError
from friedel.instrument.virtual import capillary


def sample(seed=0, layers=1, packing=None):
    packing = {"a": 0.6, "b": 0.1, "c": 0.3} if packing is None else packing
    return capillary(packing, size=64, layers=layers, pixel_size=0.1, layer_step=0.2, radius=3.0, seed=seed)


@given(st.integers(0, 1000), st.integers(1, 3))
@settings(max_examples=20)
def test_fractions_are_parts_of_a_volume(seed, layers):
    phantom = sample(seed, layers)
    assert phantom.names == ("a", "b", "c", "glass")
    assert phantom.fractions.shape == (4, layers, 64, 64)
    assert (phantom.fractions >= 0).all()
    assert (phantom.fractions.sum(axis=0) <= 1 + 1e-6).all()
    for fraction, packing in zip(phantom.fractions, (0.6, 0.1, 0.3, 1.0), strict=True):
        assert fraction.any()
        assert fraction.max() <= packing + 1e-6
    # Each point belongs to one component, and the sample stays within the capillary.
    assert ((phantom.fractions > 0).sum(axis=0) <= 1).all()
    assert not phantom.fractions[:, :, 0].any()
    assert (phantom.fractions.sum(axis=(0, 1)) == 0).any()


def test_the_seed_makes_the_sample():
    assert np.array_equal(sample(3).fractions, sample(3).fractions)
    assert not np.array_equal(sample(3).fractions, sample(4).fractions)


def test_neighbouring_layers_show_the_same_grains():
    fractions = sample(1, layers=2).fractions[:3]
    assert np.corrcoef(fractions[:, 0].ravel(), fractions[:, 1].ravel())[0, 1] > 0.5


def test_binning_keeps_the_amount():
    phantom = sample(2)
    binned = phantom.binned(4)
    assert binned.fractions.shape == (4, 1, 16, 16)
    assert binned.pixel_size == pytest.approx(0.4)
    np.testing.assert_allclose(binned.fractions.mean(axis=(1, 2, 3)), phantom.fractions.mean(axis=(1, 2, 3)), rtol=1e-5)
    with pytest.raises(ParameterError, match="binned by 5"):
        phantom.binned(5)
