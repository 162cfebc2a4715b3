"""Bringing the images of a finished job into the scene, in steps that each take milliseconds."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from medddpm.files import read_json, write_text
from medddpm.geometry.volume import Volume
from medddpm.jobs.folder import JobFolder
from medddpm.labels.scheme import Label, LabelScheme
from medddpm.parse import from_dict
from medddpm.synthesis.names import safe_name
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
from MedDDPMSlicerLib.Volumes import affineOf, copied, loadVolume, openPlainNifti

from .Results import (
    AUTOMATIC,
    JOB,
    KEPT,
    REGION,
    SAMPLE_ANATOMY,
    SAMPLE_VERIFICATION,
    caseItem,
    kindOf,
    nextSampleNumber,
    removeEmptyItems,
)

RECORD, MAX_RECORD_BYTES = "scene.json", 64 * 1024
# Intensities of synthetic images: 0 is empty space.
BRIGHTEST = 1000
# The segment of what of an edited scan was generated, blend width included.
CHANGED = "Region"
_REGION = LabelScheme("region", (Label(1, "Synthetic region", (244, 214, 49), "SCT^85756007^Tissue"),), 1, "real")
PROVENANCE, MAX_PROVENANCE_BYTES, MAX_SAMPLES = "provenance.json", 16 * 2**20, 1000
_FILE = re.compile(r"[^/\\:\0]{1,255}")


@dataclass(frozen=True)
class SampleRecord:
    """One sample: its seed and its image files (modality -> path).

    ``anatomy``: the file of the label map that it was made from, for models that are told tissues. ``facts``: what is
    known of that and of segmenting it again, by their names in the provenance of its volumes.
    """

    seed: int
    images: dict[str, Path]
    anatomy: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseRecord:
    """A finished case. ``facts`` is the whole record as JSON data, ``mask`` the file of the mask that was used,
    ``region`` that of the voxels of a real scan that were changed.
    """

    facts: dict[str, Any]
    samples: tuple[SampleRecord, ...]
    mask: Path | None = None
    region: Path | None = None

    @property
    def edited(self) -> tuple[str, ...]:
        """The modalities of a real scan of which a region was generated."""
        names = self.facts.get("partly_synthetic")
        return tuple(str(name) for name in names) if isinstance(names, list) else ()


@dataclass(frozen=True)
class SceneRecord:
    """What Slicer must know of a job to bring its results into a scene, kept in the job's own folder.

    ``caseName``: what the results are called; ``segmentationId``: the node they belong to, in its own scene; ``model``:
    key of the model; ``output``: the folder to deliver to, for a case of a batch; ``segments``: their roles.
    """

    caseName: str
    segmentationId: str = ""
    model: str = ""
    automatic: bool = False
    localEdit: bool = False
    output: str = ""
    segments: tuple[str, ...] = ()

    def write(self, folder: JobFolder) -> None:
        """Put it into a job's folder. Raises InputError on a full disk."""
        write_text(folder.inside(RECORD), json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, folder: JobFolder) -> SceneRecord | None:
        """The record in a job's folder; None where there is none of ours."""
        try:
            return from_dict(cls, read_json(folder.inside(RECORD), MAX_RECORD_BYTES, "It cannot be read."), RECORD)
        except InputError:
            return None


