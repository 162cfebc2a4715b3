"""Completing the anatomy of a mask in the mask itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_json
from MedDDPMSlicerLib.Job import Job, Steps
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import applyInSteps

from .Options import Anatomy, Contrast, SynthInputs, SynthOptions
from .Readiness import missingForAnatomy, untold
from .Request import exportFiles, requestOf

OUTPUT, FACTS, MAX_BYTES = "anatomy.nrrd", "facts.json", 64 * 1024
PROBLEM = "The completed anatomy could not be read. Press 'Show anatomy' again."


def anatomyJob(
    inputs: SynthInputs,
    options: SynthOptions,
    model: ModelDescription,
    storage: Any,
    jobs: Any,
    onDone: Callable[[dict[str, Any]], None],
    onError: Callable[[str], None],
    saveUndo: Callable[[], None] | None = None,
) -> Job:
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
        facts = read_json(outputs / FACTS, MAX_BYTES, PROBLEM)
        if segmentation.GetScene() is not None:
            labels = read_mask(outputs / OUTPUT).volume
            yield
            if saveUndo is not None:
                saveUndo()
            yield from applyInSteps(segmentation, scheme, labels, (scheme.surround, *scheme.tissue_values))
        return facts

    return Job(jobs, prepare(), take, onDone, onError)
