"""Why something cannot be started yet, in a sentence: what a disabled button says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Dependencies import GENERATING
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.PackageWatch import PackageWatch
from MedDDPMSlicerLib.PlainSentences import sentenceOf

from .Choices import inputsOf
from .LocalEdit import missingForEdit


class Readiness:
    """Answers None where nothing stands in the way, else a sentence that says what to do."""

    def __init__(self, library: ModelLibrary, packages: PackageWatch) -> None:
        self._library, self._packages = library, packages

    def generation(self, parameterNode: Any) -> str | None:
        """Of a generation with what the parameter node says."""
        return self.computing(parameterNode.model) or self._mask(parameterNode)

    def batch(self, parameterNode: Any) -> str | None:
        """Of a batch."""
        return self.computing(parameterNode.model) or _batchFolders(parameterNode)

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

    def _mask(self, parameterNode: Any) -> str | None:
        segmentation = parameterNode.segmentation
        if segmentation is None:
            return "Choose a segmentation, or load the sample data."
        if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            return "The segmentation has no segments yet. Press 'Create segments' and paint."
        if parameterNode.editRealScan:
            return missingForEdit(self._library.describe(parameterNode.model), inputsOf(parameterNode))
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
