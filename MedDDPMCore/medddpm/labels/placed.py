"""A mask checked, mended and laid on a model's grid: the way that synthesis and the preparation of a dataset share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import Placement, labels_to_grid, place
from ..geometry.volume import Mask, Volume
from .case import BrainAround
from .check import mend_mask
from .findings import Finding
from .plausibility import grid_steps
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
        raise InputError(f"{name} cannot be used. " + " ".join(str(f) for f in remaining.errors))
    used = Volume(np.asarray(fixed.volume.data, np.uint8), fixed.volume.affine)
    steps = grid_steps(config) if may_grow else (0, 0, 0)
    placement = place(used.shape, used.affine, used.data > 0, config.grid, steps)
    fractions = labels_to_grid(used.data, used.affine, config.scheme.values, placement)
    left = tuple(f for f in remaining.findings if f.code != "grid")  # which the placement says
    return PlacedMask(config.scheme, used, placement, fractions, mended, left)
