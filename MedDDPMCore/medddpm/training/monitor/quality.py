"""How near synthetic images are to the real ones of the same mask: pure functions on tensors.

Images are (C, D, H, W) in [-1, 1], one channel for each modality; label fractions (L, D, H, W) in [0, 1]. "Inside" is
where labels cover more than half of a voxel: outside of it all images are background, and would only flatter a figure.
A sample need not equal the patient's image, since a mask does not tell everything; the figures have a meaning beside
those of a baseline: the image that has the mean intensity of each label (``label_mean_image``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError

DATA_RANGE = 2.0
MAX_PSNR = 100.0  # dB, for images that are equal
MIN_AMPLITUDE = 1e-6
OCTAVES = ("fine", "medium", "coarse")


@dataclass(frozen=True)
class Quality:
    """Figures of one case.

    ``ms_ssim`` (mean over modalities) and ``mse_volume`` are of the whole volume, as in the paper; where its
    ``ms_ssim_lowest`` term is negative (see ``Similarity``), a modality's MS-SSIM counts as 0. ``l1``, ``mse`` and
    ``psnr`` (dB, for a data range of 2) of what is inside the outline. ``sharpness``: standard deviation of detail
    finer than about two voxels, synthetic over real, mean over modalities: 1 is right, lower is blurred, higher is
    noisy; ``detail`` has the same for three octaves of size, by ``OCTAVES``. ``label_error``: mean over labels and
    modalities of how far the mean intensity of a label is off, in units of [-1, 1]; None where no label fills a voxel.
    """

    ms_ssim: float | None
    ms_ssim_lowest: float | None
    mse_volume: float
    l1: float
    mse: float
    psnr: float
    sharpness: float
    detail: dict[str, float]
    label_error: float | None


def quality(synthetic: Tensor, real: Tensor, fractions: Tensor) -> Quality:
    """All figures of a synthetic case against the real one. ``ms_ssim`` is None where the grid is too small for it."""
    return overall(by_modality(synthetic, real, fractions))


def by_modality(synthetic: Tensor, real: Tensor, fractions: Tensor) -> list[Quality]:
    """``quality`` of each modality alone, in their order."""
    within, found = inside(fractions), []
    details = detail_ratios(synthetic, real, within)
    errors = (label_means(synthetic, fractions) - label_means(real, fractions)).abs()
    for made, true, detail, error in zip(synthetic, real, details, errors, strict=True):
        alike = similarity(made[None], true[None])
        mse = mean_inside((made - true).square()[None], within)
        one = Quality(
            ms_ssim=None if alike is None else alike.value,
            ms_ssim_lowest=None if alike is None else alike.lowest,
            mse_volume=float((made - true).square().mean()),
            l1=mean_inside((made - true).abs()[None], within),
            mse=mse,
            psnr=psnr(mse),
            sharpness=detail["fine"],
            detail=detail,
            label_error=None if bool(error.isnan().all()) else float(error.nanmean()),
        )
        found.append(one)
    return found


def overall(parts: Sequence[Quality]) -> Quality:
    """The mean of figures over modalities or cases; the PSNR is that of the mean squared error."""
    mse = fmean(part.mse for part in parts)
    return Quality(
        ms_ssim=_mean_known([part.ms_ssim for part in parts]),
        ms_ssim_lowest=min((part.ms_ssim_lowest for part in parts if part.ms_ssim_lowest is not None), default=None),
        mse_volume=fmean(part.mse_volume for part in parts),
        l1=fmean(part.l1 for part in parts),
        mse=mse,
        psnr=psnr(mse),
        sharpness=fmean(part.sharpness for part in parts),
        detail={name: fmean(part.detail[name] for part in parts) for name in OCTAVES},
        label_error=_mean_known([part.label_error for part in parts]),
    )


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def inside(fractions: Tensor) -> Tensor:
    """Where labels cover more than half of a voxel, bool (D, H, W); everything where there is no label at all."""
    within = fractions.sum(0) > 0.5
    return within if bool(within.any()) else torch.ones_like(within)


def mean_inside(values: Tensor, within: Tensor) -> float:
    """Mean of (C, D, H, W) over channels and the voxels of ``within``."""
    return float(values[:, within].float().mean())


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error, at most ``MAX_PSNR``."""
    return min(MAX_PSNR, 10 * math.log10(DATA_RANGE**2 / max(mse, 1e-30)))


def similarity(a: Tensor, b: Tensor) -> Similarity | None:
    """MS-SSIM of two cases, mean over modalities; None where the grid is smaller than its window."""
    if min(a.shape[1:]) < WINDOW:
        return None
    return ms_ssim(a[None], b[None])


def detail_ratios(synthetic: Tensor, real: Tensor, within: Tensor) -> list[dict[str, float]]:
    """Strength of detail in synthetic over real images, by ``OCTAVES``, of each modality.

    Detail of an octave is the difference between the image averaged over 1 and 3, 3 and 5, 5 and 9 voxels. Means are
    taken inside the outline only, and strengths two voxels further in, so that the outline itself is no detail. A
    blurred image loses the fine one first.
    """
    core = _box(within.float()[None], 5)[0] > 0.999
    counted = core if bool(core.any()) else within
    strengths = []
    for images in (synthetic.float(), real.float()):
        smooth = [images, *(_local_mean(images, within, width) for width in (3, 5, 9))]
        octaves = [(finer - coarser)[:, counted] for finer, coarser in itertools.pairwise(smooth)]
        deviations = torch.stack([octave.std(dim=1, correction=0) for octave in octaves], 1)
        strengths.append(deviations.clamp_min(MIN_AMPLITUDE))
    return [dict(zip(OCTAVES, ratios, strict=True)) for ratios in (strengths[0] / strengths[1]).tolist()]


