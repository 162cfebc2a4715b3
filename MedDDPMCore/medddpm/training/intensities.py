"""Random changes of intensity, as scanners differ: bias field, gamma and noise."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import AugmentConfig

# A bias field of polynomials is smooth: it is computed at this many points along each axis, and interpolated.
FIELD_POINTS, FIELD_DEGREE = 16, 3
# An intensity this close to the background's is background; prepared images are in half precision.
TOLERANCE = 2e-3


class IntensityChange:
    """Each of the changes, for each image on its own, with the probability of ``AugmentConfig.intensity``.

    Images are (C, D, H, W) in [-1, 1] and stay so; voxels of the background's value are not changed.
    """

    def __init__(self, config: AugmentConfig, background: float) -> None:
        self._config, self._background = config, background

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        changed = torch.stack([self._change(image, generator) for image in images])
        empty = (images - self._background).abs() < TOLERANCE
        return torch.where(empty, images, changed.clamp(-1, 1))

    def _change(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """One image (D, H, W); bias and gamma act on the share of the brightest value, 0 to 1."""
        config, share = self._config, (image + 1) / 2
        if self._chosen(generator) and config.bias_field:
            strength = config.bias_field * float(torch.rand((), generator=generator))
            share = share * bias_field(share.shape, strength, generator)
        if self._chosen(generator) and config.gamma:
            exponent = (1 + config.gamma) ** float(torch.rand((), generator=generator) * 2 - 1)
            share = share.clamp(0, 1) ** exponent
        if self._chosen(generator) and config.noise:
            strength = config.noise * float(torch.rand((), generator=generator))
            return 2 * share - 1 + strength * torch.randn(share.shape, generator=generator)
        return 2 * share - 1

    def _chosen(self, generator: torch.Generator) -> bool:
        return float(torch.rand((), generator=generator)) < self._config.intensity


def bias_field(shape: torch.Size, strength: float, generator: torch.Generator) -> Tensor:
    """A smooth field around 1 of ``shape`` to multiply an image with, from exp(-strength) to exp(strength).

    Its logarithm is a sum of Legendre polynomials of degree 3 at most, with random coefficients (as MONAI's
    RandBiasField), less its mean, so that the image as a whole becomes neither brighter nor darker.
    """
    drawn = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
    drawn.rand()
    degrees = [ijk for ijk in itertools.product(range(FIELD_DEGREE + 1), repeat=3) if sum(ijk) <= FIELD_DEGREE]
    coefficients = np.zeros((FIELD_DEGREE + 1,) * 3)
    coefficients[tuple(np.transpose(degrees))] = drawn.uniform(-1.0, 1.0, len(degrees))
    points = np.linspace(-1.0, 1.0, FIELD_POINTS, dtype=np.float32)
    # By way of the field itself in single precision, so that runs of former versions go on bit for bit.
    field = np.exp(np.polynomial.legendre.leggrid3d(points, points, points, coefficients))
    coarse = torch.from_numpy(field).float().log()
    coarse = coarse - coarse.mean()
    smooth = F.interpolate(coarse[None, None], size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return (smooth * (strength / smooth.abs().amax().clamp_min(1e-6))).exp()
