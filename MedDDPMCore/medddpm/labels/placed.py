"""A mask checked, mended and laid on a model's grid: the way that synthesis and the preparation of a dataset share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import Placement, labels_to_grid, place
from ..geometry.volume import Mask, Volume
from .case import BrainAround, grid_steps
from .check import mend_mask
from .findings import Finding
from .scheme import LabelScheme


@dataclass(frozen=True)
class PlacedMask:
    """A mask on a model's grid.

    ``labels`` is the mask used, uint8 in the values of ``scheme``, on the input's own grid; ``fractions`` (L, X, Y, Z)
    float32 on the model's. ``mended``: what was put right; ``left``: the rest of what the check found, no errors.
    """

    scheme: LabelScheme
    labels: Volume
    placement: Placement
    fractions: np.ndarray
    mended: tuple[Finding, ...]
    left: tuple[Finding, ...]

    @property
    def invented(self) -> bool:
        """Whether brain or head are not this patient's: the file has none, and no image shows them."""
        return any(finding.invented for finding in self.mended)

    @property
    def sentences(self) -> tuple[str, ...]:
        """How files and values were read, what was mended, what to look at, and what the grid cuts off."""
        reading = [f.sentence for f in self.left if f.code in ("file", "cropped", "convention")]
        warnings = [f.sentence for f in self.left if f.severity == "warning"]
        said = (*reading, *(str(f) for f in self.mended), *warnings, self.placement.sentence)
        return tuple(sentence for sentence in said if sentence)


def place_mask(
    mask: Mask,
    name: str,
    config: ModelConfig,
    image: Volume | None = None,
    labels: Mapping[int, int] | None = None,
    around: BrainAround | None = None,
    may_grow: bool = False,
) -> PlacedMask:
    """Check, mend and place a mask; ``labels`` (file value -> scheme value) overrides recognition.

    ``image``: the MRI that the mask belongs to, from which a missing outline is made; ``around``: what lays a brain
    around a tumor where there is neither. ``may_grow``: a mask that does not fit the model's grid gets a larger one,
    which the network can compute as well; else it is cut. Raises InputError, beginning with ``name``, with the
    sentences of every error of the mask check that cannot be mended.
    """
    fixed, mended, remaining = mend_mask(mask, config, image, labels, around=around)
    if remaining.errors:
        raise remaining.refusal(name)
    used = Volume(np.asarray(fixed.volume.data, np.uint8), fixed.volume.affine)
    steps = grid_steps(config) if may_grow else (0, 0, 0)
    placement = place(used.shape, used.affine, used.data > 0, config.grid, steps)
    fractions = labels_to_grid(used.data, used.affine, config.scheme.values, placement)
    left = tuple(f for f in remaining.findings if f.code != "grid")  # which the placement says
    return PlacedMask(config.scheme, used, placement, fractions, mended, left)


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
