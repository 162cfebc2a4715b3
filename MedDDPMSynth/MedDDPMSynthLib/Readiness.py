"""Why something cannot be started yet, in a sentence: what a disabled button says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Dependencies import GENERATING, PackageWatch
from MedDDPMSlicerLib.Models import ModelDescription, ModelLibrary
from MedDDPMSlicerLib.Nodes import shownVolume
from MedDDPMSlicerLib.SegmentReading import WHERE
from MedDDPMSlicerLib.Segments import OPEN, segmentRoles
from MedDDPMSlicerLib.Texts import _, sentenceOf

from .LocalEdit import missingForEdit
from .Options import Anatomy, SynthInputs, SynthOptions, anatomyInputsOf, inputsOf, optionsOf

Question = Callable[[Any, ModelDescription, SynthOptions], str | None]


class Readiness:
    """Answers None where nothing stands in the way, else a sentence that says what to do."""

    def __init__(self, library: ModelLibrary, packages: PackageWatch) -> None:
        self._library, self._packages = library, packages

    def generation(self, parameterNode: Any) -> str | None:
        """Of a generation with what the parameter node says."""
        return self._first(parameterNode, _mask, _anatomy, _edit)

    def anatomy(self, parameterNode: Any) -> str | None:
        """Of completing the anatomy in the mask."""
        return self._first(parameterNode, lambda _node, model, _options: untold(model), _mask, _anatomy)

    def batch(self, parameterNode: Any) -> str | None:
        """Of a batch."""
        return self._first(parameterNode, _anatomyOfBatch, _batchFolders)

    def computing(self, modelKey: str) -> str | None:
        """Of anything that needs the model: packages, the model itself, its terms."""
        missing = self._packages.reason(GENERATING)
        if missing is not None:
            return missing
        try:
            model = self._library.describe(modelKey)
            if not self._library.acknowledged(modelKey):
                return _("Read the terms of the model '{title}' and press 'I agree to these terms' first.").format(
                    title=model.title
                )
        except MedDDPMError as exc:
            return sentenceOf(exc)
        return None

    def _first(self, parameterNode: Any, *questions: Question) -> str | None:
        """The first reason that there is, beginning with the model."""
        reason = self.computing(parameterNode.model)
        if reason is not None:
            return reason
        model = self._library.describe(parameterNode.model)
        options = optionsOf(parameterNode, model)
        answers = (question(parameterNode, model, options) for question in questions)
        return next((answer for answer in answers if answer is not None), None)


def untold(model: ModelDescription) -> str | None:
    """A sentence where a model is told no tissues, so that there is nothing to choose; None where it is."""
    if model.config.scheme.tissue_values:
        return None
    return _(
        "The model '{title}' has labels for tumor and outline only, so there is no anatomy or contrast to choose."
    ).format(title=model.title)


def missingForAnatomy(model: ModelDescription, inputs: SynthInputs, options: SynthOptions) -> str | None:
    """A sentence that says what the choice of anatomy and contrast still needs; None where nothing."""
    scan = inputs.knownVolumes or inputs.referenceScan
    if options.needsScan and not {m.casefold() for m in scan} & {m.casefold() for m in model.modalities}:
        names = " or ".join(model.modalities)
        return _(
            "Choose the reference MRI's volume for {names} in the section Real scan; the more of them, the better."
        ).format(names=names)
    if options.anatomy is Anatomy.SEGMENTATION:
        if inputs.anatomySource is None:
            return _("Choose the segmentation or label map that the anatomy is taken from.")
        if inputs.anatomySource is inputs.segmentation:
            return _("The anatomy cannot come from the mask itself, whose tissues are kept anyway. Choose another one.")
    return None


def _mask(parameterNode: Any, model: ModelDescription, _options: SynthOptions) -> str | None:
    segmentation = parameterNode.segmentation
    scan = parameterNode.referenceVolume or shownVolume()
    if segmentation is None and scan is not None:
        kind = model.config.scheme.label(model.config.scheme.surround).name
        return f"Press '{kind} from MRI' for '{scan.GetName()}', or choose a segmentation."
    if segmentation is None:
        return _("Choose a segmentation, or press 'Load sample case'.")
    if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
        return _("The segmentation has no segments yet. Press 'Create segments' and paint.")
    roles = segmentRoles(segmentation, model.config.scheme).values()
    if all(role.value is None and role.origin != OPEN for role in roles):
        return _("No segment is used. {WHERE}").format(WHERE=WHERE)
    return None


def _anatomy(parameterNode: Any, model: ModelDescription, options: SynthOptions) -> str | None:
    return missingForAnatomy(model, inputsOf(parameterNode, options), options)


def _anatomyOfBatch(parameterNode: Any, model: ModelDescription, options: SynthOptions) -> str | None:
    return missingForAnatomy(model, anatomyInputsOf(parameterNode, options), options)


def _edit(parameterNode: Any, model: ModelDescription, options: SynthOptions) -> str | None:
    return missingForEdit(model, inputsOf(parameterNode, options)) if parameterNode.editRealScan else None


def _batchFolders(parameterNode: Any, _model: ModelDescription, _options: SynthOptions) -> str | None:
    source, output = parameterNode.batchSource, parameterNode.batchOutput
    if parameterNode.batchSequence is None:
        if not source:
            return _("Choose a folder of masks, or a sequence.")
        if not Path(source).is_dir():
            return _("The folder {source} does not exist. Choose another one.").format(source=source)
    if not output:
        return _("Choose a folder for the results.")
    if source and Path(output) == Path(source):
        return _("Choose a folder for the results that is not the folder of the masks.")
    return None
