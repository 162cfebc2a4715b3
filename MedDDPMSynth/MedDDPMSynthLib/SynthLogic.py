"""What scripts call: ``slicer.modules.medddpmsynth.logic().synthesize(...)``. The module's logic derives from this.

The application loads this file at its start, so the rest is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from MedDDPMSlicerLib.ModuleLogic import ModuleLogic

if TYPE_CHECKING:
    from .Run import SynthRun
    from .SynthService import SynthService


class SynthLogic(ModuleLogic):
    """Generations without a panel."""

    module = "MedDDPMSynth"
    offered = ("synthesize", "parameterNode")
    serviceName = "synthService"

    @classmethod
    def serviceClass(cls) -> type[SynthService]:
        """See ModuleLogic."""
        from .SynthService import SynthService

        return SynthService

    @classmethod
    def onStarted(cls) -> None:
        """List the sample case in the module Sample Data."""
        from .SampleCase import registerSampleData

        registerSampleData()

    def synthesize(
        self,
        segmentationNode: Any,
        model: str = "demo",
        *,
        samples: int = 1,
        seed: int = 0,
        sampler: str | None = None,
        steps: int | None = None,
        modalities: Sequence[str] = (),
        device: str = "auto",
        precision: str = "auto",
        referenceVolume: Any = None,
        knownVolumes: Mapping[str, Any] | None = None,
        originalSegmentation: Any = None,
        anatomy: Any = "seed",
        massEffect: float = 1.0,
        contrast: str = "seed",
        referenceScan: Mapping[str, Any] | None = None,
        frames: int = 1,
        showPreview: bool = False,
        onFinished: Callable[[SynthRun], None] | None = None,
        waitForCompletion: bool = False,
    ) -> SynthRun:
        """Make MRI volumes from a segmentation; returns at once, unless ``waitForCompletion``.

        ``model``: name or path. ``sampler``, ``steps``: None for the model's own. ``modalities``: empty for all.
        ``referenceVolume``: the MRI that belongs to the mask; a missing outline is made from it. ``knownVolumes``
        (modality -> volume node of a real scan) with ``originalSegmentation`` (the mask before it was changed): only
        the changed region is made anew. For models that are told tissues: ``anatomy`` is "seed", "reference" (that of
        ``referenceScan``, modality -> volume node) or a segmentation or label map node, ``massEffect`` 0 to 1,
        ``contrast`` "seed", "mean" or "reference". ``frames`` above 1 makes a growth series of so many time points in
        place of samples. ``onFinished`` is called with the SynthRun, whose ``volumes`` are the results: of a series the
        volumes that play it.

        Raises InputError for an order that makes no sense. With ``waitForCompletion`` also MedDDPMError, with the
        sentence, where the generation fails; otherwise ``outcome`` and ``message`` of the run tell.
        """
        from .Options import SynthInputs, SynthOptions, anatomyOf, contrastOf
        from .Request import checkInputs

        options = SynthOptions(
            *(model, samples, seed, sampler, steps, tuple(modalities), device, precision, showPreview),
            **{"anatomy": anatomyOf(anatomy), "massEffect": massEffect, "contrast": contrastOf(contrast)},
            frames=frames,
        )
        known, source = dict(knownVolumes or {}), None if isinstance(anatomy, str) else anatomy
        inputs = SynthInputs(segmentationNode, referenceVolume, known, originalSegmentation)
        inputs.referenceScan, inputs.anatomySource = dict(referenceScan or {}), source
        checkInputs(inputs, options)
        run = self.service.generate(inputs, options)
        if onFinished is not None:
            run.observers.append(lambda r: onFinished(r) if r.finished else None)
        if waitForCompletion:
            self.service.waitFor(run)
            run.raiseFailure()
        return run
