import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from friedel.core.errors import ParameterError
from friedel.core.formula import FUNCTIONS, Formula


def value(text: str, **values: ArrayLike) -> NDArray[np.float64]:
    result = Formula(text).evaluate(values, np)
    assert isinstance(result, np.ndarray)
    return result


numbers = st.floats(-1e3, 1e3)


@given(scale=numbers, offset=numbers, position=numbers)
def test_it_says_what_python_says(scale: float, offset: float, position: float) -> None:
    found = value("scale * pos**2 - offset / 3 + -pos % 7 // 2", scale=scale, offset=offset, pos=position)
    expected = scale * position**2 - offset / 3 + -position % 7 // 2
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_arrays_are_broadcast() -> None:
    found = value("y * 10 + x", y=np.arange(3)[:, None], x=np.arange(2))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[0, 1], [10, 11], [20, 21]])


def test_a_constant_is_a_number() -> None:
    assert value("2 * pi").shape == ()
    assert Formula("2 * pi").variables == frozenset()


def test_a_value_goes_before_a_constant() -> None:
    assert value("2 * pi", pi=3.0) == 6.0


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_each_function_takes_arrays(name: str) -> None:
    text = f"{name}({', '.join(['x'] * FUNCTIONS[name])})"
    assert value(text, x=np.array([0.25, 0.5])).shape == (2,)


def test_conditions() -> None:
    x = np.arange(5.0)
    np.testing.assert_array_equal(value("where(1 < x <= 3, x, -1)", x=x), [-1, -1, 2, 3, -1])
    np.testing.assert_array_equal(value("where((x < 1) | ~(x < 4), 1, 0)", x=x), [1, 0, 0, 0, 1])


def test_what_has_no_value_is_not_finite() -> None:
    assert np.isnan(value("log(-1)"))
    assert np.isinf(value("1 / x", x=0.0))


def test_huge_powers_are_infinite_at_once() -> None:
    assert np.isinf(value("9**9**9**9"))


def test_it_can_be_pickled() -> None:
    formula = pickle.loads(pickle.dumps(Formula("sin(q)", names=("q",))))  # noqa: S301
    assert formula == Formula("sin(q)", names=("q",))
    assert formula.evaluate({"q": 0.5}, np) == np.sin(0.5)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "q.real",
        "q[0]",
        "[q for q in q]",
        "lambda: 1",
        "(q := 2)",
        "'a' * 9",
        "f'{q}'",
        "open(q)",
        "sin.__class__(q)",
        "sin(*q)",
        "sin(x=q)",
        "q if q else 1",
        "True",
        "1j",
        "q @ q",
        "q << 2",
        "...",
        "None",
        "{q: q}",
        "(q, q)",
        "sin",
        "q\0",
        "import os",
        "q; q",
        "",
        "(" * 300,
        "-" * 300 + "q",
        "1e400",
        "9" * 500,
        "q + " * 500 + "q",
    ],
)
def test_anything_but_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        Formula(text)


def test_the_message_says_where() -> None:
    with pytest.raises(ParameterError, match=r"'qq' at character 5 is not known.\nDid you mean q\?"):
        Formula("2 * qq", names=("q", "r"))
    with pytest.raises(ParameterError, match=r"'b.c' at character 7"):
        Formula("θ + a*b.c".replace("a*", "1*"))
    with pytest.raises(ParameterError, match="cannot be read at character"):
        Formula("2 * * q")
    with pytest.raises(ParameterError, match=r"wrong arguments.\narctan2 takes 2"):
        Formula("arctan2(q)")


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ParameterError, match="needs a value of r"):
        value("q * r", q=1.0)


def test_shapes_that_do_not_go_together_are_named() -> None:
    with pytest.raises(ParameterError, match=r"q \(2,\), r \(3,\)"):
        value("q * r", q=np.ones(2), r=np.ones(3))
