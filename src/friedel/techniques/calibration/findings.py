"""What an examination found: each finding in words, and the verdict that follows from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["good", "noted", "doubtful", "failed"]
CASTS_DOUBT: tuple[State, ...] = ("doubtful", "failed")
Verdict = Literal["trusted", "doubtful", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    state : {"good", "noted", "doubtful", "failed"}
        "noted" is what one has to know and what no geometry can help: it casts no doubt.
    text : str
        What was found, a sentence with numbers.
    advice : str
        What to do about it, "" if there is nothing to do.
    """

    name: str
    state: State
    text: str
    advice: str = ""


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Return the worst of all."""
    states = {finding.state for finding in findings}
    return "failed" if "failed" in states else "doubtful" if "doubtful" in states else "trusted"
