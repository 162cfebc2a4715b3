"""What is measured of images, be they real, synthetic or the baseline: one by one, and sets of them.

Texture inside the outline: an image that is too smooth, or grainy in place of structured, has the right mean
intensities and the right structures at 30 mm; what it lacks is power at some millimeters, and the rare strong edges
that vessels, sulci and the tumor's rim make (kurtosis), where noise has none. Tissues in images whose mask has them:
their contrast, and whether they are where the mask asks for them.

Sets have figures of many cases together, as the paper's Table I. Of its four, MSE is in ``quality``. MS-SSIM among
images tells their variety: a set that is more alike than the real one lacks some. MMD tells whether two sets could come
from the same distribution; the paper names the test (Gretton et al. 2012) but no kernel, so its numbers cannot be
compared with these. 3D-FID needs a pretrained network: ``medddpm.studies`` has it. Last, can synthetic slices be told
from real ones? A linear classifier on texture is tested on patients it has not seen: an area under the curve of 0.5
says that it cannot, 1 that it always can. It is small on purpose: with few patients a large one would learn the
patients.

Images are (C, D, H, W) in [-1, 1], fractions (L, D, H, W) in [0, 1].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...anatomy.mixture import CONTRAST
from ...anatomy.tissues import segment_tissues
from ...dataset import DatasetConfig
from ...errors import InputError
from ...geometry.grid import from_network, to_network
from ...geometry.volume import Volume, centered_affine
from ...labels.conventions import CORTEX, DEEP_GRAY, VENTRICLES, WHITE, label_role
from ...labels.morphology import distance_to
from ...labels.scheme import LabelScheme, load_scheme
from ...models.segmenter import Segmenter
from ...progress import Reporter
from ...synthesis.case import INTENSITY_SCALE
from ..monitor.quality import Similarity, inside, similarity
from ..monitor.samples import spread
from .measures import ALL


class CaseMeasures:
    """The measures of images of one case with label fractions (L, D, H, W), on the dataset's grid.

    ``segmenter``: None leaves out tumor fidelity. ``reporter`` is warned of images whose tissues cannot be segmented.
    """

    def __init__(
        self, fractions: Tensor, config: DatasetConfig, segmenter: Segmenter | None, reporter: Reporter
    ) -> None:
        self._fractions, self._config, self._segmenter, self._reporter = fractions, config, segmenter, reporter
        self._spacing = config.grid.spacing[::-1]
        self.inside = inside(fractions)
        self._window = window(self.inside, self._spacing)
        self._tissues = tissue_masks(fractions, config.scheme)

    def of(self, images: Tensor, anatomy: bool = True) -> Iterator[tuple[str, str, float]]:
        """Name, modality (or ``ALL``) and value of each measure of images (C, D, H, W) in [-1, 1].

        Without ``anatomy`` the tissues are not segmented, which takes by far the longest.
        """
        for modality, image in zip(self._config.modalities, images, strict=True):
            found = texture(image, self._window, self._spacing) | contrasts(image, self._tissues)
            yield from ((name, modality, value) for name, value in found.items())
        together = {} if self._segmenter is None else self._segmenter.dice(images, self._fractions)
        try:
            together |= tissue_dice(images, self._fractions, self._config) if anatomy else {}
        except InputError as exc:
            self._reporter.warning(f"Anatomy fidelity leaves out an image whose tissues cannot be segmented. {exc}")
        yield from ((name, ALL, value) for name, value in together.items())


# Wavelengths in mm: octaves, and what is lost first where images are made on larger voxels and interpolated.
BANDS = {
    "power_2_4": (2.0, 4.0),
    "power_4_8": (4.0, 8.0),
    "power_8_16": (8.0, 16.0),
    "power_16_32": (16.0, 32.0),
    "power_32_64": (32.0, 64.0),
    "power_2.5_4": (2.5, 4.0),
}
KURTOSIS_BAND = (4.0 / math.sqrt(2), 4.0 * math.sqrt(2))  # an octave around 4 mm
TAPER = 10.0  # mm, from the outline to where the window is 1
FILE_SCALE = INTENSITY_SCALE / 2  # from [-1, 1] to the files' intensities


def window(within: Tensor, spacing: Sequence[float]) -> Tensor:
    """A smooth window (D, H, W) of an outline: 0 at its border, 1 from ``TAPER`` mm on, half a cosine between.

    ``spacing``: mm along D, H and W.
    """
    outside = F.pad(~within, (1,) * 6, value=True).numpy()  # the border of the volume is one of the outline
    depth = torch.from_numpy(distance_to(outside, tuple(spacing)))[1:-1, 1:-1, 1:-1]  # type: ignore[arg-type]
    return torch.sin(depth.clamp(max=TAPER) / TAPER * (math.pi / 2)).square()


def texture(image: Tensor, weight: Tensor, spacing: Sequence[float]) -> dict[str, float]:
    """Power in each of ``BANDS`` and ``kurtosis`` of an image (D, H, W) in [-1, 1] under the window ``weight``.

    Power: mean square over the window of what the band has of the image less its mean (by Parseval's theorem), in the
    files' intensities from 0 to 1000; bands are shells of spatial frequency. Kurtosis: excess (0: Gaussian) of the
    octave around 4 mm where the window is 1. What voxels of this size cannot show is left out.
    """
    mean = (image * weight).sum() / weight.sum()
    transform = torch.fft.rfftn((image - mean) * weight * FILE_SCALE)
    power = transform.abs().square()
    power[..., 1 : (image.shape[-1] + 1) // 2] *= 2  # rfftn leaves out the mirrored half
    axes = [torch.fft.fftfreq(n, mm) for n, mm in zip(image.shape[:2], spacing[:2], strict=True)]
    axes.append(torch.fft.rfftfreq(image.shape[2], spacing[2]))
    squares = torch.meshgrid(*(axis.square() for axis in axes), indexing="ij")
    radius = torch.stack(squares).sum(0).sqrt().to(image.device)  # 1/mm, of each element of rfftn
    shown = {name: band for name, band in BANDS.items() if band[0] > 1.999 * max(spacing)}
    norm = float(weight.square().sum()) * image.numel()
    found = {name: float(power[_within(radius, band)].sum()) / norm for name, band in shown.items()}
    deep = weight > 0.999
    if max(spacing) < 2.001 and bool(deep.any()):
        octave = torch.fft.irfftn(transform * _within(radius, KURTOSIS_BAND), image.shape)[deep]
        squares = (octave - octave.mean()).double().square()
        equal = not bool(squares.any())
        found["kurtosis"] = 0.0 if equal else float(squares.square().mean() / squares.mean().square()) - 3
    return found


def _within(radius: Tensor, band: tuple[float, float]) -> Tensor:
    short, long = band
    return (radius > 1 / long) & (radius <= 1 / short)


TISSUES = {"ventricles": (VENTRICLES,), "gray": (CORTEX, DEEP_GRAY), "white": (WHITE,)}


def tissue_masks(fractions: Tensor, scheme: LabelScheme) -> dict[str, Tensor]:
    """Where each of ``TISSUES`` that the scheme has fills most of a voxel, (D, H, W)."""
    roles = [label_role(label, scheme) for label in scheme.labels]
    channels = {tissue: [i for i, role in enumerate(roles) if role in own] for tissue, own in TISSUES.items()}
    return {tissue: fractions[of].sum(0) > 0.5 for tissue, of in channels.items() if of}


def contrasts(image: Tensor, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """``gray_white`` (white less gray) and ``ventricles`` (these less white) of an image (D, H, W).

    Differences of means over the pooled standard deviation of both (Cohen's d), signed: what an eye or a classifier has
    to tell them by. Without pairs of which one is missing or smaller than two voxels.
    """
    values = {tissue: image[mask] for tissue, mask in masks.items() if int(mask.sum()) > 1}
    found = {}
    for name, pair in {"gray_white": ("white", "gray"), "ventricles": ("ventricles", "white")}.items():
        if all(tissue in values for tissue in pair):
            one, other = (values[tissue] for tissue in pair)
            pooled = ((one.var() + other.var()) / 2).sqrt().clamp_min(1e-3)
            found[name] = float((one.mean() - other.mean()) / pooled)
    return found


def tissue_dice(images: Tensor, fractions: Tensor, config: DatasetConfig) -> dict[str, float]:
    """Dice of each of ``TISSUES`` as segmented in the images, with the mask, outside of the tumor.

    Empty where the mask has no tissues, or no modality is one that ``segment_tissues`` knows. Raises InputError where
    that cannot work on these images.
    """
    scheme, grid = config.scheme, config.grid
    known = {name: image for name, image in zip(config.modalities, images, strict=True) if name in CONTRAST}
    if not known or not scheme.tissue_values:
        return {}
    affine = centered_affine(grid.shape, grid.spacing, grid.orientation)
    volumes = {name: Volume(from_network(image.numpy()), affine) for name, image in known.items()}
    tumor = fractions[[label.tumor for label in scheme.labels]].sum(0) > 0
    brain = from_network(inside(fractions).numpy())
    found = segment_tissues(volumes, brain, from_network(tumor.numpy())).fractions
    anatomy = load_scheme("glioma-anatomy")
    tissues = replace(anatomy, labels=tuple(label for label in anatomy.labels if not label.tumor))
    seen = tissue_masks(torch.from_numpy(to_network(found)), tissues)
    wanted = {tissue: mask & ~tumor for tissue, mask in tissue_masks(fractions, scheme).items()}
    return {
        f"anatomy_{tissue}": float(2 * (mask & seen[tissue]).sum() / (mask.sum() + seen[tissue].sum()))
        for tissue, mask in wanted.items()
        if bool(mask.any())
    }


MAX_PAIRS = 24  # of images whose similarity is computed


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
