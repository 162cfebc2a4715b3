"""One case: from a mask file to the condition of the network, and results back to the mask's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import Placement, image_from_grid, labels_from_fractions
from ..geometry.io import read_mask, read_volume
from ..geometry.marks import DESCRIPTION, PARTLY_DESCRIPTION
from ..geometry.resample import reached
from ..geometry.volume import Volume
from ..labels.placed import encode_condition, place_mask

if TYPE_CHECKING:
    from .local_edit import LocalEdit

# Written images: 0 is empty space (-1 in the network), 1000 the brightest value (+1).
INTENSITY_SCALE = 1000
# An image that reaches less of the mask than this share is not an image of the same head.
MIN_COVERED = 0.95


@dataclass(frozen=True)
class PreparedCase:
    """A mask that is ready for the network.

    ``labels`` is the mask used, uint8 in the scheme's values, on the input's grid; ``grid_labels`` the same on the
    model's grid (``grid_affine``). ``fractions``: (L, X, Y, Z) float32, how much of each voxel there each label fills;
    ``condition``: the same as the network of ``config`` takes it, (1, L, D, H, W). ``sentences``: what the check found
    and mended. ``invented``: brain or head are not this patient's.
    """

    labels: Volume
    grid_labels: Volume
    placement: Placement
    fractions: np.ndarray
    config: ModelConfig
    sentences: tuple[str, ...]
    invented: bool = False

    @cached_property
    def condition(self) -> torch.Tensor:
        """See the class; made when asked for, since models with tissue labels take another."""
        return torch.from_numpy(encode_condition(self.fractions, self.config))[None]


def prepare_case(
    mask_path: Path, image_path: Path | None, config: ModelConfig, labels: Mapping[int, int] | None = None
) -> PreparedCase:
    """Read, check, mend and place one mask; ``labels`` (file value -> scheme value) overrides recognition.

    Raises InputError where the file cannot be used, with the sentences of every error of the mask check.
    """
    mask = read_mask(mask_path, single_slice=image_path is not None)
    image = None if image_path is None else read_volume(image_path)
    placed = place_mask(mask, str(mask_path), config, image, labels, _brain_around, may_grow=True)
    grid_labels = labels_from_fractions(placed.fractions, config.scheme.values)
    return PreparedCase(
        labels=placed.labels,
        grid_labels=Volume(grid_labels, np.array(placed.placement.grid_affine)),
        placement=placed.placement,
        fractions=placed.fractions,
        config=config,
        sentences=tuple(dict.fromkeys(placed.sentences)),
        invented=placed.invented,
    )


def _brain_around(tumor: np.ndarray, affine: np.ndarray) -> tuple[Volume, str]:
    from ..anatomy.placement import brain_around  # which only a mask without a brain needs

    return brain_around(tumor, affine)


def require_covered(what: str, image: Volume, mask: Volume, advice: str) -> None:
    """Raise InputError, beginning with ``what``, where the image reaches too little of the mask's outline."""
    covered = float(reached(image, mask.affine, mask.shape)[mask.data > 0].mean())
    if covered < MIN_COVERED:
        where = "does not overlap the mask in space" if covered == 0 else f"covers only {covered:.0%} of the mask"
        raise InputError(f"{what} {where}. {advice}")


def stored_intensities(image: np.ndarray) -> np.ndarray:
    """[-1, 1] as written to files: int16 from 0 to ``INTENSITY_SCALE``."""
    return np.rint((np.clip(image, -1, 1) + 1) * (INTENSITY_SCALE / 2)).astype(np.int16)


def stored_image(
    modality: str, image: np.ndarray, case: PreparedCase, background: float, edit: LocalEdit | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """An image of the model's grid, [-1, 1], as it is written: on the mask's grid, on the model's, and what it is."""
    own = image_from_grid(image, case.placement, background)
    if edit is None or modality not in edit.images:
        return stored_intensities(own), stored_intensities(image), DESCRIPTION
    return edit.merged(modality, own), edit.in_own_units(modality, image), PARTLY_DESCRIPTION
