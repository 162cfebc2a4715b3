"""NRRD and MetaImage files through SimpleITK, with the header checked before ITK is trusted with it."""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError, OutOfMemory
from ..files import atomic_path, open_blocks
from .checks import (
    BLOCK,
    MAX_BYTES,
    check_affine,
    check_bytes,
    check_gzip_length,
    check_length,
    check_shape,
    check_spacing,
    truncated,
)
from .volume import Stored

_HEADER_BYTES = 4 * 2**20
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_NRRD_DATA = re.compile(rb"^data ?file: *(.*?)\r?$", re.MULTILINE | re.IGNORECASE)
_META_DATA = re.compile(rb"^ElementDataFile *= *(.*?)\r?$", re.MULTILINE)
# https://teem.sourceforge.net/nrrd/format.html; blanks left out, since some fields may be written with or without them
_NRRD_FIELDS = frozenset(
    b"content number type blocksize dimension space spacedimension spaceunits spaceorigin spacedirections "
    b"measurementframe sizes spacings thicknesses axismins axismaxs centers centerings labels units kinds min max "
    b"oldmin oldmax encoding endian datafile lineskip byteskip sampleunits".split()
)
_NRRD_PAIR = re.compile(rb"(?:(?!: )[^\0-\x1f])+?:=[^\0-\x08\x0a-\x1f]*")
_NRRD_LINE = re.compile(rb"([A-Za-z][A-Za-z ]*?) ?: ?([^\0-\x08\x0a-\x1f]*)")
_META_LINE = re.compile(rb"[ \t]*([A-Za-z][A-Za-z0-9_]{0,99})[ \t]*=[^\0-\x08\x0a-\x1f]{0,2000}")
_LONGEST_FIELD, _MOST_AXES = 1000, 10  # ITK's readers keep fields and axes in places of fixed size
_FIELD = re.compile(rb"^([A-Za-z][A-Za-z ]*)(?:: |=)(.*)$", re.MULTILINE)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_LAYERS = 256
_TRUE = (b"T", b"t", b"1")


def _header(path: Path) -> tuple[bytes, int]:
    """The text at the start of an NRRD or MetaImage file (at most 4 MiB of it), and the byte after it."""
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    if start.startswith(b"NRRD"):
        found = _NRRD_END.search(start)
        return (start, len(start)) if found is None else (start[: found.start()], found.end())
    found = _META_DATA.search(start)
    return (start, len(start)) if found is None else (start[: found.end()], found.end() + 1)


def _check_header(path: Path, header: bytes, end: int) -> None:
    """Raises InputError for a header that is not plain text of this format, which can take down the process in ITK."""
    nrrd = header.startswith(b"NRRD")
    if end >= _HEADER_BYTES:
        raise InputError(f"{path} has a header that does not end. Copy or export the file again.")
    lines = header.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines[nrrd:], 1 + nrrd):
        if not (_is_nrrd_line(line) if nrrd else _META_LINE.fullmatch(line)):
            raise InputError(
                f"{path} has a header that cannot be understood: its line {number} is not a known field. Copy or "
                "export the file again."
            )
    packed = re.search(rb"^encoding *: *(bz(?:ip)?2)[ \t\r]*$", header, re.MULTILINE | re.IGNORECASE)
    if nrrd and packed is not None:
        raise InputError(f"{path} is compressed with bzip2, which is not supported. Save it with gzip or uncompressed.")
    axes = re.search(rb"^(?:dimension *:|[ \t]*NDims[ \t]*=) *(.*?)[ \t\r]*$", header, re.MULTILINE)
    if axes is None or not re.fullmatch(rb"\d{1,2}", axes.group(1)) or not 0 < int(axes.group(1)) <= _MOST_AXES:
        raise InputError(f"{path} has a missing or wrong number of axes. Export it as one 3D volume.")


