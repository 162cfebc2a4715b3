"""For test_training_module.py: an application that starts a training and quits while it goes on.

``MEDDDPM_TRAIN`` is "dataset|folder of the runs". Writes the folder of the training to the file that ``MEDDDPM_SIGNAL``
names, as soon as its first steps are done; then it quits.
"""

import os
import time
from pathlib import Path

import slicer

dataset, runs = os.environ["MEDDDPM_TRAIN"].split("|")
slicer.util.selectModule("MedDDPMTraining")
widget = slicer.modules.MedDDPMTrainingWidget
parameters, ui, context = widget.logic.parameterNode(), widget.ui, widget.context
parameters.datasetFolder, parameters.runsFolder = dataset, runs
parameters.preset, parameters.precision, parameters.runName = "demo", "fp32", "Left alone"
parameters.iterations, parameters.lookEvery = 100_000, 50_000
end = time.monotonic() + 30 * float(os.environ.get("MEDDDPM_TEST_PATIENCE", "8"))
while time.monotonic() < end and not ui.StartButton.enabled:
    slicer.app.processEvents()
ui.StartButton.click()
while time.monotonic() < end and (context.chosenRun is None or context.chosenRun.look().iteration < 1):
    slicer.app.processEvents()
    time.sleep(0.01)
Path(os.environ["MEDDDPM_SIGNAL"]).write_text(context.chosen or f"not started: {ui.TrainMessageLabel.text}")
slicer.util.exit(0)
