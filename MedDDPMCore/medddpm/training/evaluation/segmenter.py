"""Tumor fidelity: a small network finds the tumor in real and in synthetic images, and is compared with the mask.

What counts is the synthetic images' Dice beside the real ones': where an image shows the tumor that its mask has, a
network that learned from real patients finds it there as well as in them. The parts nest as in BraTS (Menze et al.
2015): whole tumor, core (without edema), enhancing tumor.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...dataset import DatasetConfig
from ...errors import InputError
from ...files import atomic_path, sha256
from ...geometry.volume import bounding_box
from ...labels.conventions import EDEMA, ENHANCING, label_role
from ...labels.scheme import LabelScheme
from ...models.device import choose_precision
from ...progress import Reporter
from ..dataset import PreparedDataset
from ..monitor.neighbors import left_right_axis
from ..monitor.quality import inside
from ..monitor.samples import spread

RECIPE = 1  # count up with every change of what is trained here: older networks are then not taken
VOXEL = 2.0  # mm, of the segmenter's grid
FEATURES = (8, 16, 32, 64, 128, 8)
SHORTEST = 32  # voxels that its volumes have at least along each axis; it halves them four times
# Where less than four voxels a side are left of that, PyTorch's bf16 gradients of convolutions are random on some CPUs.
SHORTEST_BF16 = 64
LEARNING_RATE = 4e-3
MAX_CASES = 100  # to train on, of which each needs about 10 MB of memory


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
    """A U-Net that finds the regions of tumors in images of a dataset, on voxels of about 2 mm."""

    def __init__(self, config: DatasetConfig, device: torch.device) -> None:
        from monai.networks.nets import BasicUNet  # type: ignore[attr-defined]

        self.regions = tumor_regions(config.scheme)
        self._factor = tuple(max(1, round(VOXEL / mm)) for mm in config.grid.spacing[::-1])
        self._left_right = left_right_axis(config.grid.orientation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network: nn.Module = BasicUNet(3, len(config.modalities), len(self.regions), FEATURES)
        self._network, self._device = network.to(device), device
        self._precision = choose_precision("auto", device)

    def train(self, data: PreparedDataset, iterations: int, reporter: Reporter) -> None:
        """Train on the cases, one an iteration, mirrored and with changed intensities; the same every time."""
        volumes = [self._volumes(*data[i]) for i in spread(len(data), MAX_CASES)]
        generator = torch.Generator().manual_seed(0)
        optimizer = torch.optim.AdamW(self._network.parameters(), LEARNING_RATE)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, iterations)
        for iteration in range(iterations):
            reporter.check_cancelled()
            if iteration % len(volumes) == 0:
                order = torch.randperm(len(volumes), generator=generator).tolist()
            images, truth = volumes[order[iteration % len(volumes)]]
            gain, shift = 0.2 * torch.rand((2, len(images), 1, 1, 1), generator=generator) - 0.1
            images = images * (1 + gain) + shift * (images != 0)
            if torch.rand((), generator=generator) < 0.5:
                images, truth = images.flip(self._left_right), truth.flip(self._left_right)
            optimizer.zero_grad()
            _loss(self._logits(images), truth.to(self._device)).backward()
            optimizer.step()
            rate.step()
            reporter.step(iteration + 1, iterations)

    def _logits(self, images: Tensor) -> Tensor:
        reduced = self._precision == torch.bfloat16 and min(images.shape[1:]) >= SHORTEST_BF16
        with torch.autocast(self._device.type, torch.bfloat16, enabled=reduced):
            return self._network(images[None].to(self._device))[0].float()

    def dice(self, images: Tensor, fractions: Tensor) -> dict[str, float]:
        """Dice of each region found in images (C, D, H, W) with the mask; without regions that the mask lacks."""
        volumes, truth = self._volumes(images, fractions)
        with torch.inference_mode():
            found = self._logits(volumes).cpu() > 0
        there = truth > 0.5
        return {
            name: float(2 * (one & other).sum() / (one.sum() + other.sum()))
            for name, one, other in zip(self.regions, found, there, strict=True)
            if bool(other.any())
        }

    def save(self, path: Path) -> None:
        """Write the weights; InputError where that is impossible."""
        with atomic_path(path) as temporary:
            save_file(self._network.state_dict(), temporary)

    def load(self, path: Path) -> bool:
        """Take the weights of a file; False where it is not there or damaged."""
        try:
            self._network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError):
            return False
        return True

    def _volumes(self, images: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor]:
        """Images, standardized inside the outline and 0 outside, and regions, both around the outline at about 2 mm."""
        shares = torch.stack([fractions[channels].sum(0) for channels in self.regions.values()])
        pooled = [F.avg_pool3d(volumes, self._factor, ceil_mode=True) for volumes in (images, shares, fractions)]
        within = inside(pooled[2])
        values = pooled[0][:, within]
        deviation = values.std(dim=1, correction=0).clamp_min(1e-6)
        standard = (pooled[0] - values.mean(dim=1)[:, None, None, None]) / deviation[:, None, None, None] * within
        box = (slice(None), *(bounding_box(within.numpy()) or ()))
        return _padded(standard[box]), _padded((pooled[1] > 0.5).float()[box])


def trained_segmenter(data: PreparedDataset, iterations: int, device: torch.device, reporter: Reporter) -> Segmenter:
    """A segmenter for the dataset whose training cases are ``data``: the one kept in its folder, or trained now.

    It is kept in ``segmenter/`` under a name that changes with the training cases, their contents and ``iterations``.
    Raises Cancelled.
    """
    config = data.config
    made = Segmenter(config, device)
    path = data.folder / "segmenter" / f"{_key(data, iterations)}.safetensors"
    if not made.load(path):
        reporter.stage("segmenter", "Training the tumor segmenter")
        made.train(data, iterations, reporter)
        try:
            made.save(path)
        except InputError as exc:
            reporter.warning(f"The tumor segmenter is not kept and will be trained again the next time. {exc}")
    return made


def _key(data: PreparedDataset, iterations: int) -> str:
    """A hash of all that the trained network depends on."""
    config, files = data.config, data.folder / "cases"
    known = {case.id: config.hashes.get(case.id, {}).get("tensors") for case in data.cases}
    contents = {case: tensors or sha256(files / f"{case}.safetensors") for case, tensors in known.items()}
    facts = [RECIPE, iterations, config.modalities, asdict(config.grid), config.scheme.to_dict(), contents]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice, mean over regions, which overlap."""
    shares = logits.sigmoid()
    overlap = 2 * (shares * truth).sum((1, 2, 3)) + 1
    dice = overlap / (shares.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return F.binary_cross_entropy_with_logits(logits, truth) + 1 - dice.mean()


def _padded(volumes: Tensor) -> Tensor:
    """Volumes (C, D, H, W) with zeros behind, up to ``SHORTEST``."""
    return F.pad(volumes, [n for side in volumes.shape[:0:-1] for n in (0, max(0, SHORTEST - side))])
