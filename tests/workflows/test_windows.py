"""Windows of a pattern, as they are given."""

from __future__ import annotations

import pytest

from friedel.core.errors import ParameterError
from friedel.workflows.windows import parse_window


@pytest.mark.parametrize("text", ["", "roi", "roi=1", "roi=1:", "=1:2", "roi=2:1", "roi=a:b"])
def test_a_window_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ParameterError, match="regions: "):
        parse_window(text, "regions")
