"""The noise schedule (paper, eq. 1-2), and what the network is trained to predict, read as noise or as x0.

With x_t = alpha x0 + sigma eps (paper, eq. 1): "noise" is eps, "x0" is the clean image, "v" is alpha eps - sigma x0
(Salimans & Ho 2022, section 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..config import ScheduleConfig


def cosine_betas(steps: int, s: float = 0.008, max_beta: float = 0.999) -> np.ndarray:
    """Betas of the cosine schedule (Nichol & Dhariwal 2021, eq. 17; paper, eq. 2), float64 (steps,), clipped."""
    times = np.arange(steps + 1, dtype=np.float64) / steps
    f = np.cos((times + s) / (1 + s) * math.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], max_beta)


@dataclass(frozen=True)
class Schedule:
    """Everything a sampler needs of the noise schedule, float64 (T,), index t = 0..T-1 (0 is the least noisy).

    x_t = alpha[t] x0 + sigma[t] eps. ``betas``: of a diffusion (eq. 1: alpha = sqrt(alphabar_t) and sigma =
    sqrt(1 - alphabar_t)), None for all others.
    """

    alpha: np.ndarray
    sigma: np.ndarray
    betas: np.ndarray | None = None

    @classmethod
    def from_config(cls, config: ScheduleConfig) -> Schedule:
        """The schedule that the configuration describes."""
        if config.kind == "explicit":
            return cls.of_betas(np.asarray(config.betas, dtype=np.float64))
        if config.kind == "cosine":
            return cls.of_betas(cosine_betas(config.steps, config.s, config.max_beta))
        if config.kind == "one-step":
            return cls(np.zeros(1), np.ones(1))
        time = np.arange(1, config.steps + 1) / (config.steps + 1)  # never 1: there, nothing of the image would be left
        return cls(1 - time, time if config.kind == "flow" else config.noise * np.sqrt(time * (1 - time)))

    @classmethod
    def of_betas(cls, betas: np.ndarray) -> Schedule:
        """The variance-preserving schedule of these betas."""
        alphas_cumprod = np.cumprod(1 - betas)
        return cls(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod), betas)

    @property
    def steps(self) -> int:
        """T, the number of noise levels."""
        return len(self.alpha)

    @property
    def half_log_snr(self) -> np.ndarray:
        """lambda_t = log(alpha_t / sigma_t), the time variable of the DPM solvers."""
        return np.log(self.alpha / self.sigma)


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
