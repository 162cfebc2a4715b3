"""What the network is trained to predict, and how the samplers read it as noise or as x0.

With x_t = alpha x0 + sigma eps (paper, eq. 1): "noise" is eps, "x0" is the clean image, "v" is alpha eps - sigma x0
(Salimans & Ho 2022, section 4).
"""

from __future__ import annotations

from torch import Tensor


def target(kind: str, x0: Tensor, noise: Tensor, alpha: Tensor | float, sigma: Tensor | float) -> Tensor:
    """The training target for a network that predicts ``kind``."""
    if kind == "noise":
        return noise
    if kind == "x0":
        return x0
    return alpha * noise - sigma * x0


def to_noise(kind: str, output: Tensor, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise eps that a network output of ``kind`` implies at x_t."""
    if kind == "noise":
        return output
    if kind == "x0":
        return (x_t - alpha * output) / sigma
    return alpha * output + sigma * x_t


def to_x0(kind: str, output: Tensor, x_t: Tensor, alpha: float, sigma: float) -> Tensor:
    """The clean image x0 that a network output of ``kind`` implies at x_t, not clamped."""
    if kind == "noise":
        return (x_t - sigma * output) / alpha
    if kind == "x0":
        return output
    return alpha * x_t - sigma * output
