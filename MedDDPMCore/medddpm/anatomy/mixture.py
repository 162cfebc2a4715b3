"""A mixture of Gaussians over the intensities of several images of a brain, with a prior for each voxel.

Classes of tissue with full covariances, in the manner of Van Leemput et al. 1999 (doi:10.1109/42.811268, .811270):
expectation-maximization with spatial priors, a slowly varying remainder of the bias field estimated from the residuals
(Wells et al. 1996, doi:10.1109/42.511747), a uniform class for outliers (Van Leemput et al. 2001,
doi:10.1109/42.938237), classes for voxels that hold fluid and tissue (Shattuck et al. 2001,
doi:10.1006/nimg.2000.0730), and a neighborhood term by mean field (Zhang 1992, doi:10.1109/78.157297).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

# Pure classes. Fluid is one class wherever it is, white matter too.
CSF, CORTEX, DEEP_GRAY, WHITE, CEREBELLAR_CORTEX, BRAINSTEM = range(6)
PURE = 6
# Voxels that hold two tissues: which, and how frequent they are, relative to the product of the two priors.
MIXED = ((CSF, CORTEX, 2.5), (CSF, DEEP_GRAY, 1.0), (CSF, WHITE, 1.0))
# Pallidum and lateral thalamus are nearly as bright as white matter: a class of its own, with this share of the prior
# of deep gray matter, whose mean lies so far from that of deep gray to that of white matter.
BRIGHT_DEEP_GRAY, TOWARD_WHITE = 0.4, 0.75
OUTLIERS = 0.02  # prior probability
# Share of the common covariance of cortex and white matter in that of each class: alike in noise, unlike in spread.
POOLED = np.array([0.3, 0.7, 0.5, 0.7, 0.5, 0.5])
LEAST_VARIANCE = 1e-4  # of intensities that span about 0 to 1: their quantization
FLUID_SPREAD = 0.04  # standard deviation of fluid at least, as a part of its contrast to cortex: images are clipped
FLUID_MM = 2.5  # standard deviation of the kernel by which fluid is found to be amid fluid
SHARPNESS = 1.75  # of the division of a voxel between two tissues
HALF, HALF_CORTEX = 0.46, 0.37  # where between two means, from solid tissue to fluid, a voxel is divided evenly
UNLIKE = 0.1  # of the contrast by which images differ in what a voxel holds, as their slices differ
BIAS_MM = 25.0  # standard deviation of the kernel of the bias field's remainder
# In adults: sign and weight of fluid against brain, and of white against gray matter.
CONTRAST = {"T1": (-1.0, 1.0), "T1ce": (-0.6, 0.6), "T2": (1.0, -1.0), "FLAIR": (-1.0, -0.7)}


@dataclass(frozen=True)
class Mixture:
    """The K - 1 pure and mixed classes and the one of bright deep gray matter: ``means`` (K - 1, d), ``whitening``
    (K - 1, d, d; a residual times it has unit covariance), ``log_scale`` (K - 1,). ``outliers`` is the log density of
    the last class, ``common`` (d, d) the covariance of cortex and white matter.
    """

    means: np.ndarray
    whitening: np.ndarray
    log_scale: np.ndarray
    outliers: float
    common: np.ndarray

    def log_likelihood(self, values: np.ndarray) -> np.ndarray:
        """Of ``values`` (N, d) in each class, the outliers last: (K, N) float32."""
        out = np.empty((len(self.means) + 1, len(values)), np.float32)
        for k, (mean, whitening) in enumerate(zip(self.means, self.whitening, strict=True)):
            residual = (values - mean.astype(np.float32)) @ whitening.astype(np.float32)
            out[k] = self.log_scale[k] - 0.5 * np.einsum("nd,nd->n", residual, residual)
        out[-1] = self.outliers
        return out

    def splits(self, values: np.ndarray) -> np.ndarray:
        """Of the first tissue in voxels of each mixed class, (3, N) float32: where ``values`` lie between two means."""
        out = []
        for a, b, _ in MIXED:
            difference = self.means[a] - self.means[b]
            toward = np.linalg.solve(self.common + np.diag((UNLIKE * difference) ** 2), difference)
            share = ((values - self.means[b].astype(np.float32)) @ toward.astype(np.float32)) / (toward @ difference)
            half = HALF_CORTEX if b == CORTEX else HALF
            out.append(np.clip(0.5 + SHARPNESS * (share - half), 0, 1))
        return np.array(out, np.float32)

    @property
    def contrast(self) -> float:
        """Between white matter and cortex, in standard deviations of the noise (Mahalanobis distance)."""
        difference = self.means[WHITE] - self.means[CORTEX]
        return float(np.sqrt(difference @ np.linalg.solve(self.common, difference)))


def log_prior(prior: np.ndarray) -> np.ndarray:
    """Logarithms of the prior of all classes, (K, N), from that of the pure ones (6, N)."""
    mixed = [weight * prior[a] * prior[b] for a, b, weight in MIXED]
    return np.log(np.stack([*prior, *mixed, BRIGHT_DEEP_GRAY * prior[DEEP_GRAY], np.full_like(prior[0], OUTLIERS)]))


def normalized(log_posterior: np.ndarray) -> np.ndarray:
    """Probabilities (K, N) from logarithms up to a constant at each voxel."""
    out = np.exp(log_posterior - log_posterior.max(axis=0))
    out /= out.sum(axis=0)
    return out


def without_mixed(posterior: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """(7, N): pure classes and outliers; ``splits`` as of ``Mixture.splits``."""
    out = np.concatenate([posterior[:PURE], posterior[-1:]])
    out[DEEP_GRAY] += posterior[-2]
    for (a, b, _), share, split in zip(MIXED, posterior[PURE:-2], splits, strict=True):
        out[a] += share * split
        out[b] += share * (1 - split)
    return out


def first_guess(values: np.ndarray, prior: np.ndarray, modalities: Sequence[str]) -> np.ndarray:
    """Responsibilities (6, N) to begin with: the prior, with the order of tissues that each contrast is known for."""
    low, middle, high = np.percentile(values, (25, 50, 75), axis=0)
    scores = np.clip((values - middle) / np.maximum(high - low, 1e-6), -4, 4) @ np.array(
        [CONTRAST[name] for name in modalities]
    )
    fluid = scores[:, 0] > np.quantile(scores[:, 0], 1 - 0.9 * prior[CSF].mean())
    white_share = prior[WHITE].mean() / (prior[WHITE] + prior[CORTEX]).mean()
    white = scores[:, 1] > np.quantile(scores[~fluid, 1], 1 - white_share)
    guess = prior * np.where(fluid, 0.01, 1)
    guess[CSF] = prior[CSF] * np.where(fluid, 1, 0.001)
    guess[CORTEX] *= np.where(white, 0.05, 1)
    guess[WHITE] *= np.where(white, 1, 0.05)
    return guess / guess.sum(axis=0)


def estimate(values: np.ndarray, weights: np.ndarray) -> Mixture:
    """The mixture for ``values`` (N, d) whose tissues are known to probabilities ``weights`` (6, N)."""
    dimensions = values.shape[1]
    moments = [_moments(values, weight) for weight in weights]
    means, spread = [m for m, _ in moments], [c for _, c in moments]
    share = weights[WHITE].sum() / (weights[WHITE] + weights[CORTEX]).sum()
    common = share * spread[WHITE] + (1 - share) * spread[CORTEX] + LEAST_VARIANCE * np.eye(dimensions)
    spread = [(1 - p) * own + p * common for own, p in zip(spread, POOLED, strict=True)]
    spread[CSF] += np.diag((FLUID_SPREAD * (means[CSF] - means[CORTEX])) ** 2)
    for a, b, _ in MIXED:
        difference = means[a] - means[b]
        means.append((means[a] + means[b]) / 2)
        spread.append((spread[a] + spread[b]) / 2 + (np.outer(difference, difference) + np.diag(difference**2)) / 24)
    means.append(TOWARD_WHITE * means[WHITE] + (1 - TOWARD_WHITE) * means[DEEP_GRAY])
    spread.append(common)
    covariances = np.array(spread) + LEAST_VARIANCE * np.eye(dimensions)
    whitening = np.linalg.cholesky(np.linalg.inv(covariances))
    log_scale = -0.5 * (np.linalg.slogdet(covariances)[1] + dimensions * np.log(2 * np.pi))
    low, high = np.percentile(values, (0.2, 99.8), axis=0)
    outliers = -float(np.log(1.5 * np.prod(np.maximum(high - low, 1e-3))))
    return Mixture(np.array(means), whitening, log_scale, outliers, common)


def _moments(values: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean (d,) and covariance (d, d) of ``values`` (N, d)."""
    total = weight.sum() + 1e-6
    mean = weight @ values / total
    return mean, (values - mean).T @ ((values - mean) * weight[:, None]) / total


