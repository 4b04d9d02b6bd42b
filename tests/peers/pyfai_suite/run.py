"""Runs tests of pyFAI's own suite with friedel inside, and writes what became of each as JSON.

    python run.py RESULT.json PATH_OF_FRIEDEL NATIVE_MODULE FALLBACK_PATHS EXCLUDED module [module ...]

Runs in the peers' interpreter: packages that friedel needs and pyFAI does not are taken from FALLBACK_PATHS, after
those of the peers. Paths, and the names of excluded classes, have colons between.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
import unittest
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")
os.environ.setdefault("PYFAI_OPENCL", "0")


def find_friedel(source: str, native: str, fallback: str) -> None:
    """Make friedel importable."""
    sys.path.insert(1, source)
    sys.path.extend(path for path in fallback.split(":") if path)
    specification = importlib.util.spec_from_file_location("friedel._native", native)
    module = importlib.util.module_from_spec(specification)
    sys.modules["friedel._native"] = module
    specification.loader.exec_module(module)
    import friedel

    friedel._native = module


class Report(unittest.TestResult):
    """Keeps the outcome, the reason and the number of calls of friedel for each test."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls
        self.found = {}
        self.begun, self.before, self.shared = time.perf_counter(), 0, None

    def begin_class(self):
        """Note where the calls stand before a class sets itself up, which counts for each of its tests."""
        self.before, self.shared = self.calls.count, None

    def startTest(self, test):  # noqa: N802
        super().startTest(test)
        if self.shared is None:
            self.shared = self.calls.count - self.before
        self.begun, self.before = time.perf_counter(), self.calls.count

    def keep(self, test, outcome, reason=""):
        name = test.id().removeprefix("pyFAI.test.")
        if name in self.found and self.found[name]["outcome"] != "passed":
            return  # the first part of a test that failed
        self.found[name] = {
            "outcome": outcome,
            "reason": reason,
            "calls": self.calls.count - self.before + (self.shared or 0),
            "seconds": round(time.perf_counter() - self.begun, 3),
        }

    def addSuccess(self, test):  # noqa: N802
        self.keep(test, "passed")

    def addFailure(self, test, error):  # noqa: N802
        self.keep(test, "failed", _last_line(error))

    def addError(self, test, error):  # noqa: N802
        self.keep(test, "failed", _last_line(error))

    def addSkip(self, test, reason):  # noqa: N802
        self.keep(test, "skipped", reason)

    def addSubTest(self, test, subtest, error):  # noqa: N802
        if error is not None:
            self.keep(test, "failed", _last_line(error))


def _class_name(group):
    first = next(iter(group), None)
    return f"{type(first).__module__}.{type(first).__name__}".removeprefix("pyFAI.test.")


def _last_line(error):
    lines = traceback.format_exception(*error)
    places = [line.strip().splitlines()[0] for line in lines if "test/test_" in line]
    return f"{lines[-1].strip()[:400]} | {places[-1] if places else ''}"


def main() -> None:
    result, source, native, fallback, excluded, *modules = sys.argv[1:]
    find_friedel(source, native, fallback)
    sys.path.insert(0, str(Path(__file__).parent))
    import adapter

    adapter.install()
    report = Report(adapter.Calls)
    for name in modules:
        suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(f"pyFAI.test.{name}"))
        for group in suite:
            if _class_name(group) in excluded.split(":"):
                continue
            report.begin_class()
            group.run(report)
    Path(result).write_text(json.dumps(report.found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
