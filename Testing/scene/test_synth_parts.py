"""Small parts of the module's logic: result files, growing a region, noticing changes, the parameter node."""

from __future__ import annotations

import struct

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from MedDDPMSlicerLib.Background import Background, Observed, finish  # noqa: E402
from MedDDPMSlicerLib.Volumes import openPlainNifti, slabs  # noqa: E402
from MedDDPMSynthLib.LocalEdit import grown  # noqa: E402
from MedDDPMSynthLib.Watch import SegmentationWatch  # noqa: E402
from synth_phantoms import painted  # noqa: E402


@pytest.fixture
def nifti(tmp_path):
    """A plain NIfTI file as the core writes it, with its voxels and affine."""
    nibabel = pytest.importorskip("nibabel")
    data = np.random.default_rng(0).integers(0, 1000, (5, 6, 7)).astype(np.int16)
    affine = np.array([[-1.5, 0.1, 0, 30], [0.1, 0, 2.0, -4], [0, -1.2, 0.1, 5], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, code=2)
    nibabel.save(image, tmp_path / "image.nii")
    return tmp_path / "image.nii", data, affine


def test_plain_nifti(nifti):
    path, data, affine = nifti
    mapped = openPlainNifti(path)
    np.testing.assert_array_equal(mapped.voxels.transpose(2, 1, 0), data)
    np.testing.assert_allclose(mapped.affine, affine, atol=1e-5)
    assert mapped.shape == (5, 6, 7)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, struct.pack("<i", 540)),
        (40, struct.pack("<h", 5)),
        (42, struct.pack("<h", 0)),
        (42, struct.pack("<h", 32000)),
        (44, struct.pack("<h", -6)),
        (70, struct.pack("<h", 128)),
        (108, struct.pack("<f", float("nan"))),
        (108, struct.pack("<f", 1e9)),
        (112, struct.pack("<f", 2.0)),
        (116, struct.pack("<f", 1.0)),
        (254, struct.pack("<h", 0)),
        (344, b"x"),
    ],
)
def test_spoiled_nifti_is_refused(nifti, offset, value):
    path, _, _ = nifti
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"image\.nii"):
        openPlainNifti(path)


def test_missing_and_cut_nifti(nifti):
    path, _, _ = nifti
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="incomplete"):
        openPlainNifti(path)
    path.write_bytes(b"")
    with pytest.raises(InputError):
        openPlainNifti(path)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        openPlainNifti(path)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.7, 3.1)])
@pytest.mark.parametrize("margin", [0.0, 2.5, 6.0])
def test_grown_region(spacing, margin, monkeypatch):
    from MedDDPMSynthLib import LocalEdit

    monkeypatch.setattr(LocalEdit, "DISTANCE_VOXELS", 300)  # many slabs
    mask = np.zeros((20, 18, 16), bool)
    mask[0, 3, 4] = mask[12:15, 9, 5:8] = mask[19, 17, 15] = True
    points = np.argwhere(mask) * spacing
    every = np.argwhere(np.ones_like(mask)) * spacing
    nearest = np.min(np.linalg.norm(every[:, None] - points[None], axis=2), axis=1).reshape(mask.shape)
    np.testing.assert_array_equal(finish(grown(mask, spacing, margin)), nearest <= margin + 1e-4)


def test_slabs():
    assert slabs(10, 5, 10) == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8), slice(8, 10)]
    assert slabs(3, 100, 10) == [slice(0, 1), slice(1, 2), slice(2, 3)]


def test_changes_are_told_after_a_rest(scene):
    now = [0.0]
    segmentation = painted(scene)
    watch = SegmentationWatch(1.5, lambda: now[0])
    watch.observe(segmentation)
    assert not watch.pending and not watch.tick()
    segmentation.GetSegmentation().AddEmptySegment("new")
    now[0] = 1.0
    assert watch.pending and not watch.tick()
    segmentation.GetSegmentation().RemoveSegment("new")
    assert watch.pending
    now[0] = 2.4
    assert not watch.tick(), "the rest begins anew with each change"
    now[0] = 2.6
    assert watch.tick() and not watch.tick()
    segmentation.GetDisplayNode().SetOpacity(0.3)
    assert not watch.pending, "the display is not the mask"
    watch.observe(None)
    segmentation.GetSegmentation().AddEmptySegment("other")
    assert not watch.pending


