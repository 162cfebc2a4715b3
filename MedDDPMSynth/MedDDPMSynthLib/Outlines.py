"""The outline of head or brain from an MRI, made by the tools worker and written into the mask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from medddpm.labels.conventions import outline_kind
from medddpm.labels.scheme import LabelScheme
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels

from .LocalEdit import gridImage
from .Request import exportVolume

OUTPUT = "outline.nrrd"


def outlineJob(
    segmentationNode: Any,
    volumeNode: Any,
    model: ModelDescription,
    storage: Any,
    jobs: Any,
    onDone: Callable[[], None] | None = None,
    onError: Callable[[str], None] | None = None,
    saveUndo: Callable[[], None] | None = None,
) -> Job:
    """A job that makes the surrounding label of ``model`` (head or brain) from a volume, and writes it into the mask.

    What is painted already stays, tumor lies over the outline. ``saveUndo`` is called before the segments change.
    Raises InputError where segmentation or volume are missing.
    """
    if segmentationNode is None:
        raise InputError("Choose a segmentation first.")
    if volumeNode is None or volumeNode.GetImageData() is None:
        raise InputError("Choose a reference volume first: the outline is made from it.")

    def prepare() -> Steps:
        path = yield from exportVolume(volumeNode, segmentationNode, storage)
        return "outline", {"image": str(path), "kind": outlineKind(model)}

    def take(outputs: Path) -> Steps:
        from medddpm.geometry.io import read_mask

        if segmentationNode.GetScene() is None:
            return
        outline = read_mask(outputs / OUTPUT).volume
        yield
        labels = _withPainted(outline, segmentationNode, model.config.scheme)
        yield
        if saveUndo is not None:
            saveUndo()
        applyLabels(segmentationNode, model.config.scheme, labels)

    return Job(jobs, prepare(), take, lambda _: onDone() if onDone is not None else None, onError)


def _withPainted(outline: Volume, segmentationNode: Any, scheme: LabelScheme) -> Volume:
    """The outline in the surrounding label, with the tumor, and tissues inside, that are there already over it."""
    labels = np.where(outline.data > 0, scheme.surround, 0).astype(np.uint8)
    grid = Volume(labels, outline.affine)
    with contextlib.suppress(InputError):  # nothing is painted
        painted = composeLabels(segmentationNode, scheme, gridImage(grid))
        kept = np.isin(painted.data, scheme.tumor_values)
        kept |= np.isin(painted.data, scheme.tissue_values) & (labels > 0)
        labels[kept] = painted.data[kept]
    return grid


def outlineKind(model: ModelDescription) -> str:
    """``"brain"`` or ``"head"``: what the surrounding label of a model is."""
    return outline_kind(model.config.scheme)
