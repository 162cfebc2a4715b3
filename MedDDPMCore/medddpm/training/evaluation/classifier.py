"""Can synthetic slices be told from real ones? A linear classifier on texture, tested on patients it has not seen.

An area under the curve of 0.5 says that it cannot, 1 that it always can. The classifier is small on purpose: with few
patients a large one would learn the patients.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..monitor.samples import spread

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
