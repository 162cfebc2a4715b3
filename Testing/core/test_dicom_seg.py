"""DICOM Segmentations as masks: names, codes, places, gaps between frames, and files that are something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from mask_phantoms import brain, config, mask, med_ddpm
from medddpm.errors import InputError
from medddpm.geometry.dicom import write_dicom
from medddpm.geometry.dicom_seg import BITS, LABELS
from medddpm.geometry.io import read_geometry, read_mask, read_volume
from medddpm.geometry.volume import Volume
from medddpm.labels.check import mend_mask
from pydicom import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NAMES = {1: "Necrosis", 2: "Edema", 3: "Enhancing tumor", 4: "Brain"}
TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])


def sequence(**values: Any) -> Sequence:
    """A sequence of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


def affine(codes: np.ndarray = TURN) -> np.ndarray:
    """Voxel -> RAS mm, turned, with slices of 3 mm."""
    result = np.eye(4)
    result[:3, :3] = codes @ np.diag([-1.0, -1.2, 3.0])
    result[:3, 3] = [60, 70, -50]
    return result


def write_seg(path: Path, labels: np.ndarray, place: np.ndarray, *, kind: str = BITS, type_: str = "BINARY") -> Path:
    """A Segmentation of ``labels`` (X, Y, Z); one of bits has no frames of empty planes."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ place
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    turned = (lps[:3, :3] / spacing)[:, :2].T.ravel()
    out = Dataset()
    out.SOPClassUID, out.SOPInstanceUID, out.SegmentationType = kind, generate_uid(), type_
    out.Modality, out.Columns, out.Rows = "SEG", *labels.shape[:2]
    out.SamplesPerPixel, out.PhotometricInterpretation, out.PixelRepresentation = 1, "MONOCHROME2", 0
    bits = 1 if kind == BITS else 8
    out.BitsAllocated, out.BitsStored, out.HighBit = bits, bits, bits - 1
    shared = sequence(
        PixelMeasuresSequence=sequence(PixelSpacing=[str(round(s, 6)) for s in spacing[[1, 0]]], SliceThickness="3"),
        PlaneOrientationSequence=sequence(ImageOrientationPatient=[f"{v:.10f}" for v in turned]),
    )
    out.SharedFunctionalGroupsSequence = shared
    values = [int(v) for v in np.unique(labels) if v]
    segments, frames, pixels = [], [], []
    for value in values:
        code = sequence(CodeValue="79654002", CodingSchemeDesignator="SCT", CodeMeaning="Edema")
        segments += sequence(SegmentNumber=value, SegmentLabel=NAMES[value], SegmentedPropertyTypeCodeSequence=code)
    for value in values if kind == BITS else [0]:
        for z in range(labels.shape[2]):
            image = (
                (labels[:, :, z] == value).T.astype(np.uint8) if kind == BITS else labels[:, :, z].T.astype(np.uint8)
            )
            if kind == BITS and not image.any():
                continue
            point = (lps @ [0, 0, z, 1])[:3]
            frame = sequence(PlanePositionSequence=sequence(ImagePositionPatient=[f"{v:.8f}" for v in point]))
            if kind == BITS:
                frame[0].SegmentIdentificationSequence = sequence(ReferencedSegmentNumber=value)
            frames += frame
            pixels.append(image)
    out.SegmentSequence, out.PerFrameFunctionalGroupsSequence = Sequence(segments), Sequence(frames)
    out.NumberOfFrames = len(frames)
    stacked = np.array(pixels)
    out.PixelData = pack_bits(stacked.ravel()) if kind == BITS else stacked.tobytes()
    out.file_meta = FileMetaDataset()
    out.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(path, out, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", [BITS, LABELS])
@pytest.mark.parametrize("name", ["a.dcm", "IM0001"])
def test_every_voxel_is_where_it_was_with_its_name(tmp_path: Path, kind: str, name: str) -> None:
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[2:7, 1:6, 1:6], labels[3:5, 2:4, 2:3] = 4, 2
    labels[5, 5, 4:] = 1  # planes 0 is empty, as is plane 3 of label 2
    found = read_mask(write_seg(tmp_path / name, labels, affine(), kind=kind))
    back = np.linalg.inv(found.volume.affine) @ affine()
    index = np.argwhere(np.ones(labels.shape))
    at = np.rint(index @ back[:3, :3].T + back[:3, 3]).astype(int)
    inside = ((at >= 0) & (at < found.volume.shape)).all(axis=1)
    assert not labels[tuple(index[~inside].T)].any()
    np.testing.assert_array_equal(found.volume.data[tuple(at[inside].T)], labels[tuple(index[inside].T)])
    assert {(s.value, s.name) for s in found.segments} == {(v, NAMES[v]) for v in (1, 2, 4)}
    assert found.segments[0].code == "SCT^79654002^Edema"
    assert read_geometry(tmp_path / name)[0] == found.volume.shape


def test_a_segmentation_is_understood_by_its_names(tmp_path: Path) -> None:
    source = mask(med_ddpm())
    path = write_seg(tmp_path / "seg.dcm", med_ddpm(), source.volume.affine)
    mended, _, left = mend_mask(read_mask(path), config("brats"))
    assert left.usable and np.count_nonzero(mended.volume.data) == np.count_nonzero(med_ddpm())


def test_other_dicom_and_damage_are_told_in_a_sentence(tmp_path: Path) -> None:
    image = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    (slice_, *_) = write_dicom(image, tmp_path / "mr", "T1", "made.")
    for read in (read_mask, read_volume, read_geometry):
        with pytest.raises(InputError, match=r"MR Image Storage\), not a Segmentation. Convert its series to NIfTI"):
            read(slice_)
    labels = np.where(brain(), 4, 0).astype(np.uint8)
    path = write_seg(tmp_path / "f.dcm", labels, affine(), type_="FRACTIONAL")
    with pytest.raises(InputError, match="fractional"):
        read_mask(path)
    whole = write_seg(tmp_path / "w.dcm", labels[::4, ::4, ::4], affine()).read_bytes()
    for end in range(140, len(whole), len(whole) // 60):
        (tmp_path / "cut.dcm").write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"cut\.dcm"):
            read_mask(tmp_path / "cut.dcm")


def test_slices_at_uneven_distances_are_refused(tmp_path: Path) -> None:
    labels = np.full((4, 5, 6), 4, np.uint8)
    path = write_seg(tmp_path / "a.dcm", labels, affine())
    file = pydicom.dcmread(path)
    place = file.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence[0]
    place.ImagePositionPatient = [*place.ImagePositionPatient[:2], float(place.ImagePositionPatient[2]) + 1]
    file.save_as(path)
    with pytest.raises(InputError, match="uneven"):
        read_mask(path)
