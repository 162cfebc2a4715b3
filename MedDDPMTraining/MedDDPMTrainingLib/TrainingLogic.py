"""What scripts call: ``MedDDPMTrainingLogic().train(...)``. The logic of the module derives from this.

The application loads this file at its start, so the rest is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedDDPMSlicerLib.ModuleLogic import ModuleLogic

if TYPE_CHECKING:
    from MedDDPMSlicerLib.Job import Job

    from .Run import TrainingRun
    from .TrainingService import TrainingService


class TrainingLogic(ModuleLogic):
    """Preparations and trainings without a panel."""

    module = "MedDDPMTraining"

    @classmethod
    def serviceClass(cls) -> type[TrainingService]:
        """See ModuleLogic."""
        from .TrainingService import TrainingService

        return TrainingService

    def prepare(
        self,
        sourceFolder: str | Path,
        datasetFolder: str | Path,
        *,
        onFinished: Callable[[Job], None] | None = None,
        waitForCompletion: bool = False,
        **options: Any,
    ) -> Job:
        """Make a dataset from a folder of scans; returns at once, unless ``waitForCompletion``.

        ``options``: further fields of ``medddpm.preparation.options.PrepareOptions``, for example ``scheme``, ``grid``,
        ``modalities``, ``register``, ``leave_out``, ``validation``. ``onFinished`` is called with its Job, whose
        ``result`` tells where dataset and report are.

        Raises InputError for an order that makes no sense. With ``waitForCompletion`` also MedDDPMError, with the
        sentence, where the preparation fails; otherwise its ``state`` and ``message`` tell.
        """
        from medddpm.preparation.options import PrepareOptions

        places = {"source": str(_absolute(sourceFolder)), "out": str(_absolute(datasetFolder))}
        request = PrepareOptions.from_dict({**options, **places}).to_dict()
        return self.follow(self.service.startPreparation(request), onFinished, waitForCompletion)

    def train(
        self,
        datasetFolder: str | Path,
        runFolder: str | Path | None = None,
        preset: str = "brats",
        *,
        name: str = "",
        startModel: str = "",
        iterations: int = 0,
        device: str = "auto",
        precision: str = "auto",
        onFinished: Callable[[TrainingRun], None] | None = None,
        waitForCompletion: bool = False,
        **changes: Any,
    ) -> TrainingRun:
        """Start a training on a prepared dataset, in a process of its own that goes on when Slicer is closed.

        Returns at once, unless ``waitForCompletion``. ``runFolder``: a new folder, by default a private one of this
        user. ``preset``, ``startModel`` (name or path), ``iterations`` (0: those of the preset), ``device``,
        ``precision`` as in the panel; ``changes``: further fields of ``medddpm.training.config.TrainConfig``.
        ``onFinished`` is called with the TrainingRun, if Slicer is still open then.

        Raises InputError for an order that makes no sense. With ``waitForCompletion`` also MedDDPMError, with the
        sentence, where the training fails or is stopped.
        """
        from . import Orders

        service = self.service
        Orders.datasetSentence(datasetFolder)
        chosen = (name, startModel, iterations, device, precision)
        config = Orders.newConfig(_absolute(datasetFolder), preset, *chosen, service.library, **changes)
        folder = Orders.newRunFolder("", config.name, service.storage.runs) if runFolder is None else runFolder
        run = service.runs.begin(folder, config)
        service.startTask(run)
        return self.follow(run, onFinished, waitForCompletion)

    def resume(
        self,
        runFolder: str | Path,
        moreIterations: int = 0,
        *,
        onFinished: Callable[[TrainingRun], None] | None = None,
        waitForCompletion: bool = False,
    ) -> TrainingRun:
        """Go on with a run that has ended or was interrupted, for ``moreIterations`` than it was asked for.

        See ``train``. Raises InputError where it cannot go on.
        """
        run = self.service.runs.of(_absolute(runFolder))
        run.resume(moreIterations)
        self.service.startTask(run)
        return self.follow(run, onFinished, waitForCompletion)


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()
