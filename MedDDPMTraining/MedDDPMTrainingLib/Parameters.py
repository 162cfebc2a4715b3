"""The parameter node of the module: everything that the user chose, saved with the scene."""

from __future__ import annotations

from medddpm.preparation.options import PrepareOptions
from MedDDPMSlicerLib.RequestOptions import withOptions
from slicer.parameterNodeWrapper import parameterNodeWrapper

from .Orders import TrainChoices


@parameterNodeWrapper
@withOptions(PrepareOptions)
@withOptions(TrainChoices)
class MedDDPMTrainingParameterNode:
    """Choices of the user. Those that are options of a request are not named here: "look_every" is ``lookEvery``.

    ``sourceFolder`` to ``leaveOut`` (case ids): what is prepared, as ``PrepareOptions`` has it. ``datasetFolder``:
    where the prepared dataset is written, and what is trained on. ``startModel``: the model that training starts from
    (empty: a fresh network), as ``ModelLibrary`` takes it. ``runsFolder`` (empty: the private one of this user) and
    ``runName`` make the folder of a new run. ``chosenRun``: the folder of the run that is followed. ``sampleCase`` and
    ``sampleModality``: which sample the slice views show.
    """

    sourceFolder: str = ""
    tableFile: str = ""
    modalities: list[str]
    template: str = ""
    labels: str = ""
    leaveOut: list[str]
    datasetFolder: str = ""
    startModel: str = ""
    runsFolder: str = ""
    runName: str = ""
    chosenRun: str = ""
    showSamples: bool = True
    sampleCase: str = ""
    sampleModality: str = ""