@dataclass(frozen=True)
class Lattice3:
    """Evenly spaced voxels of a grid, ``spacing`` mm apart: ``inside`` (bool) says which are looked at, ``deep`` (N,)
    which of these are far from the outline.
    """

    inside: np.ndarray
    deep: np.ndarray
    spacing: tuple[float, ...]

    def smoothed(self, values: np.ndarray | float, sigma_mm: float) -> np.ndarray:
        """``values`` (N,) of the points inside, spread over the lattice by a Gaussian."""
        field = np.zeros(self.inside.shape, np.float32)
        field[self.inside] = values
        sigmas = [sigma_mm / s for s in self.spacing[::-1]]
        return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(field), sigmas))


def fit(
    values: np.ndarray, prior: np.ndarray, lattice: Lattice3, guess: np.ndarray, iterations: int
) -> tuple[Mixture, np.ndarray]:
    """Expectation-maximization from the responsibilities ``guess`` (6, N), for ``values`` (N, d) of lattice points.

    Returns the mixture and the remainder of the bias field, (d, ...) on the whole lattice, to be subtracted.
    """
    bias = np.zeros((values.shape[1], *lattice.inside.shape), np.float32)
    logs = log_prior(prior)
    mixture = estimate(values, guess)
    for iteration in range(iterations):
        even = values - bias[:, lattice.inside].T
        posterior = normalized(mixture.log_likelihood(even) + logs)
        mixture = estimate(even, _pure_fluid(posterior[:PURE], lattice))
        if iteration % 4 == 3:
            bias = _residual_bias(values, posterior[:PURE], mixture, lattice)
    return mixture, bias


