"""Live pictures of a running job: small array files that another process can read while newer ones are written.

Every preview has its own file name, so none is ever replaced under a reader's hands (which Windows would refuse);
the two newest exist, the event names the newest. The format is NumPy's ``.npy``: float16, (C, X, Y, Z), in [-1, 1].
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic_path, open_regular

MAX_HEADER = 4096
GRID_NAME = "grid.json"  # beside the previews: where they lie


def write_preview(path: Path, picture: np.ndarray) -> None:
    """Write a (C, X, Y, Z) array whole or not at all; values are clipped to [-1, 1], NaN becomes -1."""
    if picture.ndim != 4:
        raise ValueError(f"a preview has the axes C, X, Y, Z, not the shape {picture.shape}")
    values = np.clip(picture, -1.0, 1.0)
    values[np.isnan(values)] = -1.0
    values = values.astype(np.float16)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)


def read_preview(path: Path) -> np.ndarray:
    """The (C, X, Y, Z) float16 array of a preview file.

    Raises FileNotFoundError where it was already succeeded by a newer one (read the next event), and InputError for
    anything that is not a preview; nothing is unpickled and no size in the header is trusted.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, links=False), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            version = np.lib.format.read_magic(stream)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=MAX_HEADER)
        except (ValueError, EOFError) as exc:
            raise InputError(f"{path} is not a preview picture: {exc}.") from exc
        promised = int(np.prod([int(n) for n in shape], dtype=object)) * 2
        whole = len(shape) == 4 and min(shape) > 0 and promised == size - stream.tell()
        if version != (1, 0) or fortran or dtype != np.float16 or not whole:
            raise InputError(f"{path} is not a preview picture: its shape {shape} of {dtype} does not fit its size.")
        return np.frombuffer(stream.read(promised), dtype=np.float16).reshape(shape)
