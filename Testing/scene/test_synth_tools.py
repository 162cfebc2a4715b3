"""Mask check, outline, estimate and conversion: jobs of the tools worker, from the scene and back."""

from __future__ import annotations

import json
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels  # noqa: E402
from MedDDPMSynthLib.Options import Anatomy, Contrast, Quality  # noqa: E402
from patience import patient  # noqa: E402
from scene_phantoms import volumeNodeFromArray  # noqa: E402
from synth_helpers import leftovers, lentService, pollUntil  # noqa: E402
from synth_phantoms import CENTER, GEOMETRIES, HALF_AXES, painted, phantom, positions  # noqa: E402

BRATS = load_scheme("brats")


def parameters(**values):
    """What a parameter node holds, as far as these orders read it."""
    known = {
        "segmentation": None,
        "referenceVolume": None,
        "model": "demo",
        "samples": 1,
        "seed": 0,
        "lockSeed": False,
        "quality": Quality.STANDARD,
        "sampler": "",
        "steps": 0,
        "modalities": [],
        "device": "cpu",
        "precision": "fp32",
        "showPreview": True,
        "guidance": 1.0,
        "verify": "none",
        "bestOf": 1,
        "ignoreMemory": False,
        "on": "",
        "seamMm": 4.0,
        "marginMm": 6.0,
        "anatomy": Anatomy.SEED,
        "massEffect": 1.0,
        "contrast": Contrast.SEED,
        "editRealScan": False,
    }
    return SimpleNamespace(**{**known, **values})


def checked(service):
    """The codes of the findings, after the check has come to its end."""
    pollUntil(service, lambda: not service.check.checking)
    return {finding.code for finding in service.check.findings}


def withIsland(segmentation) -> None:
    """A piece of tumor outside of the brain, which the check cuts off."""
    labels = composeLabels(segmentation, BRATS)
    data = labels.data.copy()
    data[1:3, 1:3, 1:3] = 3
    applyLabels(segmentation, BRATS, type(labels)(data, labels.affine))


def test_findings_and_their_fix(service, scene, modelFolder):
    segmentation = painted(scene)
    told = []
    service.check.observers.append(lambda check: told.append(check.checking))
    service.check.observe(segmentation, None, str(modelFolder))
    assert service.check.checking
    checked(service)
    assert service.check.message == "" and not any(f.severity == "error" for f in service.check.findings)
    before = composeLabels(segmentation, BRATS).data.copy()
    withIsland(segmentation)
    checked(service)
    fixable = [f for f in service.check.findings if f.fixable]
    assert fixable and all(f.sentence and f.fix for f in fixable)
    saved = []
    for finding in fixable:
        service.check.fix(finding, saveUndo=lambda: saved.append(composeLabels(segmentation, BRATS).data.copy()))
        checked(service)
    assert saved and (saved[0][1:3, 1:3, 1:3] == 3).all(), "the state before the fix was kept"
    np.testing.assert_array_equal(composeLabels(segmentation, BRATS).data, before)
    assert not any(f.fixable for f in service.check.findings)
    assert True in told
    service.check.stop()
    assert service.check.findings == [] and leftovers(service) == []


@pytest.mark.slow
def test_fix_all(service, scene, modelFolder):
    segmentation = painted(scene, grid="oblique")
    withIsland(segmentation)
    service.check.observe(segmentation, None, str(modelFolder))
    checked(service)
    service.check.fixAll()
    checked(service)
    assert not any(f.fixable for f in service.check.findings)
    assert (composeLabels(segmentation, BRATS).data[1:3, 1:3, 1:3] == 0).all()
    service.check.stop()


@pytest.mark.slow
def test_check_that_cannot_be_made(service, scene, modelFolder):
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    service.check.observe(empty, None, str(modelFolder))
    checked(service)
    assert service.check.findings == [] and "segment" in service.check.message
    service.check.observe(painted(scene), None, "no-such-model")
    checked(service)
    assert "no-such-model" in service.check.message
    service.check.observe(None)
    assert service.check.message == ""


