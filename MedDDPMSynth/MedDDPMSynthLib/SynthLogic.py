"""What scripts call: ``MedDDPMSynthLogic().synthesize(...)``. The logic of the module derives from this.

The application loads this file at its start, so the rest is imported when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from MedDDPMSlicerLib.ModuleLogic import ModuleLogic

if TYPE_CHECKING:
    from .Run import SynthRun
    from .SynthService import SynthService


class SynthLogic(ModuleLogic):
    """Generations without a panel."""

    module = "MedDDPMSynth"

    @classmethod
    def serviceClass(cls) -> type[SynthService]:
        """See ModuleLogic."""
        from .SynthService import SynthService

        return SynthService

    @classmethod
    def onStarted(cls) -> None:
        """List the sample case in the module Sample Data, and our export in the DICOM module."""
        from .DicomPlugin import registerDicomPlugin
        from .SampleCase import registerSampleData

        registerSampleData()
        registerDicomPlugin()

    def synthesize(self, segmentationNode: Any, model: str = "demo", **options: Any) -> list[Any]:
        """Make MRI volumes from a segmentation; returns their nodes (of a growth series those that play it).

        The application goes on working meanwhile. ``options``: those of ``start``. Raises InputError for an order that
        makes no sense, and MedDDPMError, with the sentence, where the generation fails or is cancelled.
        """
        run = self.start(segmentationNode, model, **options)
        self.service.waitFor(run)
        run.raiseFailure()
        return run.volumes

    def start(
        self,
        segmentationNode: Any,
        model: str = "demo",
        *,
        referenceVolume: Any = None,
        knownVolumes: Mapping[str, Any] | None = None,
        originalSegmentation: Any = None,
        anatomy: Any = "seed",
        referenceScan: Mapping[str, Any] | None = None,
        showPreview: bool = False,
        onFinished: Callable[[SynthRun], None] | None = None,
        **options: Any,
    ) -> SynthRun:
        """Begin to make MRI volumes from a segmentation; returns at once.

        ``model``: name or path. ``referenceVolume``: the MRI that belongs to the mask; a missing outline is made from
        it. ``knownVolumes`` (modality -> volume node of a real scan) with ``originalSegmentation`` (the mask before it
        was changed): only the changed region is generated. For models with tissue labels: ``anatomy`` is "seed",
        "reference" (that of ``referenceScan``, modality -> volume node) or a segmentation or label map node.
        ``options``: the fields of ``medddpm.synthesis.request.SynthesisRequest`` in Slicer's spelling, as samples,
        seed, sampler, steps, guidance, modalities, massEffect, seamMm; besides marginMm (around the changed region) and
        frames: above 1, a growth series of so many time points in place of samples. ``onFinished`` is called with the
        SynthRun, whose ``volumes`` are the results: of a series the volumes that play it.

        Raises InputError for an order that makes no sense; ``state`` and ``message`` of the run tell what came of it.
        """
        from .Options import SynthInputs, optionsOfScript
        from .Request import checkInputs

        wanted = optionsOfScript(anatomy, model=model, showPreview=showPreview, **options)
        known, source = dict(knownVolumes or {}), None if isinstance(anatomy, str) else anatomy
        inputs = SynthInputs(segmentationNode, referenceVolume, known, originalSegmentation)
        inputs.referenceScan, inputs.anatomySource = dict(referenceScan or {}), source
        checkInputs(inputs, wanted)
        return self.follow(self.service.generate(inputs, wanted), onFinished)  # type: ignore[no-any-return]
