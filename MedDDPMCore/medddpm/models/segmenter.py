"""The segmenter: a small network that finds tumors, and its file, a safetensors file that says what it is.

It tells whether images show the tumors that their masks have: of real images it was trained on, of synthetic ones it
judges (``training.evaluation``), verifies (``synthesis.verify``) or learns from (``studies.table2``). Regions nest as
in BraTS (Menze et al. 2015): whole tumor, core (without edema), enhancing tumor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..config import GridConfig, ModelConfig
from ..dataset import DatasetConfig
from ..errors import InputError
from ..files import atomic_path
from ..geometry.volume import bounding_box
from ..labels.conventions import EDEMA, ENHANCING, label_role
from ..labels.scheme import LabelScheme
from ..network.segmentation import SegmentationUNet
from ..parse import from_dict, parse_json
from .config_file import require_file
from .device import choose_precision

OWN_NAME = "segmenter.safetensors"  # of a model's own one, in its folder
HEADER = "medddpm_segmenter"
VOXEL = 2.0  # mm
CHANNELS = 8
REGIONS = {"tumor_whole": "whole tumor", "tumor_core": "tumor core", "tumor_enhancing": "enhancing tumor"}
SHORTEST = 32  # voxels that its volumes have at least along each axis; it halves them four times
# Where less than four voxels a side are left of that, PyTorch's bf16 gradients of convolutions are random on some CPUs.
SHORTEST_BF16 = 64
SAME_VOXEL = 0.1  # how much its voxels and those of the images may differ, of 1
USE = "Tells whether images show the tumors of their masks. For research; not for segmenting patients."


@dataclass(frozen=True)
class SegmenterConfig:
    """What a segmenter finds (names of ``REGIONS``), in which images, and how well.

    ``spacing``: mm of its voxels along X, Y, Z. ``real_dice``: mean Dice of each region in ``real_cases`` real images
    that it was not trained on; empty where there were none. ``training``: what it was trained on, and how.
    """

    regions: tuple[str, ...]
    modalities: tuple[str, ...]
    spacing: tuple[float, float, float]
    orientation: str
    channels: int = CHANNELS
    real_dice: dict[str, Any] = field(default_factory=dict)
    real_cases: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    license: str = "unknown"
    intended_use: str = USE
    weights_sha256: str = ""
    format_version: int = 1

    def __post_init__(self) -> None:
        dice = self.real_dice.values()
        good = (
            0 < len(self.regions) == len(set(self.regions) & set(REGIONS))
            and 0 < len(self.modalities) == len(set(self.modalities)) <= 64
            and 1 <= self.channels <= 128
            and set(self.real_dice) <= set(self.regions)
            and all(isinstance(value, int | float) and 0 <= value <= 1 for value in dice)
            and self.format_version == 1
        )
        if not good:
            raise InputError("The description of a segmenter has impossible values. Use another segmenter.")
        GridConfig((1, 1, 1), self.spacing, self.orientation)

    @classmethod
    def of(
        cls, config: DatasetConfig, training: dict[str, Any], voxel: float = VOXEL, channels: int = CHANNELS
    ) -> SegmenterConfig:
        """For the images of a dataset, on voxels of about ``voxel`` mm that are whole ones of it."""
        x, y, z = (mm * max(1, round(voxel / mm)) for mm in config.grid.spacing)
        regions, modalities = tuple(tumor_regions(config.scheme)), config.modalities
        return cls(regions, modalities, (x, y, z), config.grid.orientation, channels, training=training)


def tumor_regions(scheme: LabelScheme) -> dict[str, list[int]]:
    """Channels of the scheme that make up each region: whole tumor and, where the labels tell, core and enhancing."""
    roles = {i: label_role(label, scheme) for i, label in enumerate(scheme.labels) if label.tumor}
    whole = list(roles)
    core = [i for i in whole if roles[i] != EDEMA]
    enhancing = [i for i in whole if roles[i] == ENHANCING]
    regions = {"tumor_whole": whole}
    if 0 < len(core) < len(whole):
        regions["tumor_core"] = core
    if 0 < len(enhancing) < len(core):
        regions["tumor_enhancing"] = enhancing
    return regions if whole else {}


class Segmenter:
    """A segmenter for images of a model or dataset.

    Regions that the labels of these do not tell are not looked at. Raises InputError where it does not fit them.
    """

    def __init__(
        self, config: SegmenterConfig, images: ModelConfig | DatasetConfig, device: torch.device, seed: int = 0
    ) -> None:
        self.config, self.images, self.device = config, images, device
        known = tumor_regions(images.scheme)
        self._rows = {name: known[name] for name in config.regions if name in known}
        self._channels = _channels(config, images)
        self._factor = _factor(config, images.grid)
        if not self._rows:
            raise InputError("The segmenter finds tumors, but the label scheme has none. Do without it.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network: nn.Module = SegmentationUNet(len(config.modalities), len(config.regions), config.channels)
        self.network.to(device)
        self._precision = choose_precision("auto", device)

    def logits(self, volumes: Tensor) -> Tensor:
        """Of each region, (R, D, H, W) float32, in the first result of ``volumes``."""
        reduced = self._precision == torch.bfloat16 and min(volumes.shape[1:]) >= SHORTEST_BF16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            return self.network(volumes[None].to(self.device))[0].float()  # type: ignore[no-any-return]

    def volumes(self, images: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees of images (C, D, H, W) with label fractions (L, D, H, W), on its own voxels.

        Images, standardized inside the outline and 0 outside, the regions of the mask (R, D, H, W; those that the
        labels do not tell are empty), and the outline; all three cut to the outline and as large as ``SHORTEST``.
        """
        shares = torch.stack([fractions[self._rows.get(name, [])].sum(0) for name in self.config.regions])
        pooled = [F.avg_pool3d(x, self._factor, ceil_mode=True) for x in (images[self._channels], shares, fractions)]
        within = pooled[2].sum(0) > 0.5
        within = within if bool(within.any()) else torch.ones_like(within)
        values = pooled[0][:, within]
        deviation = values.std(dim=1, correction=0).clamp_min(1e-6)
        standard = (pooled[0] - values.mean(dim=1)[:, None, None, None]) / deviation[:, None, None, None] * within
        box = (slice(None), *(bounding_box(within.numpy()) or ()))
        truth = (pooled[1] > 0.5) & within
        return _padded(standard[box]), _padded(truth.float()[box]), _padded(within[None].float()[box])[0]

    @torch.inference_mode()
    def scores(self, images: Tensor, fractions: Tensor) -> dict[str, dict[str, float]]:
        """The figures of ``overlap`` of each region found in images (C, D, H, W) with that of the mask.

        Without regions that the mask lacks. What is found outside of the outline does not count.
        """
        volumes, truth, within = self.volumes(images, fractions)
        found = (self.logits(volumes).cpu() > 0) & (within > 0)
        return {
            name: overlap(one[within > 0], other[within > 0])
            for name, one, other in zip(self.config.regions, found, truth > 0, strict=True)
            if bool(other.any())
        }

    def dice(self, images: Tensor, fractions: Tensor) -> dict[str, float]:
        """The Dice of ``scores``."""
        return {name: found["dice"] for name, found in self.scores(images, fractions).items()}

    def save(self, path: Path, **changes: Any) -> SegmenterConfig:
        """Write the file; ``changes``: fields of its description. Raises InputError where that is impossible."""
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        self.config = replace(self.config, **changes, weights_sha256=sha256_of(save(state)).hexdigest())
        with atomic_path(path) as temporary:
            temporary.write_bytes(save(state, {HEADER: json.dumps(asdict(self.config))}))
        return self.config


