"""The anatomy of a mask: what is missing for the user's choice, and completing it in the mask itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_bounded
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import applyInSteps
from MedDDPMSlicerLib.ToolJob import Steps, ToolJob

from .Options import Anatomy, Contrast, SynthInputs, SynthOptions
from .Request import exportFiles, requestOf

OUTPUT, FACTS, MAX_BYTES = "anatomy.nrrd", "facts.json", 64 * 1024


def untold(model: ModelDescription) -> str | None:
    """A sentence where a model is told no tissues, so that there is nothing to choose; None where it is."""
    if model.config.scheme.tissue_values:
        return None
    return (
        f"The model '{model.title}' has labels for tumor and outline only, so there is no anatomy or contrast to "
        "choose."
    )


def missingForAnatomy(model: ModelDescription, inputs: SynthInputs, options: SynthOptions) -> str | None:
    """A sentence that says what the choice of anatomy and contrast still needs; None where nothing."""
    scan = inputs.knownVolumes or inputs.referenceScan
    if options.needsScan and not {m.casefold() for m in scan} & {m.casefold() for m in model.modalities}:
        names = " or ".join(model.modalities)
        return f"Choose the reference MRI's volume for {names} in the section Real scan; the more of them, the better."
    if options.anatomy is Anatomy.SEGMENTATION:
        if inputs.anatomySource is None:
            return "Choose the segmentation or label map that the anatomy is taken from."
        if inputs.anatomySource is inputs.segmentation:
            return "The anatomy cannot come from the mask itself, whose tissues are kept anyway. Choose another one."
    return None


class AnatomyJob(ToolJob):
    """Completes the anatomy of a mask as its next generation would, and writes it into the segments of the tissues.

    The segments of the tumor stay as they are. ``saveUndo`` is called before the segments change, ``onDone`` at the end
    with the facts (see the core's ``Anatomy``). Raises InputError for what no job could do.
    """

    def __init__(
        self,
        inputs: SynthInputs,
        options: SynthOptions,
        model: ModelDescription,
        storage: Any,
        jobs: Any,
        onDone: Callable[[dict[str, Any]], None],
        onError: Callable[[str], None],
        saveUndo: Callable[[], None] | None = None,
    ) -> None:
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
        self._inputs, self._options, self._model = inputs, options, model
        self._onDone, self._saveUndo = onDone, saveUndo
        super().__init__(jobs, self._steps(storage), self._apply, onError)

    def _steps(self, storage: Any) -> Steps:
        files = yield from exportFiles(self._inputs, self._options, self._model, storage)
        return "anatomy", requestOf(self._options, self._model, files)

    def _apply(self, outputs: Path) -> Steps:
        from medddpm.geometry.io import read_mask

        segmentation, scheme = self._inputs.segmentation, self._model.config.scheme
        if segmentation.GetScene() is None:
            return None
        labels = read_mask(outputs / OUTPUT).volume
        facts = _read(outputs / FACTS)
        yield
        if self._saveUndo is not None:
            self._saveUndo()
        yield from applyInSteps(segmentation, scheme, labels, (scheme.surround, *scheme.tissue_values))
        return lambda: self._onDone(facts)


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError("The completed anatomy could not be read. Press 'Show anatomy' again.") from exc
    return facts if isinstance(facts, dict) else {}
