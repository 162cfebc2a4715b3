"""The samplers: each turns noise into an image with repeated x0 predictions. One algorithm, one function.

Notation: x_t = alpha x0 + sigma eps (paper, eq. 1); lambda = log(alpha / sigma), the half log-SNR; the clean image is
the end of every trajectory (alpha 1, sigma 0). All tensors are (1, C, D, H, W) float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .. import plugins
from ..config import ModelConfig
from ..errors import InputError
from ..parse import shown
from .names import SAMPLERS
from .schedule import Schedule

# Below this half log-SNR an x0 prediction is guesswork: the published schedule jumps from -5.08 to -8.53 in its last
# step. Multistep solvers extrapolate from former predictions, so those from beyond the jump are not kept.
HISTORY_FROM = -6.0


class Denoiser(Protocol):
    """What a sampler asks of the network, the mask being already bound to it."""

    def x0(self, x: Tensor, t: int) -> Tensor:
        """The clean image predicted at step ``t``, clamped to [-1, 1]."""

    def noise(self, x: Tensor, t: int) -> Tensor:
        """The noise predicted at step ``t``, with nothing clamped."""


@dataclass(frozen=True)
class Trajectory:
    """The noise levels that a sampler visits, from noisy to clean; the last entry of the arrays is the clean image.

    ``start`` times the first noise is where a sampler begins. ``diffusion``: the schedule is variance-preserving.
    """

    timesteps: tuple[int, ...]
    alpha: np.ndarray
    sigma: np.ndarray
    start: float = 1.0
    diffusion: bool = True

    @classmethod
    def of(cls, schedule: Schedule, steps: int) -> Trajectory:
        """``steps`` network evaluations, evenly spaced in t from T-1 to 0.

        A flow or a bridge needs none at t = 0, where next to no noise is left to remove: it ends a step before.
        """
        if not 1 <= steps <= schedule.steps:
            allowed = f"1 to {schedule.steps}" if schedule.steps > 1 else "one only"
            raise InputError(f"{steps} sampling steps were asked for; this model allows {allowed}.")
        diffusion = schedule.betas is not None
        last = 0.0 if diffusion else schedule.steps / steps - 1
        times = np.linspace(schedule.steps - 1, last, steps).round().astype(int)
        alpha, sigma = np.append(schedule.alpha[times], 1.0), np.append(schedule.sigma[times], 0.0)
        return cls(tuple(int(t) for t in times), alpha, sigma, 1.0 if diffusion else float(sigma[0]), diffusion)

    def posterior(self, i: int) -> tuple[float, float, float]:
        """Of the next level given x0 and x at level ``i``: the weights of x0 and x in the mean, and the variance.

        For a diffusion this is q(x_{t-1} | x_t, x0) of DDPM (Ho et al. 2020, eq. 7), for a bridge its own (Li et al.
        2023, eq. 12).
        """
        alpha, alpha_next, sigma, sigma_next = *self.alpha[i : i + 2], *self.sigma[i : i + 2]
        kept = alpha * sigma_next**2 / (alpha_next * sigma**2)
        share = 1 - kept * alpha / alpha_next
        return alpha_next * share, kept, max(sigma_next**2 * share, 1e-20)

    @property
    def half_log_snr(self) -> np.ndarray:
        """lambda at every visited level; infinite at the clean image."""
        with np.errstate(divide="ignore"):
            return np.log(self.alpha) - np.log(self.sigma)


OnStep = Callable[[int, Tensor], None]
Solver = Callable[[Denoiser, Trajectory, Iterator[Tensor], OnStep], Tensor]


def ddpm(denoiser: Denoiser, path: Trajectory, noise: Iterator[Tensor], on_step: OnStep) -> Tensor:
    """The published sampling rule: posterior mean from the clamped x0, posterior variance, no noise at the end.

    With all T steps this is DDPM (Ho et al. 2020, eq. 6-7); with fewer, the same posterior between the visited levels.
    """
    x = path.start * next(noise)
    for i, t in enumerate(path.timesteps):
        x0 = denoiser.x0(x, t)
        of_x0, of_x, variance = path.posterior(i)
        x = of_x0 * x0 + of_x * x
        z = next(noise)
        if path.sigma[i + 1] > 0:
            x = x + np.sqrt(variance) * z
        on_step(i, x0)
    return x


def ddpm_paper(denoiser: Denoiser, path: Trajectory, noise: Iterator[Tensor], on_step: OnStep) -> Tensor:
    """Algorithm 2 of the paper (eq. 3, sigma_t^2 = beta_t): no clamp, not what the published weights were judged by."""
    if not path.diffusion:
        raise InputError("The sampler ddpm-paper is for diffusion models, which this one is not. Use ddpm.")
    x = next(noise)
    for i, t in enumerate(path.timesteps):
        eps = denoiser.noise(x, t)
        x0 = (x - path.sigma[i] * eps) / path.alpha[i]
        alpha_t = (path.alpha[i] / path.alpha[i + 1]) ** 2
        z = next(noise)
        x = (x - (1 - alpha_t) / path.sigma[i] * eps) / np.sqrt(alpha_t)
        if path.sigma[i + 1] > 0:
            x = x + np.sqrt(1 - alpha_t) * z
        on_step(i, x0)
    return x


def ddim(denoiser: Denoiser, path: Trajectory, noise: Iterator[Tensor], on_step: OnStep) -> Tensor:
    """Deterministic DDIM (Song et al. 2021, eq. 12 with eta 0), with the noise re-derived from the clamped x0."""
    x = path.start * next(noise)
    for i, t in enumerate(path.timesteps):
        x0 = denoiser.x0(x, t)
        eps = (x - path.alpha[i] * x0) / path.sigma[i]
        x = path.alpha[i + 1] * x0 + path.sigma[i + 1] * eps
        on_step(i, x0)
    return x


def dpm_multistep(
    denoiser: Denoiser,
    path: Trajectory,
    noise: Iterator[Tensor],
    on_step: OnStep,
    *,
    order: int,
    history_from: float = HISTORY_FROM,
) -> Tensor:
    """DPM-Solver++(2M) and (3M), data prediction (Lu et al. 2022, Algorithm 2 and its third-order form).

    The last step to the clean image is of first order: its lambda is infinite, and x0 itself is the answer.
    """
    lam = path.half_log_snr
    history: list[tuple[float, Tensor]] = []  # (lambda, x0) of former steps, newest first
    x = path.start * next(noise)
    for i, t in enumerate(path.timesteps):
        x0 = denoiser.x0(x, t)
        on_step(i, x0)
        if path.sigma[i + 1] == 0:
            return x0
        usable = min(order, len(path.timesteps) - i)  # lower orders toward the end keep few-step runs stable
        history = [(lam[i], x0), *history][: min(order, usable)]
        history = [entry for entry in history if entry[0] >= history_from] or history[:1]
        x = _dpm_update(x, history, lam[i + 1], path, i)
    return x


def _dpm_update(
    x: Tensor, history: Sequence[tuple[float, Tensor]], lam_next: float, path: Trajectory, i: int
) -> Tensor:
    """One exponential-integrator step from level i to i+1 with the finite differences that the history allows."""
    lam0, d0 = history[0]
    h = lam_next - lam0
    phi1 = np.expm1(-h)
    alpha = path.alpha[i + 1]
    x = path.sigma[i + 1] / path.sigma[i] * x - alpha * phi1 * d0
    if len(history) == 1:
        return x
    r0 = (lam0 - history[1][0]) / h
    first = (d0 - history[1][1]) / r0
    if len(history) == 2:
        return x - alpha * phi1 * 0.5 * first
    r1 = (history[1][0] - history[2][0]) / h
    first_before = (history[1][1] - history[2][1]) / r1
    slope = first + r0 / (r0 + r1) * (first - first_before)
    curvature = (first - first_before) / (r0 + r1)
    phi2 = phi1 / h + 1
    phi3 = phi2 / h - 0.5
    return x + alpha * phi2 * slope - alpha * phi3 * curvature


def unipc(
    denoiser: Denoiser,
    path: Trajectory,
    noise: Iterator[Tensor],
    on_step: OnStep,
    *,
    history_from: float = HISTORY_FROM,
) -> Tensor:
    """UniPC of order 2 with B(h) = expm1(h), data prediction (Zhao et al. 2023, Algorithm 1-2).

    Each evaluation first corrects the step that led to it and then predicts the next one, so that the corrector costs
    no evaluation of its own.
    """
    lam = path.half_log_snr
    history: list[tuple[float, Tensor]] = []
    x = x_before = path.start * next(noise)
    for i, t in enumerate(path.timesteps):
        x0 = denoiser.x0(x, t)
        on_step(i, x0)
        if history:
            x = _unipc_correct(x_before, x0, history, lam[i], path, i)
        if path.sigma[i + 1] == 0:
            return x0
        usable = min(2, len(path.timesteps) - i)
        history = [(lam[i], x0), *history][:2]
        history = [entry for entry in history if entry[0] >= history_from] or history[:1]
        x_before = x
        x = _unipc_predict(x, history[:usable], lam[i + 1], path, i)
    return x


def _unipc_predict(
    x: Tensor, history: Sequence[tuple[float, Tensor]], lam_next: float, path: Trajectory, i: int
) -> Tensor:
    lam0, d0 = history[0]
    h = lam_next - lam0
    b = np.expm1(-h)
    x = path.sigma[i + 1] / path.sigma[i] * x - path.alpha[i + 1] * b * d0
    if len(history) < 2:
        return x
    r = (history[1][0] - lam0) / h
    return x - path.alpha[i + 1] * b * 0.5 * (history[1][1] - d0) / r


def _unipc_correct(
    x_before: Tensor, x0: Tensor, history: Sequence[tuple[float, Tensor]], lam: float, path: Trajectory, i: int
) -> Tensor:
    """Redo the step from level i-1 to i, now knowing the x0 predicted at its end."""
    lam0, d0 = history[0]
    h = -(lam - lam0)
    phi1 = np.expm1(h)
    x = path.sigma[i] / path.sigma[i - 1] * x_before - path.alpha[i] * phi1 * d0
    change = x0 - d0
    if len(history) < 2:
        return x - path.alpha[i] * phi1 * 0.5 * change
    r = (history[1][0] - lam0) / (lam - lam0)
    phi2 = phi1 / h - 1
    phi3 = phi2 / h - 0.5
    moments = np.array([phi2 / phi1, 2 * phi3 / phi1])
    weights = np.linalg.solve(np.array([[1.0, 1.0], [r, 1.0]]), moments)
    return x - path.alpha[i] * phi1 * (weights[0] * (history[1][1] - d0) / r + weights[1] * change)


SOLVERS: dict[str, Solver] = {
    "ddpm": ddpm,
    "ddpm-paper": ddpm_paper,
    "ddim": ddim,
    "dpm++2m": partial(dpm_multistep, order=2),
    "dpm++3m": partial(dpm_multistep, order=3),
    "unipc": unipc,
}
ALL_STEPS = ("ddpm", "ddpm-paper")


def solver(name: str) -> Solver:
    """The sampler called ``name``, perhaps of another package; InputError listing the names where there is none."""
    if name not in SAMPLERS:
        raise InputError(f"The sampler {shown(name)} is unknown. Choose one of {', '.join(SAMPLERS)}.")
    return SOLVERS[name] if name in SOLVERS else plugins.load("samplers", name)


def default_steps(name: str, schedule: Schedule, fast_steps: int) -> int:
    """Steps where the user names none: all T for the published rules, ``fast_steps`` for the others."""
    return schedule.steps if name in ALL_STEPS else min(fast_steps, schedule.steps)


def sampler_and_steps(config: ModelConfig, sampler: str | None = None, steps: int | None = None) -> tuple[str, int]:
    """The sampler and the steps that a user means by naming one of them, both or (None) neither.

    Neither: the model's own. A sampler alone: see ``default_steps``. Raises InputError where there is no such sampler.
    """
    name = sampler or config.sampler
    solver(name)
    if steps is not None:
        return name, steps
    schedule = Schedule.from_config(config.schedule)
    own = min(config.sampler_steps, schedule.steps)
    return name, own if sampler is None else default_steps(name, schedule, own)


def check_finite(x: Tensor) -> Tensor:
    """``x``, or a sentence where the network produced values that are not numbers."""
    if not torch.isfinite(x).all():
        raise InputError(
            "The network produced values that are not finite. The weights may be damaged, or the precision too low: "
            "try the precision fp32.",
            option="precision",
        )
    return x
