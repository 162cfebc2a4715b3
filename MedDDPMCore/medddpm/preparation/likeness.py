"""A coarse picture of a case, by which cases that are alike can be found, mirrored ones too."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume
from ..geometry.window import bounding_box

SIDE = 16
_LIMIT = 127.0


def fingerprint(image: Volume, outline: np.ndarray) -> str:
    """``image`` ([-1, 1]) in the box of ``outline`` (bool) along the patient's axes, ``SIDE`` cubed, as base64 text."""
    box = bounding_box(outline)
    if box is None:
        return ""
    corners = np.array(np.meshgrid(*[(s.start - 0.5, s.stop - 0.5) for s in box], indexing="ij")).reshape(3, -1)
    world = image.affine[:3, :3] @ corners + image.affine[:3, 3:]
    low, high = world.min(axis=1), world.max(axis=1)
    affine = np.diag([*((high - low) / SIDE), 1.0])
    affine[:3, 3] = low + (high - low) / SIDE / 2
    coarse = resample(image.data, index_map(affine, image.affine), (SIDE, SIDE, SIDE), -1.0)
    return base64.b64encode(np.rint(np.clip(coarse, -1, 1) * _LIMIT).astype(np.int8).tobytes()).decode("ascii")


def likenesses(fingerprints: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of every two pictures, (N, N) in [-1, 1], as they are and with the second one mirrored left-right.

    What all heads have in common is taken out first: only detail counts. 0 where a fingerprint is none.
    """
    pictures = np.stack([_picture(text) for text in fingerprints])
    straight, mirrored = _detail(pictures), _detail(pictures[:, ::-1])
    return straight @ straight.T, straight @ mirrored.T


def _picture(text: str) -> np.ndarray:
    try:
        values = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except (binascii.Error, ValueError):
        values = np.zeros(0, np.int8)
    if values.size != SIDE**3:
        return np.zeros((SIDE, SIDE, SIDE), np.float32)
    return values.reshape(SIDE, SIDE, SIDE).astype(np.float32) / _LIMIT


def _detail(pictures: np.ndarray) -> np.ndarray:
    """Each picture less its own smoothed version, as a row of length 1."""
    rows = (pictures - _smooth(pictures)).reshape(len(pictures), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _smooth(pictures: np.ndarray) -> np.ndarray:
    """Mean over 3 voxels along each axis."""
    smooth = pictures
    for axis in (1, 2, 3):
        padded = np.pad(smooth, [(1, 1) if a == axis else (0, 0) for a in range(4)], mode="edge")
        parts = [np.take(padded, range(k, k + SIDE), axis=axis) for k in range(3)]
        smooth = (parts[0] + parts[1] + parts[2]) / np.float32(3)
    return smooth