def _local_mean(images: Tensor, within: Tensor, width: int) -> Tensor:
    """Mean over a cube of ``width`` voxels, of those inside."""
    weight = within.float()[None]
    return _box(images * weight, width) / _box(weight, width).clamp_min(1e-6)


def _box(volumes: Tensor, width: int) -> Tensor:
    """Mean over a cube of ``width`` voxels of (C, D, H, W), zeros around it; axis by axis, which is the same."""
    places = [torch.arange(side, device=volumes.device) for side in volumes.shape[1:]]
    z, y, x = (((at[:, None] - at).abs() <= width // 2) / width for at in places)
    return torch.stack([separable(volume, z, y, x) for volume in volumes])


def label_means(images: Tensor, fractions: Tensor) -> Tensor:
    """Mean intensity (C, L) of each label where it fills more than half of a voxel; NaN for one that never does."""
    means = [images[:, fraction > 0.5].float().mean(dim=1) for fraction in fractions]
    return torch.stack(means, dim=1)


def dataset_label_means(cases: Iterable[tuple[Tensor, Tensor]], background: float) -> Tensor:
    """Mean intensity (C, L) of each label over (images, fractions) of many cases, voxels weighted by their fraction.

    A label that no case has gets ``background``.
    """
    totals, weights = [], []
    for images, fractions in cases:
        totals.append(torch.einsum("cxyz,lxyz->cl", images.float(), fractions.float()))
        weights.append(fractions.float().sum((1, 2, 3)))
    total, weight = torch.stack(totals).sum(0), torch.stack(weights).sum(0)
    return torch.where(weight > 0, total / weight.clamp_min(1e-9), torch.full_like(total, background))


def label_mean_image(means: Tensor, fractions: Tensor, background: float) -> Tensor:
    """The image (C, D, H, W) that the mask alone tells: each label at its mean intensity (C, L), else background."""
    rest = (1 - fractions.sum(0, keepdim=True)).clamp_min(0) * background
    return torch.einsum("cl,lxyz->cxyz", means, fractions.float()) + rest


WINDOW = 11
SIGMA = 1.5  # voxels, of the Gaussian window
# Weights of the five scales (Wang et al. 2003, section 3.2), finest first.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
DATA_RANGE = 2.0
C1, C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2


@dataclass(frozen=True)
class Similarity:
    """MS-SSIM of two volumes, and the ``lowest`` of the terms that it multiplies, over scales and channels.

    A term is the mean of contrast times structure at a scale, at the coarsest one times luminance. Where images are
    opposite it is negative, and a power of it is not defined: the MS-SSIM of that channel counts as 0, as in MONAI.
    """

    value: float
    lowest: float


def scales(shape: Sequence[int]) -> int:
    """How many of the five scales have room for the window. Raises InputError where none has.

    Scale n is the grid halved n - 1 times; MONAI asks for a side of the window times (n - 1)^2 instead. Both must hold.
    """
    fitting = [n for n in range(1, 6) if min(shape) // max(2 ** (n - 1), (n - 1) ** 2) >= WINDOW]
    if not fitting:
        raise InputError(f"MS-SSIM needs at least {WINDOW} voxels along every axis; the grid is {tuple(shape)}.")
    return max(fitting)


def ms_ssim(a: Tensor, b: Tensor) -> Similarity:
    """MS-SSIM of two volumes (1, C, D, H, W) in [-1, 1], mean over channels, over as many scales as fit the grid.

    Wang et al. 2003, eq. 7, with a Gaussian window. The weights of the scales that fit are scaled to sum to 1. Equals
    MONAI's ``MultiScaleSSIMMetric``, at a fraction of its time: the window is applied axis by axis.
    """
    used = WEIGHTS[: scales(a.shape[2:])]
    values, lowest = [], []
    for one, other in zip(a[0].float(), b[0].float(), strict=True):
        found = []
        for scale in range(len(used)):
            found.append(float(_terms(one, other, luminance=scale == len(used) - 1).mean()))
            one, other = (F.avg_pool3d(volume[None], 2)[0] for volume in (one, other))
        powers = (max(0.0, term) ** (weight / sum(used)) for term, weight in zip(found, used, strict=True))
        values.append(math.prod(powers))
        lowest.append(min(found))
    return Similarity(fmean(values), min(lowest))


def _terms(a: Tensor, b: Tensor, luminance: bool) -> Tensor:
    """Contrast times structure wherever the window fits, with ``luminance`` times that (Wang et al. 2003, eq. 6)."""
    mean_a, mean_b = _windowed(a), _windowed(b)
    product, squares = mean_a * mean_b, mean_a.square() + mean_b.square()
    terms = (2 * (_windowed(a * b) - product) + C2) / (_windowed(a * a + b * b) - squares + C2)
    return terms * (2 * product + C1) / (squares + C1) if luminance else terms


def _windowed(volume: Tensor) -> Tensor:
    """Mean under the Gaussian window wherever it fits into (D, H, W)."""
    return separable(volume, *(_band(side, volume.device) for side in volume.shape))


def separable(volume: Tensor, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A volume (D, H, W) with a matrix (out, in) applied along each axis; faster than a convolution."""
    across = y @ (volume @ x.T)
    return (z @ across.flatten(1)).view(-1, *across.shape[1:])


def _band(side: int, device: torch.device) -> Tensor:
    """Matrix (side - WINDOW + 1, side) that takes a line of voxels to its windowed means."""
    offset = torch.arange(side, device=device) - torch.arange(side - WINDOW + 1, device=device)[:, None]
    weights = torch.exp(-0.5 * ((offset - WINDOW // 2) / SIGMA) ** 2)
    weights[(offset < 0) | (offset >= WINDOW)] = 0
    return weights / weights.sum(1, keepdim=True)
