"""Jobs that write into the mask itself: the outline of head or brain from an MRI, and the anatomy around a tumor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from medddpm.errors import InputError
from medddpm.files import read_json
from medddpm.geometry.volume import Volume
from medddpm.labels.conventions import outline_kind
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import applyInSteps, applyLabels, composeLabels

from .LocalEdit import gridImage
from .Options import Anatomy, Contrast, SynthInputs, SynthOptions
from .Readiness import missingForAnatomy, untold
from .Request import exportFiles, exportVolume, requestOf

MAX_BYTES = 64 * 1024


class MaskJob(Job):
    """A job that writes into the mask; ``doing`` says in a few words what."""

    doing = ""


def anatomyJob(
    inputs: SynthInputs,
    options: SynthOptions,
    model: ModelDescription,
    storage: Any,
    jobs: Any,
    onDone: Callable[[dict[str, Any]], None],
    onError: Callable[[str], None],
    saveUndo: Callable[[], None] | None = None,
) -> MaskJob:
    """A job that completes the anatomy of a mask as its next generation would, and writes it into its segments.

    Those of the tumor stay as they are. ``saveUndo`` is called before the segments change, ``onDone`` at the end
    with the facts (see the core's ``Anatomy``). Raises InputError for what no job could do.
    """
    if inputs.isLocalEdit:  # the real scan shows the anatomy, whatever of the mask has changed
        own = options.anatomy if options.anatomy is not Anatomy.SEED else Anatomy.REFERENCE
        inputs = replace(inputs, knownVolumes={}, referenceScan=inputs.knownVolumes)
        options = replace(options, anatomy=own)
    options = replace(options, samples=1, contrast=Contrast.SEED)
    if not options.needsScan:
        inputs = replace(inputs, referenceScan={})
    reason = untold(model) or missingForAnatomy(model, inputs, options)
    if reason is not None:
        raise InputError(reason)

    def prepare() -> Steps:
        files = yield from exportFiles(inputs, options, model, storage)
        return "anatomy", requestOf(options, model, files)

    def take(outputs: Path) -> Steps:
        from medddpm.geometry.io import read_mask

        segmentation, scheme = inputs.segmentation, model.config.scheme
        problem = "The completed anatomy could not be read. Press 'Show anatomy' again."
        facts = read_json(outputs / "facts.json", MAX_BYTES, problem)
        if segmentation.GetScene() is not None:
            labels = read_mask(outputs / "anatomy.nrrd").volume
            yield
            if saveUndo is not None:
                saveUndo()
            yield from applyInSteps(segmentation, scheme, labels, (scheme.surround, *scheme.tissue_values))
        return facts

    job = MaskJob(jobs, prepare(), take, onDone, onError)
    job.doing = "Completing the anatomy"
    return job


def outlineJob(
    segmentationNode: Any,
    volumeNode: Any,
    model: ModelDescription,
    storage: Any,
    jobs: Any,
    onDone: Callable[[], None] | None = None,
    onError: Callable[[str], None] | None = None,
    saveUndo: Callable[[], None] | None = None,
) -> MaskJob:
    """A job that makes the surrounding label of ``model`` (head or brain) from a volume, and writes it into the mask.

    What is painted already stays, tumor lies over the outline. ``saveUndo`` is called before the segments change.
    Raises InputError where segmentation or volume are missing.
    """
    if segmentationNode is None:
        raise InputError("Choose a segmentation first.")
    if volumeNode is None or volumeNode.GetImageData() is None:
        raise InputError("Choose a reference volume first: the outline is made from it.")
    scheme = model.config.scheme

    def prepare() -> Steps:
        path = yield from exportVolume(volumeNode, segmentationNode, storage)
        return "outline", {"image": str(path), "kind": outline_kind(scheme)}

    def take(outputs: Path) -> Steps:
        from medddpm.geometry.io import read_mask

        if segmentationNode.GetScene() is None:
            return
        outline = read_mask(outputs / "outline.nrrd").volume
        yield
        labels = np.where(outline.data > 0, scheme.surround, 0).astype(np.uint8)
        grid = Volume(labels, outline.affine)
        with contextlib.suppress(InputError):  # nothing is painted
            painted = composeLabels(segmentationNode, scheme, gridImage(grid))
            kept = np.isin(painted.data, scheme.tumor_values)
            kept |= np.isin(painted.data, scheme.tissue_values) & (labels > 0)
            labels[kept] = painted.data[kept]
        yield
        if saveUndo is not None:
            saveUndo()
        applyLabels(segmentationNode, scheme, grid)

    job = MaskJob(jobs, prepare(), take, lambda _: onDone() if onDone is not None else None, onError)
    job.doing = f"Looking for the {outline_kind(scheme)} in '{volumeNode.GetName()}'"
    return job
