"""Results that judge themselves: how far they can be trusted, why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from friedel.core.errors import CalibrationError

DOUBTFUL = 3
"""Exit code of a result that was written but is doubtful."""
MOST_COMPLAINTS = 3
"""Findings that a reader takes in at once."""
UNDOUBTED = ("good", "noted")
"""States of findings that cast no doubt."""


@dataclass(frozen=True)
class Judgement:
    """What a result says of itself.

    Attributes
    ----------
    verdict : str
        "trusted", "doubtful" or "failed".
    findings : tuple of (name, state, text, advice)
    numbers : tuple of str
        Lines with the numbers that matter.
    """

    verdict: str
    findings: tuple[tuple[str, str, str, str], ...]
    numbers: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences that led to the verdict."""
        return tuple(text for _, state, text, _ in self.findings if state not in UNDOUBTED)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that one has to know although they cast no doubt."""
        return tuple(f"{text} {advice}".strip() for _, state, text, advice in self.findings if state == "noted")

    @property
    def complaints(self) -> tuple[str, ...]:
        """What is wrong, each with what to do about it, the worst first; no more than a reader takes in."""
        wrong = [item for item in self.findings if item[1] not in UNDOUBTED]
        wrong.sort(key=lambda item: item[1] != "failed")
        said: list[str] = []
        lines = []
        for _, _, text, advice in wrong[:MOST_COMPLAINTS]:
            lines.append(f"{text} {advice if advice not in said else ''}".strip())
            said.append(advice)
        left = len(wrong) - len(lines)
        return (*lines, *([f"Not said here, but in the report (--report page.html): {left} more."] if left else []))

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do about them, without repetition."""
        return tuple(dict.fromkeys(item[3] for item in self.findings if item[1] not in UNDOUBTED and item[3]))

    @property
    def summary(self) -> str:
        """Verdict, numbers and notes, a few lines."""
        said = {
            "trusted": "The geometry can be trusted.",
            "doubtful": "The geometry is doubtful.",
            "failed": "There is no geometry that can be used.",
        }
        return "\n".join([said.get(self.verdict, self.verdict), *self.numbers, *self.notes])


def judgement_of(result: Any) -> Judgement | None:
    """Return what a Dataset says of itself; None if it does not."""
    attributes = getattr(result, "attrs", {})
    verdict = attributes.get("verdict")
    if verdict is None:
        return None
    findings = tuple(tuple(str(part) for part in item) for item in attributes.get("findings", ()))
    return Judgement(str(verdict), findings, tuple(attributes.get("numbers", ())))  # type: ignore[arg-type]


def refuse_failed(result: Any) -> None:
    """Raise `CalibrationError` if a result says that it failed."""
    judgement = judgement_of(result)
    if judgement is not None and judgement.verdict == "failed":
        worst, *others = judgement.complaints or ("There is no geometry that can be used.",)
        raise CalibrationError(worst, "\n".join(others))