def headVolume(scene, grid="oblique"):
    """An image of a bright head on a dark ground with some noise."""
    shape, affine = GEOMETRIES[grid]
    points = positions(shape, affine)
    inside = sum(((p - c) / a) ** 2 for p, c, a in zip(points, CENTER, HALF_AXES, strict=True)) <= 1
    data = np.random.default_rng(0).normal(20, 5, shape) + inside * 400
    return volumeNodeFromArray(scene, "MRI", data.astype(np.float32), affine), inside


@pytest.mark.parametrize("moved", [False, True])
def test_outline_from_a_volume(service, scene, modelFolder, moved):
    volume, inside = headVolume(scene)
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    if moved:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        for node in (volume, segmentation):
            node.SetAndObserveTransformNodeID(transform.GetID())
    ended = []
    order = parameters(segmentation=segmentation, referenceVolume=volume, model=str(modelFolder))
    service.outline(order, lambda: ended.append("done"), ended.append)
    pollUntil(service, lambda: bool(ended))
    assert ended == ["done"]
    outline = composeLabels(segmentation, BRATS)
    np.testing.assert_allclose(outline.affine, GEOMETRIES["oblique"][1], atol=1e-3)
    overlap = 2 * np.count_nonzero((outline.data == 4) & inside) / (np.count_nonzero(outline.data) + inside.sum())
    assert overlap > 0.8  # the core's own tests look at how good it is
    assert leftovers(service) == []


def test_outline_keeps_the_tumor(service, scene, modelFolder):
    volume, _ = headVolume(scene, "lps")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    tumor = phantom("lps")
    applyLabels(segmentation, BRATS, type(tumor)(np.where(tumor.data == 4, 0, tumor.data), tumor.affine))
    ended = []
    order = parameters(segmentation=segmentation, referenceVolume=volume, model=str(modelFolder))
    service.outline(order, lambda: ended.append("done"), ended.append, lambda: ended.append("saved"))
    assert "Looking for the brain in 'MRI'. Wait" in service.blockedReason(order)
    with pytest.raises(InputError, match="Looking for the brain"):
        service.outline(order)
    pollUntil(service, lambda: "done" in ended)
    assert "Looking" not in (service.blockedReason(order) or "")
    labels = composeLabels(segmentation, BRATS)
    np.testing.assert_array_equal(np.where(labels.data == 4, 0, labels.data), np.where(tumor.data == 4, 0, tumor.data))
    assert ended == ["saved", "done"] and (labels.data == 4).any()
    with pytest.raises(InputError, match="reference volume"):
        service.outline(parameters(segmentation=segmentation), None)