def _pure_fluid(posterior: np.ndarray, lattice: Lattice3) -> np.ndarray:
    """``posterior`` (6, N) with fluid as far as it is deep in the brain and amid fluid.

    In sulci most voxels hold cortex, too; near the outline there is dura, which is dark.
    """
    weights = posterior.copy()
    total = np.maximum(lattice.smoothed(1, FLUID_MM)[lattice.inside], 0.1)
    density = lattice.smoothed(posterior[CSF], FLUID_MM)[lattice.inside] / total
    weights[CSF] *= np.clip(density, 0, 1) ** 2 * lattice.deep
    return weights


def _residual_bias(values: np.ndarray, posterior: np.ndarray, mixture: Mixture, lattice: Lattice3) -> np.ndarray:
    """What the solid tissues differ by from their means, smoothed, (d, ...) on the lattice."""
    solid = posterior.copy()
    solid[CSF] = 0
    weight = solid.sum(axis=0)
    difference = values * weight[:, None] - solid.T @ mixture.means[:PURE].astype(np.float32)
    total = lattice.smoothed(weight, BIAS_MM) + 0.02
    return np.stack([lattice.smoothed(part, BIAS_MM) / total for part in difference.T])


def neighbors(shares: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Sum over the six face neighbors of ``shares`` (C, X, Y, Z), each axis with its weight."""
    total = np.zeros_like(shares)
    for axis, weight in enumerate(weights):
        moved, out = np.moveaxis(shares, axis + 1, 0), np.moveaxis(total, axis + 1, 0)
        out[1:] += weight * moved[:-1]
        out[:-1] += weight * moved[1:]
    return total
