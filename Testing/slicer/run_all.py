"""Runs all tests of this folder in the application that executes this script, then leaves with 0 or 1."""

import faulthandler
import os
import sys
import time
import unittest
from pathlib import Path

import slicer

HERE = Path(__file__).resolve().parent
# After so long the place where a test is goes to the log. It is not ended: what it waits for has an end of its own.
HANGING_SECONDS = float(os.environ.get("MEDDDPM_TEST_HANGING", "240"))


class Narrator(unittest.TextTestResult):
    """Says how long each test took, and where one hangs."""

    def startTest(self, test: unittest.TestCase) -> None:
        """Begin a line and the clock."""
        self.began = time.monotonic()
        faulthandler.dump_traceback_later(HANGING_SECONDS, file=sys.__stderr__)
        super().startTest(test)

    def stopTest(self, test: unittest.TestCase) -> None:
        """Tell the time."""
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        self.stream.writeln(f"  ({time.monotonic() - self.began:.1f} s)")
        self.stream.flush()


def suite() -> unittest.TestSuite:
    """The tests of all files, or of those that ``MEDDDPM_TESTS`` names (``test_painting,test_results``)."""
    named = os.environ.get("MEDDDPM_TESTS", "")
    names = named.split(",") if named else sorted(path.stem for path in HERE.glob("test_*.py"))
    return unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromName(name) for name in names)


def main() -> int:
    """Run them; returns the exit code. The summary comes last."""
    stream = open(sys.__stderr__.fileno(), "w", buffering=1, closefd=False)  # noqa: SIM115 - it belongs to the process
    stream.write(f"3D Slicer {slicer.app.applicationVersion}, Python {sys.version.split()[0]}\n")
    runner = unittest.TextTestRunner(stream=stream, verbosity=2, resultclass=Narrator)
    return 0 if runner.run(suite()).wasSuccessful() else 1


sys.path.insert(0, str(HERE))
slicer.util.exit(main())
