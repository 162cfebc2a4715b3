"""DICOM Segmentations (PS3.3 A.51) as masks: one layer a segment, named as the segments are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from ..errors import InputError, MedDDPMError, OutOfMemory
from .checks import check_affine, check_bytes, check_shape, check_size
from .volume import Stored

# Segmentation Storage, and that of label maps.
BITS, LABELS = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Frames lie on planes at equal distances, up to this part of one.
UNEVEN = 0.05


def read_segmentation(path: Path, voxels: bool = True) -> Stored:
    """A DICOM Segmentation: layers (X, Y, Z, L), one for each segment, and its affine to RAS+ mm.

    ``metadata`` describes the segments as the header of a ``.seg.nrrd`` does. Planes without a frame are empty. Raises
    InputError for other DICOM objects, for fractional segmentations and where the file is damaged.
    """
    check_size(path)
    try:
        file = dcmread(path, stop_before_pixels=not voxels)
        kind = str(file.SOPClassUID)
        if kind not in (BITS, LABELS):
            raise InputError(
                f"{path} is a DICOM object of another kind ({file.SOPClassUID.name}), not a Segmentation. Convert its "
                "series to NIfTI (dcm2niix), or load it in 3D Slicer and save it as NRRD."
            )
        if kind == BITS and str(file.SegmentationType) != "BINARY":
            raise InputError(
                f"{path} is a fractional segmentation. Load it in 3D Slicer and save it as a binary label map."
            )
        return _stored(path, file, kind, voxels)
    except MemoryError as exc:
        raise OutOfMemory(f"{path} does not fit into memory. Crop or resample it first.") from exc
    except MedDDPMError:
        raise
    except Exception as exc:  # what pydicom raises for a damaged file is without end
        said = (str(exc) or type(exc).__name__).splitlines()[0].rstrip(".")
        raise InputError(
            f"{path} cannot be read as a DICOM Segmentation: {said}. Load it in 3D Slicer and save it as .seg.nrrd."
        ) from exc


def _stored(path: Path, file: Dataset, kind: str, voxels: bool) -> Stored:
    frames = list(file.PerFrameFunctionalGroupsSequence)
    planes, affine = _planes(path, file, frames)
    segments = list(file.SegmentSequence)
    numbers = [int(segment.SegmentNumber) for segment in segments]
    shape = check_shape(path, (int(file.Columns), int(file.Rows), max(planes) + 1))
    check_affine(path, affine)
    layers = len(segments) if kind == BITS else 1
    check_bytes(path, int(np.prod(shape)) * layers * (1 if kind == BITS else 2))
    metadata: dict[str, str] = {}
    for index, (number, segment) in enumerate(zip(numbers, segments, strict=True)):
        place = {"Layer": index if kind == BITS else 0, "LabelValue": number}
        told = {
            "Name": str(segment.get("SegmentLabel", "")),
            "Tags": f"TerminologyEntry:~~{_code(segment)}~~~~",
            **place,
        }
        metadata |= {f"Segment{index}_{key}": str(value) for key, value in told.items()}
    if not voxels:
        return Stored(None, shape, affine, metadata=metadata)
    pixels = np.asarray(file.pixel_array).reshape(len(frames), shape[1], shape[0])
    data = np.zeros((*shape, layers), np.uint8 if kind == BITS else np.uint16)
    for frame, plane, pixel in zip(frames, planes, pixels, strict=True):
        image = pixel.T
        if kind == BITS:
            number = int(_group(file, frame, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            index = numbers.index(number)
            data[:, :, plane, index][image > 0] = number
        else:
            data[:, :, plane, 0] = image
    return Stored(data, shape, affine, metadata=metadata)


def _planes(path: Path, file: Dataset, frames: Sequence[Dataset]) -> tuple[list[int], np.ndarray]:
    """The slice that each frame lies on, and the affine (column, row, slice) -> RAS+ mm."""
    places = np.array([_numbers(_group(file, f, "PlanePositionSequence").ImagePositionPatient, 3) for f in frames])
    turns = [_numbers(_group(file, f, "PlaneOrientationSequence").ImageOrientationPatient, 6) for f in frames]
    across, down = turns[0][:3], turns[0][3:]
    normal = np.cross(across, down)
    measures = _group(file, frames[0], "PixelMeasuresSequence")
    spacing = _numbers(measures.PixelSpacing, 2)
    along = places @ normal
    steps = np.diff(np.unique(np.round(along, 3)))
    step = float(steps.min()) if steps.size else float(measures.get("SpacingBetweenSlices") or measures.SliceThickness)
    index = (along - along.min()) / step
    first = places[int(along.argmin())]
    aside = np.abs(places - first - np.outer(along - along.min(), normal)).max()
    if np.abs(np.array(turns) - turns[0]).max() > 1e-3 or aside > UNEVEN * step:
        raise InputError(f"{path} has slices that are not parallel. Load it in 3D Slicer and save it as .seg.nrrd.")
    if np.abs(index - np.rint(index)).max() > UNEVEN:
        raise InputError(f"{path} has slices at uneven distances. Load it in 3D Slicer and save it as .seg.nrrd.")
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([across * spacing[1], down * spacing[0], normal * step])
    affine[:3, 3] = first
    return [round(i) for i in index.tolist()], LPS_TO_RAS @ affine


def _group(file: Dataset, frame: Dataset, name: str) -> Dataset:
    """A functional group of a frame, or else the one that all frames share."""
    shared = file.SharedFunctionalGroupsSequence[0]
    found: Dataset = getattr(frame if name in frame else shared, name)[0]
    return found


def _numbers(values: Any, count: int) -> np.ndarray:
    numbers = np.array([float(value) for value in values])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{count} finite numbers expected, not {list(values)}")
    return numbers


def _code(segment: Dataset) -> str:
    """The code of what a segment shows, as Slicer writes it: scheme^value^meaning."""
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or []
    parts = ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
    return "^".join(str(codes[0].get(part, "")) for part in parts) if codes else ""
