"""Local edits: only a region of a real scan is made anew, around it the patient's own voxels stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import from_network, image_from_grid, image_to_grid, to_network
from ..geometry.intensity import SLICES_SENTENCE, IntensityRule, Scaling, intensity_rule
from ..geometry.io import content_hash, read_mask, read_volume
from ..geometry.resample import index_map, reached, resample
from ..geometry.volume import Volume, bounding_box
from ..labels.check import mend_mask
from ..labels.morphology import dilate, distance_to
from ..sampling.sample import Known
from .case import MIN_COVERED, PreparedCase, require_covered
from .request import SynthesisRequest, modality_files

LARGEST_INT16 = 32767
# What a changed tumor did to its surroundings is made anew so far from it.
AROUND_CHANGE_MM = 3.0
# In pictures a voxel belongs to the region from this weight on.
REGION_WEIGHT = 0.5


@dataclass(frozen=True)
class RealScan:
    """The files of a local edit: images by modality (in the model's spelling and order) and the region's label map.

    ``before``: ``region`` is the mask before it was edited.
    """

    images: dict[str, Path]
    region: Path
    seam_mm: float
    before: bool = False

    @classmethod
    def of(cls, request: SynthesisRequest, config: ModelConfig) -> RealScan:
        """What ``request``, one with context images, asks for. InputError for a modality the model lacks."""
        given = {name.casefold(): Path(path) for name, path in modality_files(request.context).items()}
        images = {name: given.pop(name.casefold()) for name in config.modalities if name.casefold() in given}
        if given:
            made = ", ".join(config.modalities)
            wrong = next(name for name in modality_files(request.context) if name.casefold() in given)
            raise InputError(f"There is a context image for {wrong}, but the model '{config.name}' makes {made}.")
        return cls(
            images, Path(request.region or request.before or ""), float(request.seam_mm), request.before is not None
        )

    def facts(self) -> dict[str, Any]:
        """What the images of a case depend on, for its fingerprint. Raises InputError where a file cannot be read."""
        return {
            "known_sha256": {name: content_hash(path) for name, path in self.images.items()},
            "before_sha256" if self.before else "region_sha256": content_hash(self.region),
            "seam_mm": self.seam_mm,
        }

    def edit(self, case: PreparedCase, config: ModelConfig) -> LocalEdit:
        """Read the scan and lay it on the grids of ``case``.

        Raises InputError where a file cannot be used, the region is empty, or one of them lies elsewhere in space, and
        where the model's intensities are unknown.
        """
        rule = intensity_rule(config.normalization)
        region = _changed(self.region, case, config) if self.before else _region_on_mask(self.region, case.labels)
        reached = image_from_grid(np.ones(case.placement.grid_shape, np.float32), case.placement, 0.0)
        weight = seam_weight(region, case.labels.spacing, self.seam_mm) * np.clip(reached, 0, 1)
        if not weight[region].any():
            raise InputError(
                f"The region {self.region} lies outside the model's grid around the mask. Use a model with a larger "
                "grid."
            )
        weight *= case.labels.data > 0  # nothing outside of the outline is the model's to make
        if not weight.any():
            raise InputError(f"The region {self.region} lies outside of the mask's outline. Mark what is inside of it.")
        images, on_grid = {}, {}
        for name, path in self.images.items():
            images[name], on_grid[name] = _real_image(path, case, rule, config.background)
        weight_on_grid = image_to_grid(Volume(weight, case.labels.affine), case.placement, 0.0)
        changed = Volume((weight > 0).astype(np.uint8), case.labels.affine)
        return LocalEdit(weight, changed, images, _known(config.modalities, on_grid, weight_on_grid), rule)


@dataclass(frozen=True)
class RealImage:
    """One modality of a real scan: ``data`` (X, Y, Z) float32 in its own units on the mask's grid.

    ``scaling`` leads from [-1, 1] to these units on the model's grid, ``own_scaling`` on the mask's.
    ``whole_numbers``: the scan holds nothing else, and results are written so, too.
    """

    data: np.ndarray
    scaling: Scaling
    own_scaling: Scaling
    whole_numbers: bool

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Values in the scan's units as they are written: float32, or int16 where the scan has whole numbers."""
        return np.rint(values).astype(np.int16) if self.whole_numbers else values.astype(np.float32)


@dataclass(frozen=True)
class LocalEdit:
    """A real scan placed for one case.

    ``weight``: (X, Y, Z) float32 on the mask's grid, 1 where voxels are made anew, 0 where the scan's own stay;
    ``region``: the voxels above 0, blend width included, as a label map (uint8). ``known``: the same on the model's
    grid, as ``sample`` takes it. ``rule``: the model's way of scaling intensities.
    """

    weight: np.ndarray
    region: Volume
    images: dict[str, RealImage]
    known: Known
    rule: IntensityRule

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the user should know of the result's intensities."""
        return () if self.rule.exact else (SLICES_SENTENCE,)

    @property
    def region_on_grid(self) -> np.ndarray:
        """Voxels (X, Y, Z) of the model's grid that are mostly made anew, bool."""
        return from_network(self.known.weight.amin(dim=0).numpy()) >= REGION_WEIGHT

    def merged(self, modality: str, image: np.ndarray) -> np.ndarray:
        """A result (X, Y, Z) in [-1, 1] on the mask's grid, put into the real image, in that one's own units.

        Voxels of weight 0 are exactly the real ones (where the image had to be resampled to the mask's grid, these).
        """
        real = self.images[modality]
        return real.stored(real.data + self.weight * (real.own_scaling.from_network(image) - real.data))

    def in_own_units(self, modality: str, image: np.ndarray) -> np.ndarray:
        """A result on the model's grid, [-1, 1], in the units of the real image."""
        real = self.images[modality]
        return real.stored(real.scaling.from_network(image))


def seam_weight(region: np.ndarray, spacing: tuple[float, float, float], seam_mm: float) -> np.ndarray:
    """1 in ``region`` (bool, (X, Y, Z)), 0 from ``seam_mm`` away from it (mm between voxel centers), float32.

    Between the two it falls with the distance as a smooth step, 3s^2 - 2s^3. ``spacing`` in mm.
    """
    weight = region.astype(np.float32)
    box = bounding_box(region, int(np.ceil(seam_mm / min(spacing))) + 1)
    if box is None or seam_mm <= 0:
        return weight
    share = np.clip(1 - distance_to(region[box], spacing) / np.float32(seam_mm), 0, 1)
    weight[box] = share * share * (3 - 2 * share)
    return weight


def _changed(path: Path, case: PreparedCase, config: ModelConfig) -> np.ndarray:
    """Where the tumor differs from that of the mask before the edit, and what is near, on the mask's grid, bool."""
    former, _, left = mend_mask(read_mask(path), config)
    if left.errors:
        raise InputError(f"{path} cannot be used. " + " ".join(str(f) for f in left.errors))
    labels, to_former = case.labels, index_map(case.labels.affine, former.volume.affine)
    covered = reached(former.volume, labels.affine, labels.shape)[labels.data > 0]
    if float(covered.mean()) < MIN_COVERED:
        raise InputError(f"The mask {path} does not overlap the edited one in space. Export both from one scene.")
    differs = np.zeros(labels.shape, bool)
    for value in config.scheme.tumor_values:
        share = resample((former.volume.data == value).astype(np.uint8), to_former, labels.shape, 0.0)
        differs |= (share >= 0.5) != (labels.data == value)
    if not differs.any():
        raise InputError(f"The tumor is the same in {path} and in the edited mask. There is nothing to inpaint.")
    return dilate(differs, AROUND_CHANGE_MM, labels.spacing)


def _region_on_mask(path: Path, mask: Volume) -> np.ndarray:
    """The region's voxels on the grid of ``mask``, bool."""
    file = read_mask(path).volume
    inside = (file.data > 0).astype(np.uint8)
    if not inside.any():
        raise InputError(f"The region {path} is empty: it has no voxel above 0. Mark what is to be inpainted.")
    share = resample(inside, index_map(mask.affine, file.affine), mask.shape, 0.0)
    most = float(share.max())
    if most == 0:
        raise InputError(f"The region {path} does not overlap the mask in space. Export both from the same scene.")
    return np.asarray(share >= most / 2)  # half of a voxel, or of the most that a tiny region covers of one


def _real_image(path: Path, case: PreparedCase, rule: IntensityRule, background: float) -> tuple[RealImage, np.ndarray]:
    """The image on the mask's grid (its own voxels where the grids coincide, else interpolated) and on the model's."""
    volume, mask = read_volume(path), case.labels
    head = mask.data > 0
    advice = "Register it to the mask, or choose the one it belongs to."
    require_covered(f"The context image {path}", volume, mask, advice)
    data = resample(volume.data, index_map(mask.affine, volume.affine), mask.shape, float(volume.data.min()))
    on_grid, scaling = rule.to_grid(volume, data[head], case.placement, background, f"The context image {path}")
    whole = bool((np.abs(volume.data) <= LARGEST_INT16).all() and (volume.data == np.rint(volume.data)).all())
    return RealImage(data, scaling, scaling.on_source(case.placement), whole), on_grid


def _known(modalities: Iterable[str], on_grid: dict[str, np.ndarray], weight: np.ndarray) -> Known:
    """The images and weights as ``sample`` takes them, (C, D, H, W); what is not known may be anything."""
    free = np.ones_like(weight)
    images = [np.clip(on_grid.get(name, np.zeros_like(weight)), -1, 1) for name in modalities]
    weights = [np.clip(weight, 0, 1) if name in on_grid else free for name in modalities]
    return Known(*(torch.from_numpy(to_network(np.stack(part))) for part in (images, weights)))
