"""Why something cannot be started yet, in a sentence: what a disabled button says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Dependencies import GENERATING
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.PackageWatch import PackageWatch
from MedDDPMSlicerLib.PlainSentences import sentenceOf

from .Anatomy import missingForAnatomy, untold
from .Choices import anatomyInputsOf, inputsOf, optionsOf
from .LocalEdit import missingForEdit
from .Options import SynthInputs, SynthOptions


class Readiness:
    """Answers None where nothing stands in the way, else a sentence that says what to do."""

    def __init__(self, library: ModelLibrary, packages: PackageWatch) -> None:
        self._library, self._packages = library, packages

    def generation(self, parameterNode: Any) -> str | None:
        """Of a generation with what the parameter node says."""
        node = parameterNode
        return self.computing(node.model) or _mask(node) or self._anatomy(node, inputsOf) or self._edit(node)

    def anatomy(self, parameterNode: Any) -> str | None:
        """Of completing the anatomy in the mask."""
        node = parameterNode
        reason = self.computing(node.model) or untold(self._library.describe(node.model))
        return reason or _mask(node) or self._anatomy(node, inputsOf)

    def batch(self, parameterNode: Any) -> str | None:
        """Of a batch."""
        node = parameterNode
        return self.computing(node.model) or self._anatomy(node, anatomyInputsOf) or _batchFolders(node)

    def computing(self, modelKey: str) -> str | None:
        """Of anything that needs the model: packages, the model itself, its terms."""
        missing = self._packages.reason(GENERATING)
        if missing is not None:
            return missing
        try:
            model = self._library.describe(modelKey)
            if not self._library.acknowledged(modelKey):
                return f"Read and accept the terms of the model '{model.title}' first."
        except MedDDPMError as exc:
            return sentenceOf(exc)
        return None

    def _anatomy(self, parameterNode: Any, inputs: Callable[[Any, SynthOptions], SynthInputs]) -> str | None:
        model = self._library.describe(parameterNode.model)
        options = optionsOf(parameterNode, model)
        return missingForAnatomy(model, inputs(parameterNode, options), options)

    def _edit(self, parameterNode: Any) -> str | None:
        if not parameterNode.editRealScan:
            return None
        model = self._library.describe(parameterNode.model)
        return missingForEdit(model, inputsOf(parameterNode, optionsOf(parameterNode, model)))


def _mask(parameterNode: Any) -> str | None:
    segmentation = parameterNode.segmentation
    if segmentation is None:
        return "Choose a segmentation, or load the sample data."
    if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
        return "The segmentation has no segments yet. Press 'Create segments' and paint."
    return None


def _batchFolders(parameterNode: Any) -> str | None:
    source, output = parameterNode.batchSource, parameterNode.batchOutput
    if parameterNode.batchSequence is None:
        if not source:
            return "Choose a folder of masks, or a sequence."
        if not Path(source).is_dir():
            return f"The folder {source} does not exist. Choose another one."
    if not output:
        return "Choose a folder for the results."
    if source and Path(output) == Path(source):
        return "Choose another folder for the results than that of the masks."
    return None
