import pytest

from friedel.core.errors import ParameterError
from friedel.core.quantities import parse_length


@pytest.mark.parametrize(
    ("text", "metres"), [("450um", 450e-6), ("0.75 mm", 0.75e-3), ("3.2e-4", 3.2e-4), ("2 cm", 0.02), ("5µm", 5e-6)]
)
def test_lengths(text, metres):
    assert parse_length(text) == metres


@pytest.mark.parametrize("text", ["", "mm", "-1 mm", "0", "1 inch", "nan", "1e", "inf mm"])
def test_what_is_no_length(text):
    with pytest.raises(ParameterError, match="window"):
        parse_length(text, "window")
