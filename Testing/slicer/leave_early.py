"""For test_endings.py: an application that starts a generation and then ends, by itself or by being killed.

Writes "sampling" to the file that the variable ``MEDDDPM_SIGNAL`` names as soon as the worker samples; then it quits,
or waits to be killed where ``MEDDDPM_LEAVE`` is "wait".
"""

import os
import time
from pathlib import Path

import slicer
from MedDDPMSynthLib.SampleCase import loadSampleCase

slicer.util.selectModule("MedDDPMSynth")
run = slicer.modules.MedDDPMSynthWidget.logic.start(loadSampleCase(), steps=200)
end = time.monotonic() + 20 * float(os.environ.get("MEDDDPM_TEST_PATIENCE", "8"))
while not run.finished and (run.step or 0) < 1 and time.monotonic() < end:
    slicer.app.processEvents()
    time.sleep(0.01)
Path(os.environ["MEDDDPM_SIGNAL"]).write_text("sampling" if not run.finished else f"ended: {run.message}")
while os.environ.get("MEDDDPM_LEAVE") == "wait":
    slicer.app.processEvents()
    time.sleep(0.01)
slicer.util.exit(0)
