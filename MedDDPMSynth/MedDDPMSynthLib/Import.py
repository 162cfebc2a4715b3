"""Bringing the images of a finished job into the scene, in steps that each take milliseconds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from MedDDPMSlicerLib.Display import displayGray, placeLike, removeNode, setAffine, showOutline
from MedDDPMSlicerLib.Hierarchy import hierarchyOf, putUnder
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.PlainNifti import openPlainNifti
from MedDDPMSlicerLib.Slabs import copied
from MedDDPMSlicerLib.SyntheticNodes import markSynthetic
from MedDDPMSlicerLib.VolumeNodes import affineOf, loadVolume

from .Provenance import CaseRecord, SampleRecord, readCase
from .Results import AUTOMATIC, JOB, KEPT, caseItem, nextSampleNumber, removeEmptyItems

# Intensities of synthetic images: 0 is empty space.
BRIGHTEST = 1000


@dataclass
class ImportPlan:
    """What is to be imported for one generation, and what came of it so far (``volumes``, ``items``)."""

    segmentation: Any
    model: ModelDescription
    outputs: Path
    jobName: str
    caseName: str
    automatic: bool = False
    windowOf: dict[str, Any] = field(default_factory=dict)
    volumes: list[Any] = field(default_factory=list)
    items: list[int] = field(default_factory=list)


def importResults(plan: ImportPlan) -> Generator[None, None, list[Any]]:
    """Steps that load all images of a finished job into the scene; they return the volume nodes.

    Raises InputError where a file is missing or damaged. Whoever ends the steps early calls ``undoImport``.
    """
    record = readCase(plan.outputs, plan.model.modalities)
    first = nextSampleNumber(plan.segmentation)
    for offset, sample in enumerate(record.samples):
        item = _sampleItem(plan, first + offset, sample.seed)
        yield
        for modality, path in sample.images.items():
            yield from _importOne(plan, record, sample, first + offset, item, modality, path)
    showOutline(plan.segmentation)
    return plan.volumes


def undoImport(plan: ImportPlan) -> None:
    """Remove what was imported so far."""
    for node in plan.volumes:
        removeNode(node)
    tree = hierarchyOf()
    cases = {int(tree.GetItemParent(item)) for item in plan.items}
    removeEmptyItems(*plan.items, *cases)


def _importOne(
    plan: ImportPlan, record: CaseRecord, sample: SampleRecord, number: int, item: int, modality: str, path: Path
) -> Generator[None, None, None]:
    image, affine = yield from _voxels(path)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _name(plan.caseName, modality, number))
    plan.volumes.append(node)
    setAffine(node, affine)
    placeLike(node, plan.segmentation)
    _describe(node, plan, record, sample, number, modality)
    low, high = _window(plan, modality)
    displayGray(node, low, high)
    node.SetAndObserveImageData(image)
    putUnder(node, item)
    yield


def _voxels(path: Path) -> Generator[None, None, tuple[Any, np.ndarray]]:
    """Image data and affine; results of other programs' jobs can be compressed and come through Slicer's reader."""
    if path.name.endswith(".nii"):
        mapped = openPlainNifti(path)
        image = yield from copied(mapped.voxels)
        return image, mapped.affine
    loaded = loadVolume(path, path.name, slicer.vtkMRMLScene())  # not into the user's scene, where it would show up
    yield
    return loaded.GetImageData(), affineOf(loaded)


def _describe(
    node: Any, plan: ImportPlan, record: CaseRecord, sample: SampleRecord, number: int, modality: str
) -> None:
    fields = {
        "model": plan.model.title,
        "modelSha256": record.text("model_sha256"),
        "seed": sample.seed,
        "sampler": record.text("sampler"),
        "steps": record.text("steps"),
        "modality": modality,
        "sample": number,
    }
    markSynthetic(node, plan.segmentation, fields, _lean(record.facts))
    node.SetAttribute(JOB, plan.jobName)
    node.SetAttribute(KEPT, "1")
    if plan.automatic:
        node.SetAttribute(AUTOMATIC, "1")


def _lean(facts: dict[str, Any]) -> dict[str, Any]:
    """The record without lists of files, which mean nothing in a scene."""
    return {key: value for key, value in facts.items() if key not in ("samples", "mask_files")}


def _window(plan: ImportPlan, modality: str) -> tuple[float, float]:
    """Gray levels: of the real scan for a local edit, which has its intensities, else the model's own range."""
    real = plan.windowOf.get(modality)
    display = real.GetDisplayNode() if real is not None else None
    if display is None:
        return 0.0, float(BRIGHTEST)
    return display.GetWindowLevelMin(), display.GetWindowLevelMax()


def _sampleItem(plan: ImportPlan, number: int, seed: int) -> int:
    hierarchy = hierarchyOf()
    name = "Automatic update" if plan.automatic else f"Sample {number:02d} (seed {seed})"
    item = int(hierarchy.CreateFolderItem(caseItem(plan.segmentation), name))
    plan.items.append(item)
    return item


def _name(case: str, modality: str, number: int) -> str:
    return f"{modality} {number:02d} – {case} (synthetic)"  # narrow views show the first eight letters of long names