@dataclass
class ImportPlan:
    """What is to be imported for one generation, and what came of it so far.

    ``segments``: what each segment of the mask was taken for. ``volumes`` are what can be shown, ``others`` further
    nodes, ``items`` folders of the subject hierarchy, ``edited`` the modalities of a real scan.
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
    edited: tuple[str, ...] = ()


def importResults(plan: ImportPlan) -> Generator[None, None, list[Any]]:
    """Steps that load all images of a finished job into the scene; they return the volume nodes.

    Raises InputError where a file is missing or damaged. Whoever ends the steps early calls ``undoImport``.
    """
    cases = readCases(plan.outputs, plan.model.modalities)
    if len(cases) != 1:
        raise InputError("The results are gone. Generate them again.")
    record, scene, case = cases[0], slicer.mrmlScene, plan.caseName
    plan.edited = record.edited
    for number, sample in enumerate(record.samples, nextSampleNumber(plan.segmentation)):
        what = "Edited scan" if record.edited else "Sample"
        name = "Automatic update" if plan.automatic else f"{what} {number:02d} (seed {sample.seed})"
        item = int(hierarchyOf().CreateFolderItem(caseItem(plan.segmentation, bool(record.edited)), name))
        plan.items.append(item)
        yield
        for modality, path in sample.images.items():
            image, affine = yield from voxelsOf(path)
            # Narrow views show the first eight letters of long names.
            name = f"{modality} {number:02d} – {case} {kindOf(modality in record.edited)}"
            node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
            plan.volumes.append(node)
            setAffine(node, affine)
            placeLike(node, plan.segmentation)
            describe(node, plan, record, sample, {"modality": modality, "sample": number})
            # A local edit has the intensities of the real scan, other images the model's own range.
            real = plan.windowOf.get(modality)
            display = real.GetDisplayNode() if real is not None else None
            low, high = (display.GetWindowLevelMin(), display.GetWindowLevelMax()) if display else (0, BRIGHTEST)
            displayGray(node, low, high)
            node.SetAndObserveImageData(image)
            putUnder(node, item)
            yield
        masks = (sample.anatomy, record.region) if not plan.automatic else ()
        for what, path, scheme in zip(("Anatomy", CHANGED), masks, (plan.model.config.scheme, _REGION), strict=False):
            if path is None:
                continue
            labels = yield from labelsOf(path)
            node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{what} {number:02d} – {case} (synthetic)")
            plan.others.append(node)
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetVisibility(False)  # under the image it would hide it
            placeLike(node, plan.segmentation)
            describe(node, plan, record, sample, {"sample": number})
            if what == CHANGED:
                node.SetAttribute(REGION, "1")
            putUnder(node, item)
            yield
            yield from applyInSteps(node, scheme, labels)
    showOutline(plan.segmentation)
    return plan.volumes


def undoImport(plan: ImportPlan) -> None:
    """Remove what was imported so far."""
    for node in (*plan.others, *plan.volumes):
        removeNode(node)
    tree = hierarchyOf()
    cases = {int(tree.GetItemParent(item)) for item in plan.items}
    removeEmptyItems(*plan.items, *cases)


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
        "modelSha256": record.facts.get("model_sha256"),
        "seed": sample.seed,
        "sampler": record.facts.get("sampler"),
        "steps": record.facts.get("steps"),
        **more,
    }
    # Lists of files mean nothing in a scene.
    facts = {key: value for key, value in record.facts.items() if key not in ("samples", "mask_files")}
    facts |= {"segments": list(plan.segments)} | sample.facts
    markSynthetic(node, plan.segmentation, fields, facts)
    node.SetAttribute(JOB, plan.jobName)
    node.SetAttribute(KEPT, "1")
    if plan.automatic:
        node.SetAttribute(AUTOMATIC, "1")


def readCases(outputs: Path, modalities: tuple[str, ...]) -> list[CaseRecord]:
    """All cases in the ``outputs`` of a job, by name. Raises InputError where one is not whole."""
    try:
        folders = sorted(p for p in outputs.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        folders = []
    problem, cases = "The record of the results cannot be read. Generate them again.", []
    for folder in folders:
        try:
            facts = read_json(folder / PROVENANCE, MAX_PROVENANCE_BYTES, problem)
            masks = [n for n in facts.get("mask_files") or [] if isinstance(n, str) and _FILE.fullmatch(n)]
            samples = [_sample(folder, entry, modalities) for entry in facts["samples"][:MAX_SAMPLES]]
        except (ValueError, KeyError, TypeError) as exc:
            raise InputError(problem) from exc
        if not samples:
            raise InputError("There are no finished images. Generate them again.")
        paths = [folder / name for name in masks]
        region = next((path for path in paths if path.name.endswith(("_region.nii", "_region.nii.gz"))), None)
        mask = next((path for path in paths if path != region), None)
        cases.append(CaseRecord(facts, tuple(samples), mask, region))
    return cases


def _sample(folder: Path, entry: dict[str, Any], modalities: tuple[str, ...]) -> SampleRecord:
    """The images on the mask's grid; those on the model's grid are in a folder of their own and left out."""
    names = [n for n in entry["files"] if isinstance(n, str) and _FILE.fullmatch(n)]

    def ending(what: str) -> Path | None:
        return next((folder / n for n in names if n.endswith((f"_{what}.nii", f"_{what}.nii.gz"))), None)

    found = {modality: ending(safe_name(modality)) for modality in modalities}
    images = {modality: path for modality, path in found.items() if path is not None}
    known = {SAMPLE_ANATOMY: entry.get("anatomy"), SAMPLE_VERIFICATION: entry.get("verification")}
    facts = {name: value for name, value in known.items() if value and isinstance(value, dict)}
    return SampleRecord(int(entry["seed"]), images, ending("anatomy"), facts)
