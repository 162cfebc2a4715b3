"""Distances between sets of volumes, each with its interval over patients: the Frechet distance and MMD.

Both are computed from products among all volumes, so that a resample of the patients only changes their weights. The
interval is that of the bootstrap less its bias: a resample has fewer different volumes, which alone enlarges both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .measures import Estimate, bootstrap

Distance = Callable[[np.ndarray, np.ndarray], float]  # of the shares of the first set's members, and of the second's


def frechet(first: np.ndarray, second: np.ndarray) -> Distance:
    """The squared Frechet distance of two sets of features (N, F) and (M, F) (Heusel et al. 2017, eq. 6).

    Their covariances are unbiased. The trace of the root of their product is the sum of the singular values of the
    products among centered members, which needs no more members than features. With few members the distance is too
    large, the more the fewer.
    """
    center = first.mean(0)
    one, other = first - center, second - center
    own, others, across = one @ one.T, other @ other.T, one @ other.T

    def distance(p: np.ndarray, q: np.ndarray) -> float:
        n, m = len(p) / (len(p) - 1), len(q) / (len(q) - 1)
        spread = n * _spread(own, p) + m * _spread(others, q)
        middle = across - (p @ across)[None, :]
        middle = np.sqrt(p)[:, None] * (middle - (middle @ q)[:, None]) * np.sqrt(q)
        root = np.linalg.svd(middle, compute_uv=False).sum()
        means = p @ own @ p + q @ others @ q - 2 * (p @ across @ q)
        return max(0.0, float(means + spread - 2 * np.sqrt(n * m) * root))

    return distance


def _spread(products: np.ndarray, shares: np.ndarray) -> float:
    """The trace of the covariance."""
    return float(shares @ np.diag(products) - shares @ products @ shares)


def mmd(a: Sequence[Tensor], b: Sequence[Tensor]) -> float | None:
    """Unbiased squared maximum mean discrepancy of two sets of vectors (Gretton et al. 2012, eq. 3).

    With a Gaussian kernel whose width is the median distance among all vectors (their section 8). Around 0, also below
    it, for sets of the same distribution; None where a set has fewer than two.
    """
    if min(len(a), len(b)) < 2:
        return None
    shares = [torch.full((len(vectors),), 1 / len(vectors), dtype=torch.float64) for vectors in (a, b)]
    return weighted_mmd(gaussian_kernel(torch.stack([*a, *b])), *shares)


def gaussian_kernel(vectors: Tensor) -> Tensor:
    """The Gaussian kernel among all ``vectors`` (N, F), float64 (N, N); its width is the median distance among them."""
    squares = torch.cdist(vectors.double(), vectors.double()).square()
    apart = squares[~torch.eye(len(vectors), dtype=torch.bool)]
    return torch.exp(-squares / (2 * apart.median().clamp_min(1e-30)))


def weighted_mmd(kernel: Tensor, first: Tensor, second: Tensor) -> float:
    """The unbiased squared MMD of two sets, of which ``kernel`` is among all, with the shares of each one's members.

    Pairs of a member with itself do not count. NaN where a set has one member of any share.
    """
    n = len(first)
    parts = []
    for shares, block in ((first, kernel[:n, :n]), (second, kernel[n:, n:])):
        pairs = torch.outer(shares, shares).fill_diagonal_(0)
        parts.append(float((pairs * block).sum() / pairs.sum()))
    return parts[0] + parts[1] - 2 * float(first @ kernel[:n, n:] @ second)


def mmd_of(first: Sequence[Tensor], second: Sequence[Tensor]) -> Distance:
    """The unbiased squared MMD of two sets of vectors; see ``mmd``."""
    kernel = gaussian_kernel(torch.stack([*first, *second]))
    return lambda p, q: weighted_mmd(kernel, torch.from_numpy(p), torch.from_numpy(q))


def mean_distance(distances: Sequence[Distance]) -> Distance:
    """The mean of several, one for each modality."""
    return lambda p, q: float(np.mean([distance(p, q) for distance in distances]))


def over_patients(distance: Distance, first: Sequence[str], second: Sequence[str]) -> Estimate | None:
    """The distance with its interval; ``first`` and ``second``: the patient of each member. All are in both."""
    patients = sorted(set(first))
    rows, columns = (np.array([patients.index(patient) for patient in members]) for members in (first, second))

    def statistic(weights: np.ndarray) -> np.ndarray:
        shares = ((_normalized(row[rows]), _normalized(row[columns])) for row in weights)
        return np.array([distance(p, q) for p, q in shares])

    return bootstrap(len(patients), statistic, centered=True)


def _normalized(shares: np.ndarray) -> np.ndarray:
    return shares / shares.sum()
