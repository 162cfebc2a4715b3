"""From label fractions to the condition channels of the network."""

from __future__ import annotations

import numpy as np

from ..config import ModelConfig
from ..errors import InputError


def encode_condition(fractions: np.ndarray, config: ModelConfig) -> np.ndarray:
    """The network's mask channels.

    ``fractions``: (L, X, Y, Z), how much of each voxel each label fills, 0 to 1, channels in scheme order; the surround
    (brain or head) does not include the tumor, so the channels of a voxel never add up to more than 1. Returns float32
    (L, D, H, W), axes reversed, with the model's ``mask_values`` for none and all of a voxel and between them for a
    part of it. Raises InputError where the number of channels is not the scheme's.
    """
    if fractions.ndim != 4 or len(fractions) != len(config.scheme.labels):
        names = ", ".join(label.name for label in config.scheme.labels)
        raise InputError(
            f"The condition has shape {fractions.shape}; the model '{config.name}' needs "
            f"{len(config.scheme.labels)} channels ({names}) of a volume."
        )
    outside, inside = config.mask_values
    values = np.array(np.swapaxes(fractions, 1, 3), np.float32, order="C")  # large: one copy
    values *= np.float32(inside - outside)
    values += np.float32(outside)
    return values
