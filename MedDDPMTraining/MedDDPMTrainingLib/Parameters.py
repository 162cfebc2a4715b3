"""The parameter node of the module: everything that the user chose, saved with the scene."""

from __future__ import annotations

from typing import Annotated

from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper

MAX_ITERATIONS = 10_000_000
MAX_SEED = 2**31 - 1


@parameterNodeWrapper
class MedDDPMTrainingParameterNode:
    """Choices of the user.

    ``sourceFolder`` to ``splitSeed``, ``leaveOut`` (case ids) and ``leaveOutFlagged``: what is prepared and how, as
    ``medddpm.preparation.options.PrepareOptions`` has it. ``datasetFolder``: where the prepared dataset is written, and
    what is trained on. ``preset``: a name of ``Presets.presets``; ``startModel``: the model that training starts from
    (empty: a fresh network), as ``ModelLibrary`` takes it. ``iterations`` 0: those of the preset. ``lookEvery``:
    validation and samples every so many iterations (0: as the preset). ``runsFolder``
    (empty: the private one of this user) and ``runName`` make the folder of a new run. ``chosenRun``: the folder of the
    run that is followed. ``sampleCase`` and ``sampleModality``: which sample the slice views show.
    """

    sourceFolder: str = ""
    layout: str = "auto"
    tableFile: str = ""
    scheme: str = "brats"
    grid: str = "auto"
    modalities: list[str]
    register: str = "none"
    template: str = ""
    intensities: str = "percentile"
    outline: str = "auto"
    labels: str = ""
    validationShare: Annotated[float, WithinRange(0, 0.5), Default(0.1)]
    testShare: Annotated[float, WithinRange(0, 0.5), Default(0.1)]
    splitSeed: Annotated[int, WithinRange(0, MAX_SEED), Default(0)]
    leaveOut: list[str]
    leaveOutFlagged: bool = False
    datasetFolder: str = ""
    preset: str = "brats"
    startModel: str = ""
    iterations: Annotated[int, WithinRange(0, MAX_ITERATIONS), Default(0)]
    lookEvery: Annotated[int, WithinRange(0, MAX_ITERATIONS), Default(0)]
    device: str = "auto"
    precision: str = "auto"
    runsFolder: str = ""
    runName: str = ""
    chosenRun: str = ""
    showSamples: bool = True
    sampleCase: str = ""
    sampleModality: str = ""
