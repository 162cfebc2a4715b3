"""Reading masks and images of every accepted file format.

Formats: NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), Slicer segmentations (.seg.nrrd), MetaImage (.mha, .mhd),
FreeSurfer's MGH (.mgz, .mgh).
Affines map voxels to RAS+ millimeters whatever the file's own convention.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .background import dark_background, without_nan
from .checks import check_thickness
from .itk import ItkFile, itk_geometry, itk_warnings, read_itk
from .segments import flatten, stored_segments
from .volume import Mask, Segment, Volume

__all__ = ["read_geometry", "read_mask", "read_volume"]

_FORMATS = {
    ".nii.gz": "gzipped NIfTI",
    ".nii": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".mgz": "gzipped MGH",
    ".mgh": "MGH",
}
_READERS = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
_META_START = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|DimSize|BinaryData|TransformType)\s*=")


def read_volume(path: str | Path) -> Volume:
    """Read a scalar 3D image as float32, (X, Y, Z) in the order of the file, and its affine to RAS+ mm.

    Its background is finite and no brighter than the rest (``dark_background``). Raises InputError naming the file, the
    value and the remedy.
    """
    path = Path(path)
    kind = _checked_format(path)
    if kind in _READERS:
        file = read_itk(path, _READERS[kind])
        data, affine = _only_layer(path, file), file.affine
    else:
        data, affine = _through_nibabel(path, kind).read(path)
    check_thickness(path, data.shape)
    with np.errstate(over="ignore"):
        data, said = dark_background(path, data.astype(np.float32, copy=False))
    return Volume(data, affine, (*_place_warnings(path, kind), *said))


def read_mask(path: str | Path, single_slice: bool = False) -> Mask:
    """Read a label map with the numbers of the file, and the segments' names and codes where the format has them.

    Layers of a segmentation are flattened to one label map; where segments overlap, the smaller one wins. What is no
    number (NaN, infinite) counts as background. A ``single_slice`` is of use only with an image of the whole. Raises
    InputError naming the file, the value and the remedy.
    """
    path = Path(path)
    kind = _checked_format(path)
    segments: tuple[Segment, ...] = ()
    if kind in _READERS:
        file = read_itk(path, _READERS[kind])
        stored = stored_segments(path, file.metadata, file.layers.shape[3])
        data, segments = flatten(path, file.layers, stored) if stored else (_only_layer(path, file), ())
        affine = file.affine
    else:
        data, affine = _through_nibabel(path, kind).read(path)
    if not single_slice:
        check_thickness(path, data.shape, ", or with it an image of the whole head")
    data, said = without_nan(path, data, 0)
    return Mask(Volume(data, affine, (*_place_warnings(path, kind), *said)), segments)


def read_geometry(path: str | Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine to RAS+ mm of an image or mask, from its header alone.

    Truncated files are found as well. Raises InputError naming the file, the value and the remedy.
    """
    path = Path(path)
    kind = _checked_format(path)
    reader = _READERS.get(kind)
    shape, affine = itk_geometry(path, reader) if reader else _through_nibabel(path, kind).geometry(path)
    check_thickness(path, shape)
    return shape, affine


def _place_warnings(path: Path, kind: str) -> tuple[str, ...]:
    """What is odd about a readable file, or left open about its place in space; each a plain sentence."""
    return itk_warnings(path, _READERS[kind]) if kind in _READERS else _through_nibabel(path, kind).warnings(path)


class _Functions(NamedTuple):
    """How a format is read: voxels and affine, shape and affine from the header alone, warnings."""

    read: Callable[[Path], tuple[np.ndarray, np.ndarray]]
    geometry: Callable[[Path], tuple[tuple[int, int, int], np.ndarray]]
    warnings: Callable[[Path], tuple[str, ...]]


def _through_nibabel(path: Path, kind: str) -> _Functions:
    """The readers of NIfTI and MGH, imported when the first such file comes: other formats do without nibabel."""
    name = kind.removeprefix("gzipped ")
    try:
        if name == "MGH":
            from .mgh import mgh_geometry, mgh_warnings, read_mgh

            return _Functions(read_mgh, mgh_geometry, mgh_warnings)
        from .nifti import nifti_geometry, nifti_warnings, read_nifti

        return _Functions(read_nifti, nifti_geometry, nifti_warnings)
    except ModuleNotFoundError as exc:
        article = "an MGH" if name == "MGH" else "a NIfTI"
        raise InputError(
            f"{path} is {article} file, and the package {exc.name} that reads it is not installed. Install it, or save "
            "the file as NRRD."
        ) from exc


def _only_layer(path: Path, file: ItkFile) -> np.ndarray:
    if file.layers.shape[3] != 1:
        raise InputError(
            f"{path} has {file.layers.shape[3]} values a voxel, but one is needed. "
            "Export it as one scalar volume, or as .seg.nrrd if it is a segmentation."
        )
    return file.layers[..., 0]


def _checked_format(path: Path) -> str:
    """The file's format by its name, after a look at whether the content agrees. Raises InputError."""
    named = next((kind for ending, kind in _FORMATS.items() if path.name.lower().endswith(ending)), None)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Give the file inside it.")
    if not path.exists():
        raise InputError(f"{path} does not exist. Check the name and the folder.")
    if not path.is_file():
        raise InputError(f"{path} is not a regular file. Give a file of voxels.")
    found = _content_format(_start(path))
    if named is None:
        raise InputError(f"{path} is not of an accepted format. Convert it to one of {', '.join(_FORMATS)}.")
    if found == named:
        return named
    if found in _FORMATS.values():
        ending = next(ending for ending, kind in _FORMATS.items() if kind == found)
        raise InputError(f"{path} is named as {named}, but its content is {found}. Rename it to end in {ending}.")
    if found == "gzipped twice":
        raise InputError(f"{path} is gzipped twice. Unpack it once, so that {named} is left.")
    raise InputError(f"{path} is named as {named}, but its content is {found}. Export it again as {named}.")


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror or exc}. Check its permissions.") from exc
    if not start:
        raise InputError(f"{path} is empty (0 bytes). Copy or export it again.")
    return start


def _content_format(start: bytes) -> str:
    if start.startswith(b"\x1f\x8b"):
        try:
            inner = zlib.decompressobj(31).decompress(start, 352)
        except zlib.error:
            return "a damaged gzip file"
        if inner.startswith(b"\x1f\x8b"):
            return "gzipped twice"
        packed = _content_format(inner)
        return f"gzipped {packed}" if packed in ("NIfTI", "MGH") else "gzip of something else"
    if start[:4] in (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c", b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        return "NIfTI"
    if start[:4] == b"\x00\x00\x00\x01":  # its version
        return "MGH"
    if start.startswith(b"NRRD"):
        return "NRRD"
    if _META_START.match(start):
        return "MetaImage"
    if start[128:132] == b"DICM":
        return "DICOM"
    return "something else or damaged"
