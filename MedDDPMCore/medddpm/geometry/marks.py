"""What an image is, written into the header of a file that another program has written. Standard library only.

Fields: NIfTI ``descrip`` (nifti1.h, nifti2.h), key/value pairs of NRRD (teem.sourceforge.net/nrrd/format.html, section
5), ``Comment`` of MetaImage.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..files import atomic_path
from ..version import __version__

MARK = b"SYNTHETIC by MedDDPM"
HEADER_BYTES = 1 << 16
# What a NIfTI file says of itself, in at most 79 characters.
DESCRIPTION = f"SYNTHETIC by MedDDPM {__version__} - not a patient, research only"
PARTLY_DESCRIPTION = f"PARTLY SYNTHETIC by MedDDPM {__version__} - outside region real, research only"

# Files that have a place for it.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# Size of the header -> where its 80 bytes of description begin.
_DESCRIPTION = {348: 148, 540: 240}
DESCRIPTION_BYTES = 79
GZIP_LEVEL = 4  # the user waits


def mark_image(path: Path, description: str, fields: Mapping[str, str]) -> None:
    """Write ``description``, and where the format has room for them ``fields``, into a header; whole or not at all.

    NIfTI takes 79 bytes of the description. A field of the same name is replaced. Raises InputError for another format,
    for a header that makes no sense, and where the file cannot be written.
    """
    name = path.name.lower()
    try:
        data = path.read_bytes()
        if name.endswith(".nii.gz"):
            marked = gzip.compress(_nifti(path, gzip.decompress(data), description), GZIP_LEVEL, mtime=0)
        elif name.endswith(".nii"):
            marked = _nifti(path, data, description)
        elif name.endswith((".nrrd", ".nhdr")):
            marked = _nrrd(path, data, {"description": description, **fields})
        elif name.endswith((".mha", ".mhd")):
            marked = b"Comment = " + _line(description) + b"\n" + data
        else:
            raise InputError(f"{path} has no place for what it is. End its name in one of {', '.join(ENDINGS)}.")
        with atomic_path(path) as temporary:
            temporary.write_bytes(marked)
    except (OSError, EOFError, zlib.error) as exc:
        raise InputError(f"{path} could not be marked: {exc}. Save it again.", path=path) from exc


def is_marked(path: Path) -> bool:
    """Whether a file says in its header that its image is synthetic, in whole or in part. OSError where unreadable."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    if start[:2] == b"\x1f\x8b":
        start = zlib.decompressobj(wbits=31).decompress(start, HEADER_BYTES)
    return MARK in start


def _nifti(path: Path, data: bytes, description: str) -> bytes:
    sizes = {int.from_bytes(data[:4], order) for order in ("little", "big")} & set(_DESCRIPTION)
    if not sizes:
        raise InputError(f"{path} is not a NIfTI file. Save it again.")
    start = _DESCRIPTION[sizes.pop()]
    text = description.encode("ascii", "replace")[:DESCRIPTION_BYTES].ljust(DESCRIPTION_BYTES + 1, b"\0")
    return data[:start] + text + data[start + len(text) :]


def _nrrd(path: Path, data: bytes, fields: Mapping[str, str]) -> bytes:
    end = next((at for at in (data.find(b"\n\n"), data.find(b"\n\r\n")) if at >= 0), -1)
    if not data.startswith(b"NRRD") or (end < 0 and not path.name.lower().endswith(".nhdr")):
        raise InputError(f"{path} is not an NRRD file. Save it again.")
    header, rest = (data.rstrip(b"\r\n"), b"\n") if end < 0 else (data[:end], data[end:])
    keys = tuple(key.encode("utf-8") + b":=" for key in fields)
    lines = [line for line in header.split(b"\n") if not line.startswith(keys)]
    lines += [key.encode("utf-8") + b":=" + _line(text) for key, text in fields.items()]
    return b"\n".join(lines) + rest


def _line(text: str) -> bytes:
    """Text as one line, in NRRD's escapes."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "").encode("utf-8")
