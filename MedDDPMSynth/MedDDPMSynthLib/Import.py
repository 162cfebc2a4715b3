"""Bringing the images of a finished job into the scene, in steps that each take milliseconds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.geometry.volume import Volume
from MedDDPMSlicerLib.Display import displayGray, placeLike, removeNode, setAffine, showOutline
from MedDDPMSlicerLib.Hierarchy import hierarchyOf, putUnder
from MedDDPMSlicerLib.Lattice import voxelView
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.PlainNifti import openPlainNifti
from MedDDPMSlicerLib.SegmentMasks import applyInSteps
from MedDDPMSlicerLib.Slabs import copied
from MedDDPMSlicerLib.SyntheticNodes import markSynthetic
from MedDDPMSlicerLib.VolumeNodes import affineOf, loadVolume

from .Provenance import CaseRecord, SampleRecord, readCase
from .Results import AUTOMATIC, JOB, KEPT, SAMPLE_ANATOMY, caseItem, nextSampleNumber, removeEmptyItems

# Intensities of synthetic images: 0 is empty space.
BRIGHTEST = 1000


@dataclass
class ImportPlan:
    """What is to be imported for one generation, and what came of it so far.

    ``volumes`` are what can be shown, ``others`` further nodes, ``items`` folders of the subject hierarchy.
    """

    segmentation: Any
    model: ModelDescription
    outputs: Path
    jobName: str
    caseName: str
    automatic: bool = False
    windowOf: dict[str, Any] = field(default_factory=dict)
    volumes: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
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
        if sample.anatomy is not None and not plan.automatic:
            yield from _importAnatomy(plan, record, sample, first + offset, item)
    showOutline(plan.segmentation)
    return plan.volumes


def undoImport(plan: ImportPlan) -> None:
    """Remove what was imported so far."""
    for node in (*plan.others, *plan.volumes):
        removeNode(node)
    tree = hierarchyOf()
    cases = {int(tree.GetItemParent(item)) for item in plan.items}
    removeEmptyItems(*plan.items, *cases)


def _importOne(
    plan: ImportPlan, record: CaseRecord, sample: SampleRecord, number: int, item: int, modality: str, path: Path
) -> Generator[None, None, None]:
    image, affine = yield from voxelsOf(path)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _name(plan.caseName, modality, number))
    plan.volumes.append(node)
    setAffine(node, affine)
    placeLike(node, plan.segmentation)
    describe(node, plan, record, sample, {"modality": modality, "sample": number})
    low, high = _window(plan, modality)
    displayGray(node, low, high)
    node.SetAndObserveImageData(image)
    putUnder(node, item)
    yield


def _importAnatomy(
    plan: ImportPlan, record: CaseRecord, sample: SampleRecord, number: int, item: int
) -> Generator[None, None, None]:
    """The tissues as a segmentation, which is not shown: under the image they would hide it."""
    assert sample.anatomy is not None
    labels = yield from labelsOf(sample.anatomy)
    name = f"Anatomy {number:02d} – {plan.caseName} (synthetic)"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    plan.others.append(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(False)
    placeLike(node, plan.segmentation)
    describe(node, plan, record, sample, {"sample": number})
    putUnder(node, item)
    yield
    yield from applyInSteps(node, plan.model.config.scheme, labels)


def labelsOf(path: Path) -> Generator[None, None, Volume]:
    """Steps that read a label map of a job; they return it as a Volume."""
    image, affine = yield from voxelsOf(path)
    return Volume(voxelView(image).transpose(2, 1, 0), affine)


def voxelsOf(path: Path) -> Generator[None, None, tuple[Any, np.ndarray]]:
    """Image data and affine; results of other programs' jobs can be compressed and come through Slicer's reader."""
    if path.name.endswith(".nii"):
        mapped = openPlainNifti(path)
        image = yield from copied(mapped.voxels)
        return image, mapped.affine
    loaded = loadVolume(path, path.name, slicer.vtkMRMLScene())  # not into the user's scene, where it would show up
    yield
    return loaded.GetImageData(), affineOf(loaded)


def describe(node: Any, plan: ImportPlan, record: CaseRecord, sample: SampleRecord, more: dict[str, object]) -> None:
    """Mark a node with where it comes from; ``more``: further fields of ``markSynthetic``."""
    fields = {
        "model": plan.model.title,
        "modelSha256": record.text("model_sha256"),
        "seed": sample.seed,
        "sampler": record.text("sampler"),
        "steps": record.text("steps"),
        **more,
    }
    facts = {**_lean(record.facts), **({SAMPLE_ANATOMY: sample.facts} if sample.facts else {})}
    markSynthetic(node, plan.segmentation, fields, facts)
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
