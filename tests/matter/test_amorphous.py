"""Glass and air: no rings, the right order of magnitude, atoms far out."""

import numpy as np

from friedel.matter import air, atomic_form_factor, silica_glass

Q = np.linspace(0.1, 200, 4000)


def test_glass_has_its_first_sharp_maximum_at_15_per_nm():
    assert abs(Q[np.argmax(silica_glass(Q))] - 15.2) < 1.0
    assert silica_glass(np.array([0.5]))[0] < 0.1 * silica_glass(np.array([15.2]))[0]


def test_far_out_atoms_scatter_for_themselves():
    s_squared = (Q[-1:] / (40 * np.pi)) ** 2
    squared = atomic_form_factor("Si", s_squared) ** 2 + 2 * atomic_form_factor("O", s_squared) ** 2
    np.testing.assert_allclose(silica_glass(Q[-1:]), 2.818e-15**2 * 2.2e28 * squared, rtol=1e-3)


def test_air_is_a_thousand_times_thinner_than_glass():
    ratio = silica_glass(np.array([40.0])) / air(np.array([40.0]))
    assert 500 < ratio[0] < 5000
    assert (np.diff(air(Q)) < 0).all()
