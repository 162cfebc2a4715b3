"""Why something cannot be started yet, in a sentence: what a disabled button says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Dependencies import PREPARING, TRAINING, PackageWatch
from MedDDPMSlicerLib.Models import ModelLibrary
from MedDDPMSlicerLib.PlainSentences import sentenceOf

from .Datasets import Datasets
from .SourceScan import SourceScanner
from .SourceTable import obstacles


class Readiness:
    """Answers None where nothing stands in the way, else a sentence that says what to do."""

    def __init__(
        self, scanner: SourceScanner, datasets: Datasets, library: ModelLibrary, packages: PackageWatch
    ) -> None:
        self._scanner, self._datasets, self._library, self._packages = scanner, datasets, library, packages

    def scan(self, parameterNode: Any) -> str | None:
        """Of a scan of the source folder."""
        node = parameterNode
        if not node.sourceFolder:
            return "Choose the folder with your scans."
        if not Path(node.sourceFolder).expanduser().exists():
            return f"The folder {node.sourceFolder} does not exist. Choose another one."
        if node.layout == "table" and not node.tableFile:
            return "Choose the table (a CSV file) that names the files of each case."
        return None if self._scanner.finished else "The folder is being scanned. Wait a moment."

    def prepare(self, parameterNode: Any) -> str | None:
        """Of a preparation with what the parameter node says."""
        node = parameterNode
        reason = self.scan(node) or self._source(node) or self._packages.reason(PREPARING)
        if reason is not None:
            return reason
        if not node.datasetFolder:
            return "Choose a folder for the prepared dataset."
        out, source = Path(node.datasetFolder).expanduser(), Path(node.sourceFolder).expanduser()
        if out == source or out in source.parents:
            return "Choose a folder for the dataset that is not the folder of the scans."
        if node.register == "template" and not node.template:
            return "Choose the image that the scans are registered to, or another registration."
        return None

    def train(self, parameterNode: Any) -> str | None:
        """Of a training with what the parameter node says."""
        node = parameterNode
        if not node.datasetFolder:
            return "Prepare a dataset first, or choose the folder of one."
        try:
            self._datasets.describe(node.datasetFolder)
            if node.startModel:
                self._library.describe(node.startModel)
        except MedDDPMError as exc:
            return sentenceOf(exc)
        return self._packages.reason(TRAINING)

    def _source(self, node: Any) -> str | None:
        """What the scan found in the way. Without a scan the preparation itself will tell."""
        table = self._scanner.table
        if table is None or self._scanner.source != str(Path(node.sourceFolder).expanduser()):
            return None
        if not table.cases:
            return "No cases were found in the folder. Choose another folder or layout."
        left = obstacles(table, list(node.leaveOut))
        return f"{left[0].sentence} Fix it and scan again, or leave the case out." if left else None
