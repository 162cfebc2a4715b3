"""The noise schedule (paper, eq. 1-2) and the conversions between noise, v and x0."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..config import ScheduleConfig


def cosine_betas(steps: int, s: float = 0.008, max_beta: float = 0.999) -> np.ndarray:
    """Betas of the cosine schedule (Nichol & Dhariwal 2021, eq. 17; paper, eq. 2), float64 (steps,), clipped."""
    times = np.arange(steps + 1, dtype=np.float64) / steps
    f = np.cos((times + s) / (1 + s) * math.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], max_beta)


@dataclass(frozen=True)
class Schedule:
    """Everything a sampler needs of the noise schedule, float64, index t = 0..T-1 (0 is the least noisy).

    ``alpha[t]`` = sqrt(alphabar_t) and ``sigma[t]`` = sqrt(1 - alphabar_t), so that x_t = alpha x0 + sigma eps (eq. 1).
    """

    betas: np.ndarray

    @classmethod
    def from_config(cls, config: ScheduleConfig) -> Schedule:
        """The schedule that the configuration describes."""
        if config.betas is not None:
            return cls(np.asarray(config.betas, dtype=np.float64))
        return cls(cosine_betas(config.steps, config.s, config.max_beta))

    @property
    def steps(self) -> int:
        """T, the number of noise levels."""
        return len(self.betas)

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """alphabar_t."""
        return np.cumprod(1 - self.betas)

    @property
    def alpha(self) -> np.ndarray:
        """Signal scale sqrt(alphabar_t)."""
        return np.sqrt(self.alphas_cumprod)

    @property
    def sigma(self) -> np.ndarray:
        """Noise scale sqrt(1 - alphabar_t)."""
        return np.sqrt(1 - self.alphas_cumprod)

    @property
    def half_log_snr(self) -> np.ndarray:
        """lambda_t = log(alpha_t / sigma_t), the time variable of the DPM solvers."""
        return np.log(self.alpha / self.sigma)

    @property
    def alphas_cumprod_previous(self) -> np.ndarray:
        """alphabar_{t-1}, with 1 for t = 0."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @property
    def posterior_variance(self) -> np.ndarray:
        """Variance of q(x_{t-1} | x_t, x0) (DDPM, eq. 7); 0 at t = 0."""
        return self.betas * (1 - self.alphas_cumprod_previous) / (1 - self.alphas_cumprod)

    @property
    def posterior_mean_x0(self) -> np.ndarray:
        """Weight of x0 in the mean of q(x_{t-1} | x_t, x0)."""
        return self.betas * np.sqrt(self.alphas_cumprod_previous) / (1 - self.alphas_cumprod)

    @property
    def posterior_mean_xt(self) -> np.ndarray:
        """Weight of x_t in the mean of q(x_{t-1} | x_t, x0)."""
        return (1 - self.alphas_cumprod_previous) * np.sqrt(1 - self.betas) / (1 - self.alphas_cumprod)
