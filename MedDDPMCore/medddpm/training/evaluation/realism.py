"""What is measured of one image of a case, be it real, synthetic or the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

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
from ...progress import Reporter
from ...synthesis.case import INTENSITY_SCALE
from ..monitor.quality import inside
from .measures import ALL
from .segmenter import Segmenter


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
        found["kurtosis"] = excess_kurtosis(
            torch.fft.irfftn(transform * _within(radius, KURTOSIS_BAND), image.shape)[deep]
        )
    return found


def excess_kurtosis(values: Tensor) -> float:
    """Fourth moment over the squared variance, less 3; 0 where all values are equal."""
    squares = (values - values.mean()).double().square()
    return float(squares.square().mean() / squares.mean().square()) - 3 if bool(squares.any()) else 0.0


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
