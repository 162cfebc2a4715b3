"""Bringing the images of a finished job into the scene, in steps that each take milliseconds."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.geometry.volume import Volume
from MedDDPMSlicerLib.Lattice import voxelView
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.Nodes import (
    displayGray,
    hierarchyOf,
    markSynthetic,
    placeLike,
    putUnder,
    removeNode,
    setAffine,
    showOutline,
)
from MedDDPMSlicerLib.SegmentMasks import applyInSteps
from MedDDPMSlicerLib.VolumeNodes import affineOf, loadVolume
from MedDDPMSlicerLib.Voxels import copied, openPlainNifti

from .Results import AUTOMATIC, JOB, KEPT, SAMPLE_ANATOMY, caseItem, nextSampleNumber, removeEmptyItems

# Intensities of synthetic images: 0 is empty space.
BRIGHTEST = 1000
PROVENANCE, MAX_PROVENANCE_BYTES, MAX_SAMPLES = "provenance.json", 16 * 2**20, 1000
_FILE = re.compile(r"[^/\\:\0]{1,255}")


@dataclass(frozen=True)
class SampleRecord:
    """One sample: its seed and its image files (modality -> path).

    ``anatomy``: the file of the label map that it was made from, and ``facts`` what is known of it, for models that are
    told tissues.
    """

    seed: int
    images: dict[str, Path]
    anatomy: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseRecord:
    """A finished case. ``facts`` is the whole record as JSON data, ``mask`` the file of the mask that was used."""

    folder: Path
    facts: dict[str, Any]
    samples: tuple[SampleRecord, ...]
    mask: Path | None = None

    def text(self, name: str) -> str:
        """A fact as text; empty where it is absent."""
        value = self.facts.get(name)
        return "" if value is None else str(value)


@dataclass
class ImportPlan:
    """What is to be imported for one generation, and what came of it so far.

    ``segments``: what each segment of the mask was taken for. ``volumes`` are what can be shown, ``others`` further
    nodes, ``items`` folders of the subject hierarchy.
    """

    segmentation: Any
    model: ModelDescription
    outputs: Path
    jobName: str
    caseName: str
    automatic: bool = False
    segments: tuple[str, ...] = ()
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
    facts = {
        **_lean(record.facts),
        "segments": list(plan.segments),
        **({SAMPLE_ANATOMY: sample.facts} if sample.facts else {}),
    }
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


def readCase(outputs: Path, modalities: tuple[str, ...]) -> CaseRecord:
    """The only case in the ``outputs`` of a job. Raises InputError where there is none that is whole."""
    cases = readCases(outputs, modalities)
    if len(cases) != 1:
        raise InputError("The results are gone. Generate them again.")
    return cases[0]


def readCases(outputs: Path, modalities: tuple[str, ...]) -> list[CaseRecord]:
    """All cases in the ``outputs`` of a job, by name. Raises InputError where one is not whole."""
    try:
        folders = sorted(p for p in outputs.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        folders = []
    return [_readFolder(folder, modalities) for folder in folders]


def _readFolder(folder: Path, modalities: tuple[str, ...]) -> CaseRecord:
    problem = "The record of the results cannot be read. Generate them again."
    try:
        facts = read_json(folder / PROVENANCE, MAX_PROVENANCE_BYTES, problem)
        masks = [n for n in facts.get("mask_files") or [] if isinstance(n, str) and _FILE.fullmatch(n)]
        samples = [_sample(folder, entry, modalities) for entry in facts["samples"][:MAX_SAMPLES]]
    except (ValueError, KeyError, TypeError) as exc:
        raise InputError(problem) from exc
    if not samples:
        raise InputError("There are no finished images. Generate them again.")
    return CaseRecord(folder, facts, tuple(samples), folder / masks[0] if masks else None)


def _sample(folder: Path, entry: dict[str, Any], modalities: tuple[str, ...]) -> SampleRecord:
    """The images on the mask's grid; those on the model's grid are in a folder of their own and left out."""
    names = [n for n in entry["files"] if isinstance(n, str) and _FILE.fullmatch(n)]
    found = {modality: _ending(names, _safe(modality)) for modality in modalities}
    images = {modality: folder / name for modality, name in found.items() if name is not None}
    anatomy, facts = _ending(names, "anatomy"), entry.get("anatomy")
    return SampleRecord(
        int(entry["seed"]),
        images,
        None if anatomy is None else folder / anatomy,
        facts if isinstance(facts, dict) else {},
    )


def _ending(names: list[str], ending: str) -> str | None:
    return next((name for name in names if name.endswith((f"_{ending}.nii", f"_{ending}.nii.gz"))), None)


def _safe(modality: str) -> str:
    """As the core writes a modality in a file name (``medddpm.synthesis.names.image_name``)."""
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in modality)
