"""What a file holds, as a hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import InputError
from ..files import sha256
from .itk_header import check_data_file
from .length import check_size


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
