"""How sets of images compare: figures of many cases together, as the paper's Table I has them.

Of its four, MSE is in ``quality``. MS-SSIM among images tells their variety: a set that is more alike than the real one
lacks some. MMD tells whether two sets could come from the same distribution; the paper names the test (Gretton et al.
2012) but no kernel, so its numbers cannot be compared with these. 3D-FID needs a pretrained network and is left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..monitor.quality import Similarity, similarity
from ..monitor.samples import spread

MAX_PAIRS = 24  # of images whose similarity is computed


def mmd(a: Sequence[Tensor], b: Sequence[Tensor]) -> float | None:
    """Unbiased squared maximum mean discrepancy of two sets of vectors (Gretton et al. 2012, eq. 3).

    With a Gaussian kernel whose width is the median distance among all vectors (their section 8). Around 0, also below
    it, for sets of the same distribution; None where a set has fewer than two.
    """
    if min(len(a), len(b)) < 2:
        return None
    both = torch.stack([*a, *b]).double()
    squares = torch.cdist(both, both).square()
    apart = squares[~torch.eye(len(both), dtype=torch.bool)]
    width = apart.median().clamp_min(1e-30)
    kernel = torch.exp(-squares / (2 * width))
    n, m = len(a), len(b)
    within_a = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_b = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    return float(within_a + within_b - 2 * kernel[:n, n:].mean())


def neighbor_similarities(count: int, load: Callable[[int], Tensor]) -> list[tuple[int, Similarity]]:
    """MS-SSIM among ``count`` images: of each with the next one, the last with the first, by the index of the former.

    At most ``MAX_PAIRS`` pairs, evenly spread. Empty for fewer than two images or a grid smaller than the window.
    """
    if count < 2:
        return []
    kept = lru_cache(maxsize=2)(load)
    firsts = range(count) if count > 2 else range(1)
    step = max(1, -(-len(firsts) // MAX_PAIRS))
    values = [(i, similarity(kept(i), kept((i + 1) % count))) for i in firsts[::step]]
    return [(i, value) for i, value in values if value is not None]


SLICES = 24  # of each image
WIDTHS = (3, 5, 9, 17)  # voxels, of the averages between which a band of detail lies
RIDGE = 1.0  # weight of the squared coefficients, against the summed log-likelihood


def slice_features(images: Tensor, within: Tensor) -> Tensor:
    """Texture of axial slices of images (C, D, H, W) inside an outline (D, H, W): (slices, features).

    Mean, deviation, skewness and kurtosis of each modality and of its bands of detail, and how the modalities correlate
    in each. Of slices that hold at least half as much of the outline as the largest one, evenly spread.
    """
    areas = within.flatten(1).sum(1)
    large = (2 * areas >= areas.max()).nonzero().flatten()
    chosen = large[list(spread(len(large), SLICES))]
    weight = within[chosen, None].float()
    smooth = images[:, chosen].transpose(0, 1).float() * weight
    levels = [smooth, *(_local_mean(smooth, weight, width) for width in WIDTHS)]
    bands = [smooth, *(finer - coarser for finer, coarser in itertools.pairwise(levels))]
    return torch.cat([_statistics(band, weight) for band in bands], dim=1)


def _local_mean(slices: Tensor, weight: Tensor, width: int) -> Tensor:
    summed = [F.avg_pool2d(x, width, 1, width // 2) for x in (slices * weight, weight)]
    return summed[0] / summed[1].clamp_min(1e-6) * weight


def _statistics(slices: Tensor, weight: Tensor) -> Tensor:
    def mean(x: Tensor) -> Tensor:
        return (x * weight).sum((2, 3)) / weight.sum((2, 3))

    center = mean(slices)
    rest = slices - center[..., None, None]
    deviation = mean(rest.square()).sqrt().clamp_min(1e-4)
    standard = rest / deviation[..., None, None]
    kurtosis = mean(standard**4).clamp_min(1e-4).log()
    first, second = torch.triu_indices(slices.shape[1], slices.shape[1], 1)
    correlation = mean(standard[:, first] * standard[:, second])
    return torch.cat([center, deviation.log(), mean(standard**3), kurtosis, correlation], dim=1)


def areas_under_curve(
    real: Mapping[str, Tensor], made: Mapping[str, Tensor], patients: Mapping[str, str]
) -> dict[str, float]:
    """For each case, the area under the ROC curve of a classifier that learned from all other patients.

    ``real`` and ``made``: features (slices, features) by case; ``patients``: case -> patient. The area is that between
    a case's own real and synthetic slices: how often the synthetic one of a pair is told. Empty for a single patient.
    """
    areas = {}
    for case in real:
        rest = [other for other in real if patients[other] != patients[case]]
        if rest:
            known = [torch.cat([features[other] for other in rest]) for features in (real, made)]
            score = _classifier(*known)
            order = score(made[case])[:, None] - score(real[case])
            areas[case] = float(((order > 0).float() + 0.5 * (order == 0)).mean())
    return areas


def _classifier(negative: Tensor, positive: Tensor) -> Callable[[Tensor], Tensor]:
    """The score of a ridge-penalized logistic regression on standardized features."""
    features = torch.cat([negative, positive])
    truth = torch.cat([torch.zeros(len(negative)), torch.ones(len(positive))])
    center, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    standard = (features - center) / scale
    weights = torch.zeros(features.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = standard @ weights[1:] + weights[0]
        value = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
        value = value + RIDGE * weights[1:].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    found = weights.detach()[1:]
    return lambda unknown: (unknown - center) / scale @ found