def _is_nrrd_line(line: bytes) -> bool:
    """Whether this is a comment, a key with its value, or a known field that is no longer than it can be."""
    if line.startswith(b"#") or _NRRD_PAIR.fullmatch(line):
        return True
    found = _NRRD_LINE.fullmatch(line)
    name = b"" if found is None else found.group(1).replace(b" ", b"").lower()
    return name in _NRRD_FIELDS and (len(line) <= _LONGEST_FIELD or name == b"content")


def check_data_file(path: Path, header: bytes | None = None) -> Path | None:
    """The file beside the ``header`` that holds the voxels; None where they follow in the same file.

    Raises InputError where the header points to several files, to one outside its own folder, or to a missing one.
    """
    header = _header(path)[0] if header is None else header
    found = _NRRD_DATA.search(header) if header.startswith(b"NRRD") else _META_DATA.search(header)
    name = found.group(1).decode("utf-8", "replace").strip() if found else "LOCAL"
    if name.upper() == "LOCAL":
        return None
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"{path} has its voxels in several files ('{name}'). Convert it to one .nrrd or .nii.gz file.")
    inside = os.path.normpath(name.replace("\\", "/"))
    if Path(inside).is_absolute() or inside.startswith("..") or re.match(r"[A-Za-z]:", inside):
        raise InputError(f"{path} points to voxels outside its own folder ('{name}'). Put both files into one folder.")
    try:
        there = (path.parent / inside).is_file()
    except OSError:  # a name that is too long
        there = False
    if not there:
        raise InputError(f"{path} needs the file '{name}' beside it, which is missing. Copy both files together.")
    return path.parent / inside


def _check_end(path: Path, header: bytes, start: int, beside: Path | None, needed: int, unpack: bool) -> str:
    """A sentence where more than the voxels, ``needed`` bytes once they are unpacked, is there, else "".

    They begin at the byte ``start`` of the file, or of the one ``beside``. Checked are plain and packed voxels, as
    programs write them; not voxels that are written as text. With ``unpack`` those of a MetaImage are unpacked: ITK
    reads on with what it has got of them. Raises InputError where the voxels are not all there.
    """
    fields = {key.lower().replace(b" ", b""): value.strip() for key, value in _FIELD.findall(header)}

    def number(key: bytes) -> int:
        try:
            return int(fields.get(key, b"0"))
        except ValueError:  # the reader refuses it, or does not ask
            return 0

    if header.startswith(b"NRRD"):
        encoding, lines, skipped = fields.get(b"encoding", b"raw").lower(), number(b"lineskip"), number(b"byteskip")
        if encoding == b"raw":  # a line has a byte at least; with -1 skipped, the voxels are the end of the file
            odd = check_length(path, needed, start + max(lines, 0) + max(skipped, 0), beside)
            return odd if lines <= 0 <= skipped else ""
        if encoding in (b"gzip", b"gz") and lines <= 0:
            check_bytes(path, max(skipped, 0) + needed)
            return check_gzip_length(path, max(skipped, 0) + needed, start, beside)
        return ""
    first = number(b"headersize")
    start = max(first, 0) or start
    if fields.get(b"compresseddata", b"")[:1] in _TRUE:
        size = number(b"compresseddatasize")
        if first < 0 or size < 0 or (size == 0 and beside is None):
            raise InputError(f"{path} does not state the size of its compressed voxels. Export it again.")
        odd = check_length(path, size, start, beside)
        if unpack:
            _check_packed(path, needed, start, beside, size or MAX_BYTES)
        return odd if size else ""
    if fields.get(b"binarydata", b"")[:1] not in _TRUE:
        return ""
    odd = check_length(path, needed, start, beside)
    return odd if first >= 0 else ""