def test_outline_keeps_the_tissues_inside(service, scene, modelFolder, tmp_path):
    anatomy = load_scheme("glioma-anatomy")
    config = json.loads((modelFolder / "config.json").read_text(encoding="utf-8"))
    config["scheme"], config["network"]["mask_channels"] = anatomy.to_dict(), len(anatomy.labels)
    shutil.copytree(modelFolder, tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    volume, _ = headVolume(scene, "lps")
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mask")
    painted = phantom("lps")
    tissues = np.where(painted.data == 4, 6, painted.data).astype(np.uint8)
    tissues[:2] = 9
    applyLabels(segmentation, anatomy, type(painted)(tissues, painted.affine))
    ended = []
    order = parameters(segmentation=segmentation, referenceVolume=volume, model=str(tmp_path / "model"))
    service.outline(order, lambda: ended.append("done"), ended.append)
    pollUntil(service, lambda: bool(ended))
    assert ended == ["done"]
    labels = composeLabels(segmentation, anatomy).data
    kept = (tissues > 0) & (labels > 0)
    np.testing.assert_array_equal(labels[kept], tissues[kept])
    assert (labels == 6).any() and not (labels == 9).any()


@pytest.mark.slow
def test_estimate(service, modelFolder):
    service.library.acknowledge(str(modelFolder))
    answers = []
    service.requestEstimate(parameters(model=str(modelFolder), samples=5), answers.append, answers.append)
    service.requestEstimate(parameters(model=str(modelFolder)), answers.append, answers.append)
    pollUntil(service, lambda: bool(answers))
    (estimate,) = answers
    assert estimate.fits and "GB of memory" in estimate.sentence and "The device is cpu." in estimate.sentence
    pollUntil(service, lambda: leftovers(service) == [], 20)
    service.requestEstimate(parameters(model="no-such-model"), answers.append, answers.append)
    assert "no-such-model" in answers[-1]


def test_blocked_reasons(service, scene, modelFolder):
    key = str(modelFolder)
    node = parameters(model=key)
    assert "terms" in service.blockedReason(node)
    service.library.acknowledge(key)
    assert "segmentation" in service.blockedReason(node)
    node.segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    assert "no segments" in service.blockedReason(node)
    node.segmentation = painted(scene)
    assert service.blockedReason(node) is None
    node.editRealScan, node.knownVolumes, node.originalSegmentation = True, {}, None
    assert "T1 or FLAIR" in service.blockedReason(node)
    node.model = "no-such-model"
    assert "no-such-model" in service.blockedReason(node)
    with pytest.raises(InputError, match="no-such-model"):
        service.start(node)
    assert service.blockedReason(None)


def test_missing_packages_are_named(scene, root, workerPython, modelFolder):
    missing = [SimpleNamespace(name="torch"), SimpleNamespace(name="nibabel")]
    lender = lentService(root, workerPython, missing=lambda use: missing)
    service = next(lender)
    node = parameters(model=str(modelFolder), segmentation=painted(scene))
    service.library.acknowledge(str(modelFolder))
    assert service.blockedReason(node) == "Install the missing packages first: torch, nibabel."
    missing.clear()
    assert "missing" in service.blockedReason(node), "looked up every few seconds only"
    service.packages.lookAgain()
    assert service.blockedReason(node) is None
    next(lender, None)


@pytest.mark.slow
def test_start_from_the_parameter_node(service, scene, modelFolder):
    key = str(modelFolder)
    service.library.acknowledge(key)
    node = parameters(segmentation=painted(scene), model=key, quality=Quality.CUSTOM, steps=2, samples=2, seed=11)
    run = service.start(node)
    assert node.seed == 13 and service.library.lastUsed == key
    assert "running" in service.blockedReason(node)
    service.waitFor(run, patient(30))
    run.raiseFailure()
    assert len(run.volumes) == 4 and service.blockedReason(node) is None


SAVE_CHECKPOINT = """
import sys, torch
from safetensors.torch import load_file
torch.save({"step": 1, "ema": load_file(sys.argv[1])}, sys.argv[2])
"""


@pytest.mark.slow
def test_published_checkpoint_is_imported(service, modelFolder, workerPython, tmp_path):
    checkpoint = tmp_path / "published model.pt"
    order = [workerPython, "-c", SAVE_CHECKPOINT, str(modelFolder / "model.safetensors"), str(checkpoint)]
    subprocess.run(order, check=True, capture_output=True)
    config = (modelFolder / "config.json").read_text(encoding="utf-8")
    (tmp_path / "published model.config.json").write_text(config, encoding="utf-8")
    ended = []
    service.library.importCheckpoint(checkpoint, "My model", ended.append, ended.append)
    pollUntil(service, lambda: bool(ended))
    (key,) = ended
    assert service.library.describe(key).modalities == ("T1", "FLAIR")
    assert key in dict(service.library.entries()) and leftovers(service) == []
    with pytest.raises(InputError, match="already"):
        service.library.importCheckpoint(checkpoint, "My model")
    (tmp_path / "evil.pt").write_bytes(b"not a checkpoint")
    service.library.importCheckpoint(tmp_path / "evil.pt", "Evil", ended.append, ended.append)
    pollUntil(service, lambda: len(ended) == 2)
    assert "evil.pt" in ended[1] and len(service.library.entries()) >= 2
    pollUntil(service, lambda: leftovers(service) == [], 10)
    with pytest.raises(InputError, match="checkpoint"):
        service.library.remember(checkpoint)
