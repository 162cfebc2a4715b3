"""How sets of images compare: figures of many cases together, as the paper's Table I has them.

Of its four, MSE is in ``quality``. MS-SSIM among images tells their variety: a set that is more alike than the real one
lacks some. MMD tells whether two sets could come from the same distribution; the paper names the test (Gretton et al.
2012) but no kernel, so its numbers cannot be compared with these. 3D-FID needs a pretrained network and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..monitor.neighbors import coarse
from ..monitor.quality import similarity
from ..monitor.similarity import Similarity

MAX_PAIRS = 24  # of images whose similarity is computed


def small_vector(images: Tensor) -> Tensor:
    """Images (C, D, H, W) on a coarse grid, as one vector."""
    return coarse(images).flatten()


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
