"""Reading masks and images of every accepted file format.

Formats: NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), Slicer segmentations (.seg.nrrd), MetaImage (.mha, .mhd),
FreeSurfer's MGH (.mgz, .mgh), DICOM Segmentations (.dcm, or without extension).
Affines map voxels to RAS+ millimeters whatever the file's own convention.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import check_cancelled, sha256
from .checks import check_size, check_thickness
from .itk import check_data_file, read_itk
from .segments import flatten, stored_segments
from .volume import Mask, Stored, Volume

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
    ".dcm": "DICOM",
}
_READERS = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}
_META_START = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|DimSize|BinaryData|TransformType)\s*=")
# A standardized image (mean 0) has about half of the brain below its background of 0. Interpolation leaves some values
# below the background of any image, but never so many.
LEAST_BELOW = 0.1
# A value is the background where most of the volume's surface and this part of all its voxels have it.
LEAST_BACKGROUND = 0.2
SECONDS = 300
_SCRIPT = "import sys; from medddpm.geometry.io import read_mask; from medddpm.errors import MedDDPMError\n"
_SCRIPT += "try: read_mask(sys.argv[1])\nexcept MedDDPMError: pass"


def read_volume(path: str | Path) -> Volume:
    """Read a scalar 3D image as float32, (X, Y, Z) in the order of the file, and its affine to RAS+ mm.

    Its background is finite and no brighter than the rest (``dark_background``). Raises InputError naming the file, the
    value and the remedy.
    """
    path = Path(path)
    stored = _stored(path)
    data = _only_layer(path, stored)
    check_thickness(path, data.shape)
    with np.errstate(over="ignore"):
        data, said = dark_background(path, data.astype(np.float32, copy=False))
    return Volume(data, stored.affine, (*stored.notes, *said))


def read_mask(path: str | Path, single_slice: bool = False) -> Mask:
    """Read a label map with the numbers of the file, and the segments' names and codes where the format has them.

    Layers of a segmentation are flattened to one label map; where segments overlap, the smaller one wins. What is no
    number (NaN, infinite) counts as background. A ``single_slice`` is of use only with an image of the whole. Raises
    InputError naming the file, the value and the remedy.
    """
    path = Path(path)
    stored = _stored(path)
    assert stored.layers is not None
    named = stored_segments(path, stored.metadata, stored.layers.shape[3])
    data, segments = flatten(path, stored.layers, named) if named else (_only_layer(path, stored), ())
    if not single_slice:
        check_thickness(path, data.shape, ", or with it an image of the whole head")
    data, said = without_nan(path, data, 0)
    return Mask(Volume(data, stored.affine, (*stored.notes, *said)), segments)


def read_geometry(path: str | Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (X, Y, Z) and affine to RAS+ mm of an image or mask, from its header alone.

    Truncated files are found as well. Raises InputError naming the file, the value and the remedy.
    """
    path = Path(path)
    stored = _stored(path, voxels=False)
    check_thickness(path, stored.shape)
    return stored.shape, stored.affine


def _stored(path: Path, voxels: bool = True) -> Stored:
    """The file by the reader of its format; nibabel is imported when the first file comes that needs it."""
    kind = _checked_format(path).removeprefix("gzipped ")
    if kind in _READERS:
        return read_itk(path, _READERS[kind], voxels)
    try:
        if kind == "DICOM":
            from .dicom_seg import read_segmentation

            return read_segmentation(path, voxels)
        from .nifti import read_mgh, read_nifti
    except ModuleNotFoundError as exc:
        article = "an MGH" if kind == "MGH" else f"a {kind}"
        raise InputError(
            f"{path} is {article} file, and the package {exc.name} that reads it is not installed. Install it, or save "
            "the file as NRRD."
        ) from exc
    return read_mgh(path, voxels) if kind == "MGH" else read_nifti(path, voxels)


def _only_layer(path: Path, stored: Stored) -> np.ndarray:
    assert stored.layers is not None
    if stored.layers.shape[3] != 1:
        raise InputError(
            f"{path} has {stored.layers.shape[3]} components per voxel, but one is needed. Export it as one scalar "
            "volume, or as .seg.nrrd if it is a segmentation."
        )
    return stored.layers[..., 0]


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
    if named is None and found == "DICOM":  # whose files have any name
        return found
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


def without_nan(path: Path, data: np.ndarray, background: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """``data`` with ``background`` for what is no finite number, and a sentence where there was such.

    Raises InputError, naming ``path``, where no voxel holds a number.
    """
    bad = ~np.isfinite(data) if data.dtype.kind == "f" else np.zeros(0, bool)
    count = int(np.count_nonzero(bad))
    if not count:
        return data, ()
    if count == data.size:
        raise InputError(f"{path} has no finite value: every voxel is NaN or infinite. Export it again.")
    said = f"{path} has {count} voxels that are NaN or infinite: they count as background."
    return np.where(bad, np.asarray(background, data.dtype), data), (said,)


def dark_background(path: Path, data: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """An image (X, Y, Z), float32, with its background finite and darkest, and sentences on what was changed for that.

    What is no number becomes background; so does, a little below all other values, the one value around the brain
    of a standardized image. Raises InputError as ``without_nan``.
    """
    finite = data[np.isfinite(data)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    dark = 0.0 if low >= 0 else low - 0.01 * (high - low)
    data, said = without_nan(path, data, dark)
    if low >= 0 or said:
        return data, said
    faces = np.concatenate([data.take(end, axis=axis).ravel() for axis in range(3) for end in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    around = data == values[counts.argmax()]
    below = np.count_nonzero(data < values[counts.argmax()])
    if counts.max() < 0.5 * faces.size or around.mean() < LEAST_BACKGROUND:
        return data, said
    if below < LEAST_BELOW * (data.size - np.count_nonzero(around)):
        return data, said
    sentence = (
        f"{path} is standardized: {below} of its voxels are darker than the background ({values[counts.argmax()]:g}). "
        "The background counts as darkest."
    )
    return np.where(around, np.float32(dark), data), (sentence,)


def content_hash(path: Path) -> str:
    """SHA-256 of a mask or image file; of header and voxels together where these are two files (.mhd, .nhdr).

    Raises InputError where it cannot be read, or is larger than any that is accepted.
    """
    try:
        beside = check_data_file(path) if path.name.lower().endswith((".mhd", ".nhdr")) else None
        for file in (path, beside or path):
            check_size(file)
        own = sha256(path)
        return own if beside is None else hashlib.sha256(f"{own} {sha256(beside)}".encode()).hexdigest()
    except FileNotFoundError as exc:
        raise InputError(f"{path} does not exist. Check the name and the folder.") from exc
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror or exc}. Check its permissions.") from exc


def require_survivable(paths: Sequence[Path]) -> None:
    """Raises InputError, naming the file, where reading one of ``paths`` ends the process that does it, or hangs.

    Whatever else is wrong with them is told when they are read here.
    """
    for path in paths:
        command = [sys.executable, "-c", _SCRIPT, str(path)]
        silent = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent) as process:
            try:
                until = time.monotonic() + SECONDS
                while (code := process.poll()) is None and time.monotonic() < until:
                    check_cancelled()
                    time.sleep(0.05)
            finally:
                process.kill()
        if code != 0:
            how = f"was not read within {SECONDS} s" if code is None else f"crashed its reader (code {code})"
            raise InputError(f"{path} is damaged: it {how}. Export it again.")