def overlap(found: Tensor, truth: Tensor) -> dict[str, float]:
    """Dice, IoU, accuracy, recall and precision of voxels; ``truth`` is not empty. Precision of nothing found is 0."""
    both, one, other = (float(x.sum()) for x in (found & truth, found, truth))
    return {
        "dice": 2 * both / (one + other),
        "iou": both / (one + other - both),
        "accuracy": float((found == truth).float().mean()),
        "recall": both / other,
        "precision": both / one if one else 0.0,
    }


def read_segmenter(path: Path, images: ModelConfig | DatasetConfig, device: torch.device) -> Segmenter:
    """The segmenter in a file, for images of a model or dataset.

    Runs no code of the file. Raises InputError where it cannot be read, is damaged, is no segmenter, or does not fit.
    """
    where = f"The segmenter {path}"
    try:
        require_file(path, "The segmenter")
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(HEADER)
            if text is None:
                raise InputError(
                    f"{path} does not say that it is a segmenter. Give one that 'medddpm evaluate' or 'medddpm study "
                    "table2' has written."
                )
            config = from_dict(SegmenterConfig, parse_json(text, where), where)
            made = Segmenter(config, images, device)
            wanted = {name: tuple(tensor.shape) for name, tensor in made.network.state_dict().items()}
            if {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()} != wanted:  # noqa: SIM118
                raise InputError(f"{where} holds another network than it says. Copy the file again.")
            state = {name: file.get_tensor(name).clone() for name in wanted}
    except (OSError, SafetensorError) as exc:
        raise InputError(f"{where} cannot be read ({exc}). Check its path, or copy the file again.") from exc
    if sha256_of(save(state)).hexdigest() != config.weights_sha256:
        raise InputError(f"{where} is damaged: its weights have another hash than it says. Copy the file again.")
    made.network.load_state_dict(state)
    return made


def _channels(config: SegmenterConfig, images: ModelConfig | DatasetConfig) -> list[int]:
    missing = [name for name in config.modalities if name not in images.modalities]
    if missing:
        raise InputError(
            f"The segmenter looks at {', '.join(config.modalities)}, but there is no {missing[0]}, only "
            f"{', '.join(images.modalities)}. Use a segmenter for these."
        )
    return [images.modalities.index(name) for name in config.modalities]


def _factor(config: SegmenterConfig, grid: GridConfig) -> tuple[int, ...]:
    """How many voxels of the grid are one of the segmenter, along D, H, W."""
    factors = [max(1, round(own / mm)) for own, mm in zip(config.spacing, grid.spacing, strict=True)]
    ratios = [mm * n / own for n, own, mm in zip(factors, config.spacing, grid.spacing, strict=True)]
    if config.orientation != grid.orientation or not all(math.isclose(r, 1, rel_tol=SAME_VOXEL) for r in ratios):
        raise InputError(
            f"The segmenter was trained on voxels of {_mm(config.spacing)}, axes {config.orientation}, which those "
            f"of {_mm(grid.spacing)}, axes {grid.orientation}, do not make up. Use a segmenter for these."
        )
    return tuple(factors[::-1])


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{mm:g}" for mm in spacing) + " mm"


def _padded(volumes: Tensor) -> Tensor:
    """Volumes (C, D, H, W) with zeros behind, up to ``SHORTEST``."""
    return F.pad(volumes, [n for side in volumes.shape[:0:-1] for n in (0, max(0, SHORTEST - side))])
