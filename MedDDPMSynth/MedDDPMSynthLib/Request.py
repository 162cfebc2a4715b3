"""From nodes and options to the request of a job, with its files; as steps that each take milliseconds.

The fields of the request are those of the core's ``SynthesisRequest``, which itself needs torch and is therefore not
imported into the application.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import composeLabels
from MedDDPMSlicerLib.VolumeNodes import saveVolume, transformToSame, volumeOf

from .LocalEdit import changedRegion
from .Options import SynthInputs, SynthOptions

Steps = Generator[None, None, Any]


@dataclass
class RequestFiles:
    """Files that a request names, all made by us in the exchange folder."""

    mask: Path
    image: Path | None = None
    known: dict[str, Path] = field(default_factory=dict)
    region: Path | None = None

    def all(self) -> list[Path]:
        """Every file."""
        return [p for p in (self.mask, self.image, *self.known.values(), self.region) if p is not None]

    def remove(self) -> None:
        """Delete them; those that are gone do not matter."""
        for path in self.all():
            path.unlink(missing_ok=True)


def requestOf(options: SynthOptions, model: ModelDescription, files: RequestFiles) -> dict[str, Any]:
    """The request of a synthesis job. The mask is in the scheme's own values, so nothing is left to recognition."""
    request: dict[str, Any] = {
        "masks": [str(files.mask)],
        "model": requestedModel(model),
        "samples": options.samples,
        "seed": options.seed,
        "sampler": options.sampler,
        "steps": options.steps,
        "device": options.device,
        "precision": options.precision,
        "images": [str(files.image)] if files.image is not None else [],
        "modalities": list(options.modalities),
        "labels": ownLabels(model),
        "compress": False,
    }
    if files.region is not None:
        known = [f"{modality}={path}" for modality, path in files.known.items()]
        request.update(known=known, region=str(files.region), seam_mm=float(options.seamMm))
    return request


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
    if options.steps is not None and not 1 <= options.steps <= model.allSteps:
        raise InputError(f"{options.steps} steps were asked for; the model has 1 to {model.allSteps}.")


def exportFiles(inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any) -> Steps:
    """Write the mask and the volumes to the exchange folder, one a step; returns RequestFiles.

    Raises InputError with a sentence for a mask or volume that cannot be used; nothing is left behind then.
    """
    files = RequestFiles(storage.exchangeFile(".nrrd"))
    try:
        labels = composeLabels(inputs.segmentation, model.config.scheme)
        yield
        saveVolume(labels, files.mask)
        yield
        if inputs.isLocalEdit:
            yield from _exportEdit(inputs, options, model, storage, files, labels)
        elif inputs.referenceVolume is not None:
            files.image = yield from exportVolume(inputs.referenceVolume, inputs.segmentation, storage)
    except BaseException:
        files.remove()
        raise
    return files


def _exportEdit(
    inputs: SynthInputs, options: SynthOptions, model: ModelDescription, storage: Any, files: RequestFiles, labels: Any
) -> Steps:
    region = yield from changedRegion(inputs, options, model, labels)
    files.region = storage.exchangeFile(".nrrd")
    saveVolume(region, files.region)
    yield
    for modality, node in inputs.knownVolumes.items():
        files.known[modality] = yield from exportVolume(node, inputs.segmentation, storage)


def exportVolume(volumeNode: Any, segmentationNode: Any, storage: Any) -> Steps:
    """Steps that write a volume in the coordinates of the segmentation; they return the file."""
    volume = volumeOf(volumeNode)
    placed = Volume(volume.data, transformToSame(volumeNode, segmentationNode) @ volume.affine)
    yield
    path = storage.exchangeFile(".nrrd")
    saveVolume(placed, path)
    yield
    return path
