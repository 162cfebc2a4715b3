"""Parts of an image that are known beforehand and stay while the rest is sampled: local edits of a real scan.

Samplers turn every prediction of x0 into the next noisy image. Where the predicted x0 is the same known image at each
step, the noisy image is alpha_t x0 + sigma_t eps with noise that belongs to the sample: the known voxels, noised. So
putting them into x0 does for every sampler, also for one that extrapolates from former predictions, what replacing them
in x_t (Lugmayr et al. 2022, eq. 8) does for DDPM.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True)
class Known:
    """``images`` (C, D, H, W) in [-1, 1] hold where ``weight`` (same shape) is 0; where it is 1 the model decides.

    Between the two, in the seam, the weight mixes them. A channel that is not known has weight 1 everywhere.
    """

    images: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape != self.weight.shape:
            raise InputError(
                f"The known images have shape {tuple(self.images.shape)} and their weights "
                f"{tuple(self.weight.shape)}, but both must be (C, D, H, W)."
            )
        if not (self.images.abs() <= 1).all() or not ((self.weight >= 0) & (self.weight <= 1)).all():
            raise InputError("The known images must be within -1 to 1, and their weights within 0 to 1.")

    def to(self, device: torch.device) -> Known:
        """The same as float32 on ``device``."""
        return Known(self.images.to(device, torch.float32), self.weight.to(device, torch.float32))

    def blend(self, x0: Tensor) -> Tensor:
        """A prediction of x0 (1, C, D, H, W) with what is known put in; exact at the weights 0 and 1."""
        return torch.lerp(self.images, x0, self.weight)

    def blend_noise(self, noise: Tensor, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """A prediction of the noise in ``x`` that implies the blended x0: x0 is linear in it."""
        return torch.lerp((x - alpha * self.images) / sigma, noise, self.weight)