def test_painting_counts_as_a_change(scene):
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels

    segmentation = painted(scene)
    watch = SegmentationWatch(0.0)
    watch.observe(segmentation)
    labels = composeLabels(segmentation, load_scheme("brats"))
    labels.data[:, :, 20:][labels.data[:, :, 20:] == 4] = 2
    applyLabels(segmentation, load_scheme("brats"), labels)
    assert watch.tick()


def test_undo_counts_as_a_change(scene):
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels

    segmentation = painted(scene)
    history = slicer.vtkSegmentationHistory()
    history.SetSegmentation(segmentation.GetSegmentation())
    history.SaveState()
    labels = composeLabels(segmentation, load_scheme("brats"))
    labels.data[labels.data != 4] = 0
    applyLabels(segmentation, load_scheme("brats"), labels)
    watch = SegmentationWatch(0.0)
    watch.observe(segmentation)
    before = watch.revision
    assert not watch.tick() and history.RestorePreviousState()
    assert watch.revision > before and watch.tick()


def test_one_broken_observer_does_not_stop_the_others():
    told = []
    thing = Observed()
    thing.observers += [lambda _: 1 / 0, told.append]
    thing.notify()
    assert told == []
    thing.changed()
    thing.notify()
    thing.notify()
    assert told == [thing]


def test_turns_share_the_time(scene):
    import time

    ticks = {"slow": 0, "a": 0, "b": 0}

    class Worker:
        def __init__(self, name, seconds):
            self.name, self.seconds = name, seconds

        def tick(self):
            ticks[self.name] += 1
            time.sleep(self.seconds)

    background = Background(None, (), scene.StartCloseEvent)
    workers = [Worker("slow", 0.04), Worker("a", 0.0), Worker("b", 0.0)]
    for _ in range(10):
        background.takeTurns(workers)
    assert ticks["slow"] <= 10 and ticks["a"] >= 5 and ticks["b"] >= 5


def test_parameter_node(scene):
    """Needs Slicer's parameter node wrapper, which slicer-core lacks; the application's tests run it there."""
    pytest.importorskip("slicer.parameterNodeWrapper")
    from MedDDPMSynthLib.Options import Anatomy, Contrast, Quality, SynthOptions, inputsOf
    from MedDDPMSynthLib.Parameters import MedDDPMSynthParameterNode

    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "MedDDPMSynth")
    parameters = MedDDPMSynthParameterNode(node)
    parameters.segmentation = painted(scene)
    parameters.quality = Quality.REFERENCE
    parameters.modalities = ["T1"]
    parameters.anatomy, parameters.contrast, parameters.massEffect = Anatomy.SEGMENTATION, Contrast.REFERENCE, 0.25
    parameters.anatomySource = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Tissues")
    parameters.knownVolumes = {"T1": parameters.segmentation.GetID()}
    again = MedDDPMSynthParameterNode(node)
    assert again.segmentation is parameters.segmentation and again.quality is Quality.REFERENCE
    assert (again.anatomy, again.contrast, again.massEffect) == (Anatomy.SEGMENTATION, Contrast.REFERENCE, 0.25)
    wanted = SynthOptions(anatomy=again.anatomy, contrast=again.contrast)
    assert list(again.modalities) == ["T1"] and inputsOf(again, SynthOptions()).referenceScan == {}
    inputs = inputsOf(again, wanted)
    assert list(inputs.referenceScan) == ["T1"] and inputs.knownVolumes == {}
    assert inputs.anatomySource.GetName() == "Tissues"
    again.anatomySource = parameters.segmentation
    again.editRealScan = True
    inputs = inputsOf(again, wanted)
    assert list(inputs.knownVolumes) == ["T1"] and inputs.referenceScan == {}
    assert inputs.anatomySource is parameters.segmentation
