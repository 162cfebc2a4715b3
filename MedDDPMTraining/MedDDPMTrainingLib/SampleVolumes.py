"""The samples of a run as volumes of the scene, brought up to date in place when newer ones come."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Display import displayGray, removeNode, setAffine
from MedDDPMSlicerLib.Hierarchy import folderFor, putUnder, removeIfEmpty
from MedDDPMSlicerLib.PlainNifti import MappedVolume, openPlainNifti, unpackNifti
from MedDDPMSlicerLib.Slabs import copied
from MedDDPMSlicerLib.SyntheticNodes import markSynthetic

from .LabelColors import labelsOf, newColorNode
from .SampleFiles import TrainingSample

logger = logging.getLogger(__name__)

ROLE, ITERATION = "MedDDPM.trainingSample", "MedDDPM.iteration"
REAL, SYNTHETIC, MASK = "real", "synthetic", "mask"
# Intensities of sample images: 0 is empty space.
BRIGHTEST = 1000


class SampleVolumes:
    """The volume nodes of one run's samples, in a folder of the subject hierarchy for the run and each case.

    They are not saved with the scene: the run's folder has them. ``update`` gives steps that bring them up to date.
    ``dataset``: the folder that tells what the labels are.
    """

    def __init__(self, runFolder: Path, runName: str, dataset: str = "") -> None:
        self._key, self._name = str(runFolder), runName
        self._labels = labelsOf(dataset)
        self._colors: Any = None
        self._nodes: dict[tuple[str, str, str], str] = {}
        self._files: dict[tuple[str, str, str], Path] = {}
        self._folders: list[int] = []

    @property
    def tumorValues(self) -> tuple[int, ...]:
        """The values of the tumor in the masks; none where the dataset cannot be read here."""
        return tuple(label.value for label in self._labels if label.tumor)

    def volume(self, case: str, kind: str, modality: str = "") -> Any:
        """The node of a case: ``kind`` REAL or SYNTHETIC with a modality, or MASK; None where there is none."""
        key = (case, kind, modality)
        node = slicer.mrmlScene.GetNodeByID(self._nodes[key]) if key in self._nodes else None
        return node if node is not None and node.GetAttribute(ROLE) == kind else None

    def update(self, samples: Sequence[TrainingSample]) -> Generator[None, None, bool]:
        """Steps that load what is new; they return whether anything was. Files that cannot be read are passed over."""
        news = False
        for sample in samples:
            for key, path in _filesOf(sample).items():
                # The real images and the mask of a case are the same at all iterations.
                fixed = key[1] != SYNTHETIC and self.volume(*key) is not None
                if fixed or (self._files.get(key) == path and self.volume(*key) is not None):
                    continue
                news = (yield from self._load(key, path, sample)) or news
        return news

    def remove(self) -> None:
        """Take all nodes and their folders out of the scene."""
        for key in list(self._nodes):
            removeNode(self.volume(*key))
        self._nodes, self._files = {}, {}
        if self._colors is not None and self._colors.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._colors)
        self._colors = None
        for item in reversed(self._folders):
            removeIfEmpty(item)
        self._folders = []

    def _load(self, key: tuple[str, str, str], path: Path, sample: TrainingSample) -> Generator[None, None, bool]:
        try:
            read = yield from _read(path)
            image = yield from copied(read.voxels)
        except MedDDPMError as exc:
            logger.info("a sample was passed over: %s", type(exc).__name__)
            return False
        node = self.volume(*key) or self._make(key, read.affine)
        node.SetAndObserveImageData(image)
        if key[1] == SYNTHETIC:
            node.SetName(f"{key[2]} synthetic – {sample.case} (iteration {sample.iteration:,})")
        node.SetAttribute(ITERATION, str(sample.iteration))
        self._files[key] = path
        yield
        return True

    def _make(self, key: tuple[str, str, str], affine: np.ndarray) -> Any:
        case, kind, modality = key
        className = "vtkMRMLLabelMapVolumeNode" if kind == MASK else "vtkMRMLScalarVolumeNode"
        name = f"Mask – {case}" if kind == MASK else f"{modality} {kind} – {case}"
        node = slicer.mrmlScene.AddNewNodeByClass(className, name)
        node.SetSaveWithScene(False)
        node.SetAttribute(ROLE, kind)
        setAffine(node, affine)
        if kind == MASK:
            node.CreateDefaultDisplayNodes()
            self._color(node.GetDisplayNode())
        else:
            displayGray(node, 0, BRIGHTEST)
        node.GetDisplayNode().SetSaveWithScene(False)
        if kind == SYNTHETIC:
            markSynthetic(node, None, {"model": self._name, "modality": modality})
        putUnder(node, self._caseItem(case))
        self._nodes[key] = node.GetID()
        return node

    def _color(self, displayNode: Any) -> None:
        if self._labels and (self._colors is None or self._colors.GetScene() is None):
            self._colors = newColorNode(self._labels)
        if self._colors is not None:
            displayNode.SetAndObserveColorNodeID(self._colors.GetID())

    def _caseItem(self, case: str) -> int:
        run = folderFor(f"{self._name} – training samples", key=self._key)
        item = folderFor(case, run, key=self._key)
        self._folders += [known for known in (run, item) if known not in self._folders]
        return item


def _filesOf(sample: TrainingSample) -> dict[tuple[str, str, str], Path]:
    """Node -> file, what is looked at first coming first."""
    files: dict[tuple[str, str, str], Path] = {}
    for modality in sample.modalities:
        files[sample.case, SYNTHETIC, modality] = sample.synthetic[modality]
        if modality in sample.real:
            files[sample.case, REAL, modality] = sample.real[modality]
    if sample.mask is not None:
        files[sample.case, MASK, ""] = sample.mask
    return files


def _read(path: Path) -> Generator[None, None, MappedVolume]:
    if path.name.endswith(".gz"):
        return (yield from unpackNifti(path))
    return openPlainNifti(path)
