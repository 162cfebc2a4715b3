"""Whose segments are these: label maps whose segments have no names, in the module and in the effect."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")
nib = pytest.importorskip("nibabel")

from effect_choices import Choices  # noqa: E402
from medddpm.errors import InputError  # noqa: E402
from medddpm.geometry.io import read_mask  # noqa: E402
from medddpm.labels.recognize import apply_mapping, recognize  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.Nodes import provenanceOf  # noqa: E402
from MedDDPMSlicerLib.SegmentMasks import composeLabels  # noqa: E402
from MedDDPMSlicerLib.SegmentReading import readSegments  # noqa: E402
from MedDDPMSlicerLib.Segments import GUESSED, OPEN, SAID, chooseRole, segmentRoles, segmentValues  # noqa: E402
from SegmentEditorMedDDPMLib.EditActions import EditActions  # noqa: E402
from synth_helpers import generated, pollUntil  # noqa: E402
from synth_phantoms import TUMOR, phantom  # noqa: E402
from test_synth_tools import checked  # noqa: E402

BRATS = load_scheme("brats")
HEAD = load_scheme("whole-head")
# What the phantom's necrosis, edema, enhancing tumor and brain become.
OLD, NEW, DECATHLON = {1: 1, 2: 2, 3: 4, 4: 0}, {1: 1, 2: 2, 3: 3, 4: 0}, {1: 2, 2: 1, 3: 3, 4: 0}
WITH_BRAIN = {1: 1, 2: 2, 3: 3, 4: 4}
TWO_PARTS = {1: 2, 2: 1, 3: 2, 4: 0}


@pytest.fixture
def loaded(scene, tmp_path):
    """Loads the phantom, in other numbers, as the application loads a label map as segmentation; with its file."""

    def load(numbers, names=None):
        mask = phantom("ras")
        data = np.zeros(mask.data.shape, np.uint8)
        for value, number in numbers.items():
            data[mask.data == value] = number
        path = tmp_path / "seg.nii.gz"
        nib.save(nib.Nifti1Image(data, mask.affine), path)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "seg")
        node.CreateDefaultDisplayNodes()
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.ReadData(node)
        for old, new in (names or {}).items():
            segment(node, old).SetName(new)
        return node, path

    return load


@pytest.fixture
def agreed(service, modelFolder):
    """A model whose terms were agreed to."""
    service.library.acknowledge(str(modelFolder))
    return modelFolder


def segment(node, name):
    core = node.GetSegmentation()
    return core.GetSegment(core.GetSegmentIdBySegmentName(name))


def named(node, scheme):
    """Segment name -> (name of the label or None, how it is known)."""
    core, roles = node.GetSegmentation(), segmentRoles(node, scheme).items()
    labels = {None: None} | {label.value: label.name for label in scheme.labels}
    return {core.GetSegment(key).GetName(): (labels[role.value], role.origin) for key, role in roles}


@pytest.mark.parametrize("numbers", [OLD, NEW, DECATHLON, WITH_BRAIN])
@pytest.mark.parametrize("scheme", [BRATS, HEAD, load_scheme("glioma-anatomy")])
def test_a_loaded_label_map_is_read_as_its_file_is(loaded, numbers, scheme):
    node, path = loaded(numbers)
    readSegments(node, scheme)
    mask = read_mask(path)
    expected = apply_mapping(mask.volume.data, recognize(mask, scheme).mapping)
    composed = composeLabels(node, scheme)
    np.testing.assert_allclose(composed.affine, mask.volume.affine)
    np.testing.assert_array_equal(composed.data, expected)


def test_numbers_beside_names_are_read_too(loaded):
    node, _ = loaded(WITH_BRAIN, {"Segment_4": "My brain"})
    readSegments(node, BRATS)
    np.testing.assert_array_equal(composeLabels(node, BRATS).data, phantom("ras").data)
    node, _ = loaded(WITH_BRAIN, {"Segment_1": "NCR", "Segment_2": "edema", "Segment_3": "ET"})
    readSegments(node, BRATS)
    np.testing.assert_array_equal(composeLabels(node, BRATS).data, phantom("ras").data)


def test_the_check_reads_a_loaded_label_map_and_says_so(service, loaded, modelFolder):
    node, _ = loaded(OLD)
    service.check.observe(node, None, str(modelFolder))
    checked(service)
    assert named(node, BRATS)["Segment_4"] == ("Enhancing tumor", GUESSED)
    told = {finding.code: finding.sentence for finding in service.check.findings}
    assert "BraTS to 2021: 'Segment_1' -> Necrotic" in told["segments"] and "convention" not in told
    assert service.check.refusal(node) is None


def test_a_press_on_generate_makes_the_tumor_and_keeps_what_was_guessed(service, loaded, modelFolder):
    node, _ = loaded(OLD)
    run = generated(service, node, modelFolder)
    segments = provenanceOf(run.volumes[0])["segments"]
    assert "Segment_4 = Enhancing tumor (guessed)" in segments and len(segments) == 3


def test_what_nothing_decides_is_asked_and_blocks(service, loaded, agreed):
    node, _ = loaded(TWO_PARTS)
    chosen = Choices(node, str(agreed))
    service.check.observe(node, None, str(agreed))
    checked(service)
    reason = service.blockedReason(chosen)
    assert reason is not None and "not clear" in reason and "Segment roles" in reason
    with pytest.raises(InputError, match="not clear"):
        service.start(chosen)
    service.check.stop()  # a script, or someone who has switched the check off
    run = service.start(chosen)
    pollUntil(service, lambda: run.finished)
    assert "not clear" in run.message and not run.volumes
    service.check.observe(node, None, str(agreed))
    core = node.GetSegmentation()
    chooseRole(node, core.GetSegmentIdBySegmentName("Segment_1"), BRATS, 2)
    chooseRole(node, core.GetSegmentIdBySegmentName("Segment_2"), BRATS, 3)
    service.check.touch()
    checked(service)
    assert service.blockedReason(chosen) is None


def test_a_brain_without_its_tumor_is_never_made_in_silence(service, loaded, agreed):
    strange = {"Segment_1": "Blob A", "Segment_2": "Blob B", "Segment_3": "Blob C", "Segment_4": "Brain"}
    node, _ = loaded(WITH_BRAIN, strange)
    service.check.observe(node, None, str(agreed))
    checked(service)
    reason = service.blockedReason(Choices(node, str(agreed)))
    assert reason is not None and "'Blob A', 'Blob B' and 'Blob C'" in reason
    service.check.stop()
    run = service.start(Choices(node, str(agreed)))
    pollUntil(service, lambda: run.finished)
    assert "may be the tumor" in run.message


def test_segments_that_are_not_used_are_a_warning_and_stand_in_the_provenance(service, loaded, agreed):
    node, _ = loaded(WITH_BRAIN)
    core = node.GetSegmentation()
    readSegments(node, BRATS)
    chooseRole(node, core.GetSegmentIdBySegmentName("Segment_1"), BRATS, None)
    assert named(node, BRATS)["Segment_2"][1] == SAID, "what the user saw of the others stays"
    service.check.observe(node, None, str(agreed))
    checked(service)
    warned = [f.sentence for f in service.check.findings if f.code == "unused-segment"]
    assert len(warned) == 1 and warned[0].startswith("The segment 'Segment_1' (") and "mL) is not used" in warned[0]
    run = generated(service, node, agreed)
    assert "Segment_1 = not used" in provenanceOf(run.volumes[0])["segments"]
    assert run.warnings.count("Not used: segment Segment_1.") == 1
    for key in core.GetSegmentIDs():
        chooseRole(node, key, BRATS, None)
    service.check.stop()
    assert "No segment is used" in (service.blockedReason(Choices(node, str(agreed))) or "")


def test_roles_are_saved_with_the_scene(loaded, scene, tmp_path):
    node, _ = loaded(OLD)
    readSegments(node, BRATS)
    core = node.GetSegmentation()
    chooseRole(node, core.GetSegmentIdBySegmentName("Segment_2"), BRATS, None)
    storage = node.GetStorageNode() or scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(node)
    again = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "again")
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    other.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert other.ReadData(again)
    assert named(again, BRATS) == named(node, BRATS)
    assert named(again, BRATS)["Segment_2"] == (None, SAID)


def test_another_model_reads_anew(loaded):
    node, _ = loaded(OLD)
    readSegments(node, BRATS)
    assert {role.origin for role in segmentRoles(node, HEAD).values()} == {OPEN}
    readSegments(node, HEAD)
    assert set(segmentValues(node, HEAD).values()) == {2}


def test_the_users_word_counts_for_other_models_too(loaded):
    node, _ = loaded(WITH_BRAIN)
    core = node.GetSegmentation()
    for name, value in (("Segment_1", None), ("Segment_2", 3), ("Segment_3", 2), ("Segment_4", 4)):
        chooseRole(node, core.GetSegmentIdBySegmentName(name), BRATS, value)
    assert list(segmentValues(node, load_scheme("glioma-anatomy")).values()) == [None, 3, 2, 4]
    assert list(segmentValues(node, HEAD).values()) == [None, 2, 2, 1]
    assert OPEN not in {role.origin for role in segmentRoles(node, HEAD).values()}


def test_the_effect_reads_a_loaded_label_map(loaded):
    node, _ = loaded(WITH_BRAIN)
    told = {"OnlyPicked": "0", "Picked": ""}
    actions = EditActions(told.get, lambda *_: None, lambda: node, lambda: None, lambda: None)
    scheme = actions.scheme()
    assert scheme == BRATS and named(node, BRATS)["Segment_4"] == ("Brain", GUESSED)
    assert actions.ghostAt(TUMOR).centroid == pytest.approx(TUMOR, abs=4)
    with pytest.raises(InputError, match="not clear"):
        two, _ = loaded(TWO_PARTS)
        EditActions({}.get, lambda *_: None, lambda: two, lambda: None, lambda: None).scheme()
