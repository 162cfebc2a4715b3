"""A mask left out: what stands in its place, and how strongly a mask guides (Ho & Salimans 2022).

A U-Net on voxels gets no label anywhere. The compact network cannot do without the outline, inside of which all that it
computes lies; it gets the outline filled with the average share of each label, for which the mean of its linear
estimate is the best that the outline alone can tell. No real mask looks like that, so the network can tell it apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import InputError
from .names import MAX_GUIDANCE


def without_mask(fractions: Tensor, config: ModelConfig) -> Tensor:
    """What stands for the mask of ``fractions`` (B, L, D, H, W) where it is left out, as fractions.

    Raises InputError where the model knows none (its ``dropped_mask`` is None).
    """
    if config.dropped_mask is None:
        raise InputError(
            f"The model '{config.name}' was trained with every mask in place, so that it cannot do without."
        )
    shares = torch.tensor(config.dropped_mask, dtype=fractions.dtype, device=fractions.device)
    return fractions.sum(1, keepdim=True).clamp(0, 1) * shares[:, None, None, None]


def condition_without_mask(condition: Tensor, config: ModelConfig) -> Tensor:
    """The same for a condition that is encoded as ``config.mask_values`` says."""
    off, on = config.mask_values
    return off + (on - off) * without_mask((condition - off) / (on - off), config)


def check_guidance(guidance: float, config: ModelConfig) -> None:
    """Raise InputError for a strength out of range, and for any but 1 where the model cannot vary it."""
    if not 0 <= guidance <= MAX_GUIDANCE:
        raise InputError(f"The option guidance is {guidance:g}, but must be 0 to {MAX_GUIDANCE:g}, where 1 is plain.")
    if guidance != 1 and config.dropped_mask is None:
        raise InputError(
            f"The guidance strength {guidance:g} cannot be used with the model '{config.name}': it was trained with "
            "every mask in place. Leave the strength at 1, or use a model that was trained with mask_dropout."
        )


def evaluations_per_step(guidance: float) -> int:
    """How often the network is evaluated in a sampling step."""
    return 1 if guidance == 1 else 2
