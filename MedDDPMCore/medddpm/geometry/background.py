"""The background of an image as the rest of the program expects it: finite, and the darkest of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError

# A standardized image (mean 0) has about half of the brain below its background of 0. Interpolation leaves some values
# below the background of any image, but never so many.
LEAST_BELOW = 0.1
# A value is the background where most of the volume's surface and this part of all its voxels have it.
LEAST_BACKGROUND = 0.2


def without_nan(path: Path, data: np.ndarray, background: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """``data`` with ``background`` for what is no finite number, and a sentence where there was such.

    Raises InputError, naming ``path``, where no voxel holds a number.
    """
    bad = ~np.isfinite(data) if data.dtype.kind == "f" else np.zeros(0, bool)
    count = int(np.count_nonzero(bad))
    if not count:
        return data, ()
    if count == data.size:
        raise InputError(f"{path} holds no number: every voxel is NaN or infinite. Export it again.")
    said = f"{path} has {count} voxels that hold no number (NaN or infinite): they count as background."
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
