"""Runners: where blocks are processed. Placement only; the results are the same everywhere."""

from .choice import make_runner
from .inline import InlineRunner
from .threads import ThreadRunner

__all__ = ["InlineRunner", "ThreadRunner", "make_runner"]
