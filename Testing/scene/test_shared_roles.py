"""Which label of the model a segment is: by tag, name and terminology."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import Label, LabelScheme, load_scheme
from MedDDPMSlicerLib.SegmentMasks import applyLabels, composeLabels
from MedDDPMSlicerLib.Segments import createSegments, segmentReading, segmentValues, setSegmentValue, terminologyEntry

BRATS = load_scheme("brats")
HEAD = load_scheme("whole-head")
ANATOMY = load_scheme("glioma-anatomy")


@pytest.mark.parametrize(
    ("name", "anatomy", "brats", "head"),
    [
        ("Edema", 2, 2, 2),
        ("peritumoural oedema", 2, 2, 2),
        ("Non-enhancing core", 1, 1, 2),
        ("ET", 3, 3, 2),
        ("Head", 4, 4, 1),
        ("GTV 1", 3, 3, 2),
        ("Non-tumor brain", 4, 4, 1),
        ("nonEnhancingCore", 1, 1, 2),
        ("patient01_brain_t1c_seg", None, None, None),
        ("Left-Lateral-Ventricle", 6, 4, 1),
        ("white matter", 9, 4, 1),
        ("Thalamus", 8, 4, 1),
        ("Electrode", None, None, None),
        ("Segment_1", None, None, None),
    ],
)
def test_names_are_understood(
    segmentationNode: Any, name: str, anatomy: int | None, brats: int | None, head: int | None
) -> None:
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("", name)
    assert segmentValues(segmentationNode, ANATOMY) == {segmentId: anatomy}
    assert segmentValues(segmentationNode, BRATS) == {segmentId: brats}
    assert segmentValues(segmentationNode, HEAD) == {segmentId: head}


def test_the_reading_is_told_where_names_are_not_the_labels_own(segmentationNode: Any) -> None:
    createSegments(segmentationNode, BRATS)
    assert segmentReading(segmentationNode, BRATS) == ""
    segmentationNode.GetSegmentation().AddEmptySegment("", "Electrode")
    assert "'Brain' -> Brain, 'Electrode' -> not known, left out." in segmentReading(segmentationNode, BRATS)


def test_terminology_tells_where_the_name_does_not(segmentationNode: Any) -> None:
    segmentation = segmentationNode.GetSegmentation()
    segmentId = segmentation.AddEmptySegment("", "Segment_1")
    entry = "Context~SCT^49755003^Morphologically Altered Structure~SCT^79654002^Edema~^^~Anatomic codes~^^~^^"
    segmentation.GetSegment(segmentId).SetTerminology(entry)
    assert segmentValues(segmentationNode, BRATS) == {segmentId: 2}
    for label in ANATOMY.labels[3:]:
        segmentation.GetSegment(segmentId).SetTerminology(terminologyEntry(label))
        assert segmentValues(segmentationNode, ANATOMY) == {segmentId: label.value}
        assert segmentValues(segmentationNode, BRATS) == {segmentId: 4}


def test_a_tag_counts_more_than_the_name_and_for_its_scheme_only(segmentationNode: Any) -> None:
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("", "Edema")
    setSegmentValue(segmentationNode, segmentId, BRATS, 1)
    assert segmentValues(segmentationNode, BRATS) == {segmentId: 1}
    assert segmentValues(segmentationNode, HEAD) == {segmentId: 2}
    setSegmentValue(segmentationNode, segmentId, BRATS, None)
    assert segmentValues(segmentationNode, BRATS) == {segmentId: None}


@pytest.mark.parametrize("scheme", [BRATS, ANATOMY])
def test_created_segments_have_names_colors_and_terminology(segmentationNode: Any, scheme: LabelScheme) -> None:
    existing = segmentationNode.GetSegmentation().AddEmptySegment("", "oedema")
    ids = createSegments(segmentationNode, scheme)
    assert ids[2] == existing
    assert tuple(ids) == scheme.values
    assert createSegments(segmentationNode, scheme) == ids
    for label in scheme.labels:
        segment = segmentationNode.GetSegmentation().GetSegment(ids[label.value])
        if label.value == 2:
            continue
        assert segment.GetName() == label.name
        assert np.round(np.array(segment.GetColor()) * 255).astype(int).tolist() == list(label.color)
        assert segmentType(segment.GetTerminology()) == label.code


def segmentType(entry: str) -> str:
    """The type code as Slicer's own parser of terminology entries reads it."""
    parsed = slicer.vtkSlicerTerminologyEntry()
    logic = slicer.vtkSlicerTerminologiesModuleLogic
    assert logic().DeserializeTerminologyEntry(entry, parsed)
    code = parsed.GetTypeObject()
    return f"{code.GetCodingSchemeDesignator()}^{code.GetCodeValue()}^{code.GetCodeMeaning()}"


def test_labels_of_a_trained_scheme_are_found_by_exact_name(segmentationNode: Any, scene: Any) -> None:
    scheme = LabelScheme(
        "own",
        (
            Label(9, "Left ventricle", (1, 2, 3), "SCT^30722009^Lateral ventricle"),
            Label(5, "Brain", (4, 5, 6), "SCT^12738006^Brain"),
            Label(7, "Mass", (7, 8, 9), "SCT^4147007^Mass", True),
        ),
        5,
        "air",
    )
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:], labels[2:, 2:], labels[3:, 3:] = 5, 9, 7
    applyLabels(segmentationNode, scheme, Volume(labels, np.eye(4)))
    np.testing.assert_array_equal(composeLabels(segmentationNode, scheme).data, labels)
