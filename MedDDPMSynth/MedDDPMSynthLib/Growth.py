"""A growth series in the scene: a sequence of volumes for each modality and one of masks, played together."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import slicer
from medddpm.errors import InputError
from MedDDPMSlicerLib.Nodes import (
    SEGMENTATION_ROLE,
    displayGray,
    folderFor,
    placeLike,
    putUnder,
    setAffine,
    showOutline,
)
from MedDDPMSlicerLib.SegmentMasks import applyInSteps

from .Import import BRIGHTEST, ImportPlan, describe, labelsOf, readCases, voxelsOf
from .Results import caseItem

FRAMES_PER_SECOND = 4.0
MASK = "Mask"


def importSeries(plan: ImportPlan) -> Generator[None, None, list[Any]]:
    """Steps that bring a finished growth series into the scene; they return the volumes that play it.

    Raises InputError where a file is missing or damaged. Whoever ends the steps early calls ``undoImport``.
    """
    frames = readCases(plan.outputs, plan.model.modalities)
    if not frames:
        raise InputError("The results are gone. Generate them again.")
    first = frames[0].samples[0]
    browser, sequences = _newPlayer(plan, (*first.images, MASK), first.seed)
    yield
    for number, frame in enumerate(frames, 1):
        for modality, path in frame.samples[0].images.items():
            image, affine = yield from voxelsOf(path)
            node = slicer.vtkMRMLScalarVolumeNode()  # outside of the scene; the sequence copies it
            node.SetName(modality)
            setAffine(node, affine)
            node.SetAndObserveImageData(image)
            describe(node, plan, frame, frame.samples[0], {"modality": modality})
            sequences[modality].SetDataNodeAtValue(node, str(number))
            yield
        if frame.mask is None:
            raise InputError("The mask of a frame is gone. Generate the series again.")
        labels = yield from labelsOf(frame.mask)
        aside = slicer.vtkMRMLScene()
        mask = aside.AddNewNodeByClass("vtkMRMLSegmentationNode", MASK)
        yield from applyInSteps(mask, plan.model.config.scheme, labels)
        describe(mask, plan, frame, frame.samples[0], {})
        sequences[MASK].SetDataNodeAtValue(mask, str(number))
        yield
    browser.SetSelectedItemNumber(0)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    showOutline(plan.segmentation)
    show = getattr(slicer.modules.sequences, "showSequenceBrowser", None)
    if show is not None:  # without the application there is no toolbar
        show(browser)
    return plan.volumes


def _newPlayer(plan: ImportPlan, names: tuple[str, ...], seed: int) -> tuple[Any, dict[str, Any]]:
    """The browser node and a sequence for each of ``names``, with the nodes in the scene that show their frames.

    Those are made before the frames come: otherwise Slicer makes them, and looks through all voxels for gray levels.
    """
    scene, case = slicer.mrmlScene, f"{plan.caseName} (synthetic)"
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", f"Growth – {case}")
    browser.SetPlaybackRateFps(FRAMES_PER_SECOND)
    plan.others.append(browser)
    item = folderFor(f"Growth series (seed {seed})", caseItem(plan.segmentation), key=plan.jobName)
    plan.items.append(item)
    sequences = {}
    for name in names:
        sequence = sequences[name] = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{name} growth – {case}")
        sequence.SetIndexName("frame")
        sequence.SetIndexUnit("")
        kind = "vtkMRMLSegmentationNode" if name == MASK else "vtkMRMLScalarVolumeNode"
        shown = scene.AddNewNodeByClass(kind, f"{name} growth – {case}")
        if name == MASK:  # of the frame that is shown; hidden, since the outline of the user's own mask is seen
            shown.CreateDefaultDisplayNodes()
            shown.GetDisplayNode().SetVisibility(False)
        else:
            displayGray(shown, 0, BRIGHTEST)
        plan.others.append(sequence)
        (plan.others if name == MASK else plan.volumes).append(shown)
        placeLike(shown, plan.segmentation)
        shown.SetNodeReferenceID(SEGMENTATION_ROLE, plan.segmentation.GetID())
        putUnder(shown, item)
        browser.AddSynchronizedSequenceNode(sequence)
        browser.AddProxyNode(shown, sequence, False)
    return browser, sequences
