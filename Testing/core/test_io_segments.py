"""Segmentations with names, codes and layers, as 3D Slicer writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.volume import Segment
from volume_files import LAYER_FIELDS, LPS_FIELDS, SHAPE, nrrd_bytes, refused

TAGS = (
    "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^~Anatomic codes~^^~^^|"
)


def layered(path: Path, pairs: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """A two-layer file: a large head (layer 0, value 1) and a small tumor inside it (layer 1, value 1)."""
    head, tumor = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    head[1:5, 1:5, 1:6] = 1
    tumor[2, 2:4, 2] = 1
    stacked = np.stack([head, tumor])
    path.write_bytes(nrrd_bytes(LAYER_FIELDS, pairs, stacked.tobytes(order="F")))
    return head, tumor


def test_segments_with_names_and_codes(tmp_path: Path) -> None:
    path = tmp_path / "one.seg.nrrd"
    data = np.zeros(SHAPE, np.uint8)
    data[1:4, 1:4, 1:4], data[2, 2, 2] = 3, 7
    pairs = {
        "Segment0_ID": "Segment_1",
        "Segment0_LabelValue": "3",
        "Segment0_Layer": "0",
        "Segment0_Name": "Schädel",
        "Segment1_ID": "Segment_2",
        "Segment1_LabelValue": "7",
        "Segment1_Name": "tumor",
        "Segment1_Tags": TAGS,
    }
    path.write_bytes(nrrd_bytes(LPS_FIELDS, pairs, data.tobytes(order="F")))
    mask = read_mask(path)
    np.testing.assert_array_equal(mask.volume.data, data)
    assert mask.segments == (Segment(3, "Schädel"), Segment(7, "tumor", "SCT^4147007^Mass"))
    np.testing.assert_allclose(mask.volume.affine[:3, 3], [-10, -20, 30])


def test_overlapping_layers_keep_the_smaller_segment(tmp_path: Path) -> None:
    path = tmp_path / "layers.seg.nrrd"
    pairs = {"Segment0_Name": "tumor", "Segment0_LabelValue": "1", "Segment0_Layer": "1"}
    pairs |= {"Segment1_Name": "head", "Segment1_LabelValue": "1", "Segment1_Layer": "0"}
    head, tumor = layered(path, pairs)
    mask = read_mask(path)
    assert mask.segments == (Segment(1, "tumor"), Segment(2, "head"))
    np.testing.assert_array_equal(mask.volume.data, np.where(tumor > 0, 1, np.where(head > 0, 2, 0)))
    assert mask.volume.shape == SHAPE and mask.volume.spacing == (1.0, 1.0, 2.0)


def test_layers_without_values_are_one_segment_each(tmp_path: Path) -> None:
    path = tmp_path / "old.seg.nrrd"
    head, tumor = layered(path, {"Segment0_Name": "head", "Segment1_Name": "tumor"})
    mask = read_mask(path)
    assert mask.segments == (Segment(1, "head"), Segment(2, "tumor"))
    np.testing.assert_array_equal(mask.volume.data, np.where(tumor > 0, 2, head))


def test_cropped_segmentation_lies_where_its_reference_does(tmp_path: Path) -> None:
    whole = np.zeros((12, 12, 12), np.uint8)
    whole[6:9, 5:9, 4:8] = 1
    cropped = whole[5:10, 4:10, 3:10]
    fields = LPS_FIELDS | {"space origin": f"({10 + 5},{20 + 4},{30 + 2 * 3})"}
    pairs = {"Segment0_Name": "tumor", "Segment0_LabelValue": "1", "Segmentation_ReferenceImageExtentOffset": "5 4 3"}
    path = tmp_path / "crop.seg.nrrd"
    path.write_bytes(nrrd_bytes(fields, pairs, cropped.tobytes(order="F")))
    volume = read_mask(path).volume
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = [-10, -20, 30]
    points = np.argwhere(volume.data) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    np.testing.assert_allclose(points, np.argwhere(whole) @ affine[:3, :3].T + affine[:3, 3])


def test_bad_segment_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.seg.nrrd"
    for pairs, word in (
        ({"Segment0_LabelValue": "one"}, "Segment0_LabelValue = 'one'"),
        ({"Segment0_LabelValue": "0"}, "Segment0_LabelValue = 0"),
        ({"Segment0_Layer": "9"}, "Segment0_Layer = 9"),
        ({"Segment0_ID": "a", "Segmentation_MasterRepresentation": "Fractional labelmap"}, "fractional"),
    ):
        layered(path, pairs)
        with pytest.raises(InputError, match=word) as info:
            read_mask(path)
        assert str(path) in str(info.value)


def test_layers_without_segments_are_refused(tmp_path: Path) -> None:
    layered(tmp_path / "vector.nrrd", {})
    refused(tmp_path / "vector.nrrd", "2 components per voxel", "scalar")
