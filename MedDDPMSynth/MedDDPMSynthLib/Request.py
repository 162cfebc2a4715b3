"""From nodes and options to the request of a job, with its files; as steps that each take milliseconds.

The fields of the request are those of the core's ``SynthesisRequest``, which itself needs torch and is therefore not
imported into the application.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from medddpm.synthesis.request import SynthesisRequest
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.Nodes import patientOf
from MedDDPMSlicerLib.SegmentMasks import composeLabels
from MedDDPMSlicerLib.SegmentReading import readSegments, requireTumorKnown
from MedDDPMSlicerLib.Segments import segmentValues
from MedDDPMSlicerLib.Volumes import saveVolume, transformToSame, volumeOf

from .LocalEdit import changedRegion
from .Options import Anatomy, Contrast, SynthInputs, SynthOptions

Steps = Generator[None, None, Any]


@dataclass
class RequestFiles:
    """Files that a request names, all made by us in the exchange folder."""

    mask: Path
    image: Path | None = None
    known: dict[str, Path] = field(default_factory=dict)
    region: Path | None = None
    reference: dict[str, Path] = field(default_factory=dict)
    anatomy: Path | None = None

    def all(self) -> list[Path]:
        """Every file."""
        several = (*self.known.values(), *self.reference.values())
        return [p for p in (self.mask, self.image, self.region, self.anatomy, *several) if p is not None]

    def remove(self) -> None:
        """Delete them; those that are gone do not matter."""
        for path in self.all():
            path.unlink(missing_ok=True)


def requestOf(options: SynthOptions, model: ModelDescription, files: RequestFiles) -> dict[str, Any]:
    """The request of a job that synthesizes. The mask is in the scheme's own values: nothing is left to recognition.

    That of a growth series, whose kind is "growth", has the number of frames besides.
    """
    request = {f.name: getattr(options, f.name) for f in fields(SynthesisRequest)} | {
        "masks": [str(files.mask)],
        "model": requestedModel(model),
        "images": [str(files.image)] if files.image is not None else [],
        "labels": ownLabels(model),
        "compress": False,
        "reference": [f"{modality}={path}" for modality, path in files.reference.items()],
        "context": [f"{modality}={path}" for modality, path in files.known.items()],
        "region": str(files.region) if files.region is not None else None,
    }
    if options.anatomy is Anatomy.SEGMENTATION:
        request["anatomy"] = str(files.anatomy)
    if options.frames > 1:
        request["frames"] = options.frames
    return request


def estimateRequest(options: SynthOptions, model: ModelDescription) -> dict[str, Any]:
    """The request of an estimate, whose files need not be there."""
    plain = replace(options, anatomy=Anatomy.SEED, contrast=Contrast.SEED)
    return requestOf(plain, model, RequestFiles(Path("none.nrrd")))


def ownLabels(model: ModelDescription) -> str:
    """What the values of a composed mask mean: themselves ("1=1,2=2")."""
    return ",".join(f"{value}={value}" for value in model.config.scheme.values)


def requestedModel(model: ModelDescription) -> str:
    """How a job names the model: by its place, since a worker may look for names elsewhere."""
    return str(model.path)


def checkOptions(options: SynthOptions, model: ModelDescription) -> None:
    """Raise InputError for what no job could do, before anything is computed."""
    unknown = [m for m in options.modalities if m not in model.modalities]
    if unknown:
        raise InputError(f"The model '{model.title}' makes no {unknown[0]}; it makes {', '.join(model.modalities)}.")
    if options.steps is not None and not 1 <= options.steps <= model.config.schedule.steps:
        most = model.config.schedule.steps
        allowed = f"1 to {most}" if most > 1 else "one only"
        raise InputError(f"{options.steps} sampling steps were asked for; this model allows {allowed}.")


def checkInputs(inputs: SynthInputs, options: SynthOptions) -> None:
    """Raise InputError for an order of a script that makes no sense with any model."""
    if inputs.segmentation is None:
        raise InputError("There is no segmentation to synthesize from. Give a vtkMRMLSegmentationNode.")
    if options.frames > 1 and (options.samples > 1 or inputs.isLocalEdit):
        raise InputError("A growth series has one sample and whole images. Leave samples or knownVolumes out.")
    if inputs.isLocalEdit and inputs.originalSegmentation is None:
        raise InputError("A local edit needs originalSegmentation, the mask before it was changed.")
    if options.needsScan and not (inputs.referenceScan or inputs.isLocalEdit):
        raise InputError("Anatomy or contrast are to be those of a reference, but referenceScan has no volumes.")
    if options.anatomy is Anatomy.SEGMENTATION and inputs.anatomySource is None:
        raise InputError("Give the segmentation or label map node itself as anatomy.")


def exportFiles(inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any) -> Steps:
    """Write the mask and the volumes to the exchange folder, one a step; returns RequestFiles.

    Raises InputError with a sentence for a mask or volume that cannot be used; nothing is left behind then.
    """
    files = RequestFiles(storage.exchangeFile(".nrrd"))
    try:
        readSegments(inputs.segmentation, model.config.scheme)
        requireTumorKnown(inputs.segmentation, model.config.scheme)
        yield
        labels = composeLabels(inputs.segmentation, model.config.scheme)
        yield
        saveVolume(labels, files.mask)
        yield
        if inputs.isLocalEdit:
            region = yield from changedRegion(inputs, options, model, labels)
            files.region = storage.exchangeFile(".nrrd")
            saveVolume(region, files.region)
            yield
            for modality, node in inputs.knownVolumes.items():
                files.known[modality] = yield from exportVolume(node, inputs.segmentation, storage)
        elif inputs.referenceVolume is not None:
            files.image = yield from exportVolume(inputs.referenceVolume, inputs.segmentation, storage)
        yield from exportReference(inputs, model, storage, files, inputs.segmentation)
    except BaseException:
        files.remove()
        raise
    return files


def exportReference(
    inputs: SynthInputs, model: ModelDescription, storage: Any, files: RequestFiles, frame: Any
) -> Steps:
    """Steps that write what anatomy and contrast come from into ``files``, in the coordinates of the node ``frame``.

    ``frame`` None means those of the world. Nothing is left behind where that fails.
    """
    known = {name.casefold() for name in model.modalities}
    try:
        for modality, node in inputs.referenceScan.items():
            if modality.casefold() in known:
                files.reference[modality] = yield from exportVolume(node, frame, storage)
        if inputs.anatomySource is not None:
            node, scheme = inputs.anatomySource, model.config.scheme
            if not node.IsA("vtkMRMLSegmentationNode"):
                source = volumeOf(node)
            elif {*segmentValues(node, scheme).values()} & {*scheme.tissue_values}:
                source = composeLabels(node, scheme)
            else:
                names = ", ".join(scheme.label(value).name for value in scheme.tissue_values)
                raise InputError(
                    f"No segment of '{node.GetName()}' is a tissue ({names}). Name its segments so, or choose the "
                    "label map."
                )
            files.anatomy = yield from _export(source, inputs.anatomySource, frame, storage)
    except BaseException:
        for path in (*files.reference.values(), *([files.anatomy] if files.anatomy else [])):
            path.unlink(missing_ok=True)
        raise


def exportVolume(volumeNode: Any, frame: Any, storage: Any) -> Steps:
    """Steps that write a volume in the coordinates of the node ``frame`` (None: the world); they return the file.

    Raises InputError where the two nodes lie under different patients of the subject hierarchy.
    """
    patients = [patientOf(node) for node in (volumeNode, frame) if node is not None]
    if all(patients) and len(set(patients)) > 1:
        raise InputError(
            f"'{volumeNode.GetName()}' belongs to the patient {patients[0]}, '{frame.GetName()}' to {patients[1]}. "
            "Choose image and mask of one patient, or move the node to its patient in the Data module."
        )
    return _export(volumeOf(volumeNode), volumeNode, frame, storage)


def frameUsed(volumeNode: Any) -> str:
    """A sentence where a volume is a frame of a sequence, of which others were not used; else empty."""
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode") if volumeNode is not None else ():
        count = browser.GetNumberOfItems()
        if browser.IsProxyNodeID(volumeNode.GetID()) and count > 1:
            number = browser.GetSelectedItemNumber() + 1
            return f"'{volumeNode.GetName()}' is a sequence: frame {number} of {count}, which was shown, was used."
    return ""


def _export(volume: Volume, node: Any, frame: Any, storage: Any) -> Steps:
    placed = Volume(volume.data, transformToSame(node, frame) @ volume.affine)
    yield
    path = storage.exchangeFile(".nrrd")
    saveVolume(placed, path)
    yield
    return path