def _check_packed(path: Path, needed: int, start: int, beside: Path | None, size: int) -> None:
    unpacker, count = zlib.decompressobj(47), 0  # zlib or gzip
    with open_blocks(beside or path) as stream:
        stream.seek(start)
        try:
            while not unpacker.eof and count <= needed:
                if not (block := unpacker.unconsumed_tail or stream.read(min(size, BLOCK))):
                    break
                size -= 0 if unpacker.unconsumed_tail else len(block)
                count += len(unpacker.decompress(block, BLOCK))
        except zlib.error as exc:
            raise InputError(
                f"{path} is truncated or damaged: its voxels cannot be unpacked. Copy or export it again."
            ) from exc
    if count < needed or (count == needed and not unpacker.eof):
        raise truncated(path, f"{count} bytes unpacked", needed, beside)


def read_itk(path: Path, image_io: str, voxels: bool = True) -> Stored:
    """The file, or its header alone, with the ITK reader named ``image_io``: "NrrdImageIO", "MetaImageIO" or, for the
    bank's own maps, "NiftiImageIO".

    Whether all voxels are there is checked by their number. Raises InputError.
    """
    header, start = (b"", 0) if image_io == "NiftiImageIO" else _header(path)
    beside = None
    if header:
        _check_header(path, header, start)
        beside = check_data_file(path, header)
    reader, shape, needed = _opened(path, image_io)
    end = start if beside is None else 0
    odd = _check_end(path, header, end, beside, needed, unpack=voxels) if header else ""
    check_spacing(path, reader.GetSpacing()[:3])
    dimension = len(reader.GetSize())
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    affine = LPS_TO_RAS @ affine
    check_affine(path, affine)
    notes: tuple[str, ...] = (odd,) if odd else ()
    if header.startswith(b"NRRD") and not re.search(rb"^space:", header, re.MULTILINE):
        notes += (f"{path} has unknown orientation (no 'space' field): LPS axes are assumed.",)
    if not voxels:
        return Stored(None, shape, affine, notes)
    try:
        image = reader.Execute()
    except MemoryError as exc:
        raise OutOfMemory(f"{path} with {reader.GetSize()} voxels does not fit into memory. Crop it first.") from exc
    except RuntimeError as exc:
        raise InputError(
            f"{path} is truncated or damaged: its voxels cannot be read. Copy or export it again."
        ) from exc
    array = sitk.GetArrayFromImage(image)
    layers = array.reshape(*reversed(shape), image.GetNumberOfComponentsPerPixel()).transpose(2, 1, 0, 3)
    metadata = {}
    for key in reader.GetMetaDataKeys():
        with contextlib.suppress(UnicodeError, TypeError):  # the key or the value is not UTF-8: no segment's field
            metadata[key] = str(reader.GetMetaData(key))
    return Stored(layers, shape, affine, notes, metadata)


def _opened(path: Path, image_io: str) -> tuple[sitk.ImageFileReader, tuple[int, int, int], int]:
    """A reader that has read the header, the shape, and the bytes that the voxels take."""
    if any("\ud800" <= character <= "\udfff" for character in str(path)):  # ITK would take the process down
        raise InputError(f"{path} has a name that is not UTF-8 text. Rename the file or its folder.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as exc:
        raise InputError(
            f"{path} has a header that cannot be understood, or more than three spatial axes. "
            "Export it as one 3D volume."
        ) from exc
    shape = check_shape(path, reader.GetSize())
    components = reader.GetNumberOfComponents()
    if components > MAX_LAYERS:
        raise InputError(f"{path} claims {components} components per voxel, which is too many. Its header is damaged.")
    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError(f"{path} holds complex numbers, but one number per voxel is needed. Export it as such.")
    values = components * int(np.prod(shape, dtype=np.int64))
    needed = values * sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    check_bytes(path, needed)
    return reader, shape, needed


def write_nrrd(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write (X, Y, Z) voxels with their affine to RAS+ mm as an uncompressed ``.nrrd``, which loads fast.

    Raises InputError where it cannot be written.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(data).transpose(2, 1, 0)))
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=False, imageIO="NrrdImageIO")
