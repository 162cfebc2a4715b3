"""Whether samples repeat training images: how near each is to its nearest training case.

Two images of different patients are alike in all that their masks tell: outline, tumor, brightness. What counts is the
rest: the image less what its mask tells, on a small grid, where a shift of a voxel or two and noise do not matter. The
correlation of that rest is near 1 for a copy and moderate between patients. A mirrored copy counts as one, since
training mirrors cases. The measure of what is moderate is the held-out real image of the same mask: it cannot be a
copy, and it meets the same training cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .quality import dataset_label_means, label_mean_image

LONGEST = 24  # voxels of the longest side of the small grid
COPY = 0.8  # a correlation from here on is no chance between patients
MARGIN = 0.2  # by how much a sample must stand out beyond a real image to be called a copy


@dataclass(frozen=True)
class Nearest:
    """The nearest training case of an image: its id, the correlation with it (-1 to 1), and with the others.

    ``others``: median correlation with the other training cases; 0 where there is none. An image that is only average
    is near to all of them; a copy is near to one.
    """

    case: str
    similarity: float
    others: float

    @property
    def distinctness(self) -> float:
        """How far the nearest stands out from the others."""
        return self.similarity - self.others


def nearest_of(ids: Sequence[str], similarities: Tensor) -> Nearest:
    """The nearest of the training cases ``ids``, by its similarity with each of them."""
    best = int(similarities.argmax())
    others = torch.cat([similarities[:best], similarities[best + 1 :]])
    return Nearest(ids[best], float(similarities[best]), float(others.median()) if len(others) else 0.0)


def is_copy(sample: Nearest, real: Nearest) -> bool:
    """Whether a sample repeats its nearest training case, judged by the held-out real image of the same mask."""
    stands_out = sample.distinctness > real.distinctness + MARGIN
    return sample.similarity > real.similarity + MARGIN and (stands_out or sample.similarity > COPY)


class TrainingNeighbors:
    """The training cases on the small grid. ``cases``: ids; ``load(i)``: images and fractions of case i.

    ``left_right``: the axis of (C, D, H, W) that runs left-right, counted from the end, along which copies may be
    mirrored. Needs a few kilobytes a case; each case is read twice.
    """

    def __init__(
        self,
        cases: Iterable[str],
        load: Callable[[int], tuple[Tensor, Tensor]],
        background: float,
        left_right: int,
    ) -> None:
        self.ids = list(cases)
        self._background, self._left_right = background, left_right
        self.means = dataset_label_means((load(i) for i in range(len(self.ids))), background)
        self._known = torch.stack([self._rest(*load(i)) for i in range(len(self.ids))])

    def nearest(self, images: Tensor, fractions: Tensor) -> Nearest:
        """The nearest training case of an image (C, D, H, W) made from, or belonging to, a mask (L, D, H, W)."""
        rest = self._rest(images, fractions)
        mirrored = rest.flip(self._left_right)
        return nearest_of(self.ids, torch.maximum(self._correlations(rest), self._correlations(mirrored)))

    def _correlations(self, rest: Tensor) -> Tensor:
        flat = rest.flatten()
        known = self._known.flatten(1)
        return known @ flat / (known.norm(dim=1) * flat.norm()).clamp_min(1e-9)

    def _rest(self, images: Tensor, fractions: Tensor) -> Tensor:
        """What the mask does not tell, on the small grid: standardized for each modality inside, 0 outside."""
        left = images.float() - label_mean_image(self.means, fractions, self._background)
        small = coarse(torch.cat([left, fractions.float()]))
        left, within = small[: len(images)], small[len(images) :].sum(0) > 0.5
        if not bool(within.any()):
            return torch.zeros_like(left)
        values = left[:, within]
        centered = values - values.mean(dim=1, keepdim=True)
        standard = centered / centered.std(dim=1, correction=0, keepdim=True).clamp_min(1e-6)
        rest = torch.zeros_like(left)
        rest[:, within] = standard.clamp(-3, 3)  # a bright vessel must not decide alone
        return rest


def coarse(images: Tensor) -> Tensor:
    """Images (C, D, H, W) averaged to a grid of at most ``LONGEST`` voxels a side, float32."""
    scale = min(1.0, LONGEST / max(images.shape[1:]))
    d, h, w = (max(1, round(n * scale)) for n in images.shape[1:])
    return F.adaptive_avg_pool3d(images.float(), (d, h, w))


def left_right_axis(orientation: str) -> int:
    """The axis of (C, D, H, W) that runs left-right, counted from the end, on a grid with axes such as "LPS"."""
    return -1 - next(i for i, code in enumerate(orientation) if code in "LR")
