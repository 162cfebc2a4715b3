"""The samples that a training makes on the way, as volumes of the scene: of held-out masks, beside the real images."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.dataset import read_dataset_config
from medddpm.errors import InputError, MedDDPMError
from medddpm.labels.scheme import Label
from medddpm.preparation.facts import in_order
from medddpm.training.run import RunFolder
from MedDDPMSlicerLib.Nodes import displayGray, folderFor, markSynthetic, putUnder, removeIfEmpty, removeNode, setAffine
from MedDDPMSlicerLib.Volumes import copied, openPlainNifti, unpackNifti

logger = logging.getLogger(__name__)

ROLE, ITERATION = "MedDDPM.trainingSample", "MedDDPM.iteration"
REAL, SYNTHETIC, MASK = "real", "synthetic", "mask"
# Intensities of sample images: 0 is empty space.
BRIGHTEST = 1000
# What a stranger's folder may hold does not fill the scene.
MAX_CASES, MAX_MODALITIES = 12, 16
# The newest rounds of samples; of older ones only the contact sheets stay.
ROUNDS = 3
_ITERATION = re.compile(r"iteration-(\d{1,12})")
_IMAGE = re.compile(rf"({SYNTHETIC}|{REAL})-([\w.+-]{{1,64}}?)\.nii(?:\.gz)?|{MASK}()\.nii(?:\.gz)?")

# What a volume shows: case, kind, and the modality of an image.
Key = tuple[str, str, str]
Center = tuple[float, float, float]


@dataclass(frozen=True)
class TrainingSample:
    """The newest sample of one held-out case: its files by kind and modality (empty for the mask)."""

    case: str
    iteration: int
    files: dict[tuple[str, str], Path]

    @property
    def modalities(self) -> list[str]:
        """Those of the synthetic images, the usual ones first."""
        return list(in_order(modality for kind, modality in self.files if kind == SYNTHETIC))


def newestSamples(run: RunFolder) -> list[TrainingSample]:
    """The newest sample of each case of a run, in the order of their ids; none where there is nothing to be read.

    The contact sheet is written last: a case without it is still being written. Links are passed over.
    """
    rounds = [(int(match[1]), path) for path in _paths(run.samples) if (match := _ITERATION.fullmatch(path.name))]
    found: dict[str, TrainingSample] = {}
    for iteration, folder in sorted(rounds, reverse=True)[:ROUNDS]:
        for case in _paths(folder):
            there = _paths(case)
            matches = [(match, path) for path in there if (match := _IMAGE.fullmatch(path.name))]
            files = {(match[1] or MASK, match[2] or ""): path for match, path in matches[: 2 * MAX_MODALITIES + 1]}
            sample = TrainingSample(case.name, iteration, files)
            if sample.modalities and any(path.name == "sheet.png" for path in there):
                found.setdefault(case.name, sample)
    return [found[case] for case in sorted(found)][:MAX_CASES]


def _paths(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.is_symlink())
    return []


class SampleVolumes:
    """The volume nodes of one run's samples, in a folder of the subject hierarchy for the run and each case.

    They are not saved with the scene: the run's folder has them. ``dataset``: the folder that tells what the labels of
    the masks are; where it cannot be read here, they have no colors of their own, and no tumor is known.
    """

    def __init__(self, runFolder: Path, runName: str, dataset: str = "") -> None:
        self._key, self._name = str(runFolder), runName
        self._labels: tuple[Label, ...] = ()
        with contextlib.suppress(InputError):
            self._labels = tuple(read_dataset_config(Path(dataset)).scheme.labels) if dataset else ()
        self._colors: Any = None
        self._nodes: dict[Key, str] = {}
        self._files: dict[Key, Path] = {}
        self._centers: dict[str, Center | None] = {}
        self._folders: list[int] = []

    def volume(self, case: str, kind: str, modality: str = "") -> Any:
        """The node of a case: ``kind`` REAL or SYNTHETIC with a modality, or MASK; None where there is none."""
        node = slicer.mrmlScene.GetNodeByID(self._nodes.get((case, kind, modality), ""))
        return node if node is not None and node.GetAttribute(ROLE) == kind else None

    def center(self, case: str) -> Center | None:
        """The middle of the tumor in the mask of a case, RAS mm; None where there is none."""
        return self._centers.get(case)

    def update(self, samples: Sequence[TrainingSample]) -> Generator[None, None, bool]:
        """Steps that load what is new; they return whether anything was. Files that cannot be read are passed over."""
        news = False
        for sample in samples:
            # What is looked at first comes first.
            kinds = [(kind, modality) for modality in sample.modalities for kind in (SYNTHETIC, REAL)] + [(MASK, "")]
            for kind, modality in (which for which in kinds if which in sample.files):
                key, path = (sample.case, kind, modality), sample.files[kind, modality]
                # The real images and the mask of a case are the same at all iterations.
                known = kind != SYNTHETIC or self._files.get(key) == path
                if not (known and self.volume(*key) is not None):
                    news = (yield from self._load(key, path, sample.iteration)) or news
        return news

    def remove(self) -> None:
        """Take all nodes and their folders out of the scene."""
        for key in self._nodes:
            removeNode(self.volume(*key))
        self._nodes, self._files, self._centers = {}, {}, {}
        removeNode(self._colors)
        self._colors = None
        for item in reversed(self._folders):
            removeIfEmpty(item)
        self._folders = []

    def _load(self, key: Key, path: Path, iteration: int) -> Generator[None, None, bool]:
        case, kind, modality = key
        try:
            read = (yield from unpackNifti(path)) if path.name.endswith(".gz") else openPlainNifti(path)
            image = yield from copied(read.voxels)
            if kind == MASK:
                self._centers[case] = yield from self._tumorCenter(read.voxels, read.affine)
        except MedDDPMError as exc:
            logger.info("a sample was passed over: %s", type(exc).__name__)
            return False
        node = self.volume(*key) or self._make(key, read.affine)
        node.SetAndObserveImageData(image)
        if kind == SYNTHETIC:
            node.SetName(f"{modality} synthetic – {case} (iteration {iteration:,})")
        node.SetAttribute(ITERATION, str(iteration))
        self._files[key] = path
        yield
        return True

    def _tumorCenter(self, voxels: np.ndarray, affine: np.ndarray) -> Generator[None, None, Center | None]:
        tumor = [label.value for label in self._labels if label.tumor]
        total, number = np.zeros(3), 0
        for z, part in enumerate(voxels):
            places = np.argwhere(np.isin(part, tumor))
            total += (*places.sum(axis=0)[::-1], z * len(places))
            number += len(places)
            yield
        x, y, z, _ = affine @ (*(total / max(1, number)), 1.0)
        return (x, y, z) if number else None

    def _make(self, key: Key, affine: np.ndarray) -> Any:
        case, kind, modality = key
        className = "vtkMRMLLabelMapVolumeNode" if kind == MASK else "vtkMRMLScalarVolumeNode"
        name = f"Mask – {case}" if kind == MASK else f"{modality} {kind} – {case}"
        node = slicer.mrmlScene.AddNewNodeByClass(className, name)
        node.SetSaveWithScene(False)
        node.SetAttribute(ROLE, kind)
        setAffine(node, affine)
        if kind == MASK:
            node.CreateDefaultDisplayNodes()
            if self._labels and (self._colors is None or self._colors.GetScene() is None):
                self._colors = _colorNode(self._labels)
            if self._colors is not None:
                node.GetDisplayNode().SetAndObserveColorNodeID(self._colors.GetID())
        else:
            displayGray(node, 0, BRIGHTEST)
        node.GetDisplayNode().SetSaveWithScene(False)
        if kind == SYNTHETIC:
            markSynthetic(node, None, {"model": self._name, "modality": modality})
        run = folderFor(f"{self._name} – training samples", key=self._key)
        item = folderFor(case, run, key=self._key)
        self._folders += [known for known in (run, item) if known not in self._folders]
        putUnder(node, item)
        self._nodes[key] = node.GetID()
        return node


def _colorNode(labels: Sequence[Label]) -> Any:
    """The colors that the labels have as segments; values without a label are transparent."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("MedDDPM Training labels")
    node.SetTypeToUser()
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetNumberOfColors(max(label.value for label in labels) + 1)
    node.GetLookupTable().SetTableRange(0, node.GetNumberOfColors() - 1)
    for value in range(node.GetNumberOfColors()):
        node.SetColor(value, "", 0.0, 0.0, 0.0, 0.0)
    for label in labels:
        red, green, blue = (part / 255 for part in label.color)
        node.SetColor(label.value, label.name, red, green, blue, 1.0)
    return slicer.mrmlScene.AddNode(node)
