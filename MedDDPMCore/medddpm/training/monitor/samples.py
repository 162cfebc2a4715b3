"""Samples of held-out masks with fixed seeds: written beside the real images, and compared with these."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ...config import ModelConfig
from ...errors import InputError
from ...files import read_text
from ...geometry.grid import from_network, labels_from_fractions, to_network
from ...geometry.io import read_volume
from ...geometry.marks import DESCRIPTION
from ...geometry.nifti import write_image
from ...geometry.volume import Volume, centered_affine
from ...models.device import choose_precision
from ...models.model import Model
from ...network.build import Network
from ...parse import parse_json
from ...sampling.sample import sample
from ...synthesis.case import INTENSITY_SCALE, stored_intensities
from ...synthesis.sheet import write_comparison
from ...version import __version__
from ..dataset import PreparedDataset
from ..hooks import Context
from .neighbors import TrainingNeighbors, is_copy, left_right_axis
from .quality import quality

REAL_DESCRIPTION = f"REAL image as prepared for MedDDPM {__version__} - research only"
MASK_DESCRIPTION = f"Mask as prepared for MedDDPM {__version__}"
SHEET = "sheet.png"
KEEP_ROUNDS = 3  # rounds of samples whose volumes stay; of older ones only the sheets do


@dataclass(frozen=True)
class HeldOut:
    """A held-out case: real images (C, D, H, W) in [-1, 1] and label fractions (L, D, H, W), float32 on the CPU.

    ``affine``: where they lie, voxel (X, Y, Z) -> RAS mm; None for the grid's middle at the origin.
    """

    id: str
    real: Tensor
    fractions: Tensor
    affine: np.ndarray | None = None

    @classmethod
    def of(cls, data: PreparedDataset, index: int) -> HeldOut:
        """A case of a prepared dataset."""
        case = data.cases[index]
        return cls(case.id, *data[index], None if case.affine is None else np.array(case.affine))


def frozen_model(config: ModelConfig, network: Network, device: torch.device, dtype: torch.dtype) -> Model:
    """A Model of a copy of ``network``, which itself stays as it is; nothing is drawn from the random state."""
    return Model(config, copy.deepcopy(network), device, dtype, "")


def draw_sample(
    model: Model,
    fractions: Tensor,
    sampler: str,
    steps: int | None,
    seed: int,
    check_cancelled: Callable[[], None] = lambda: None,
    **options: Any,
) -> Tensor:
    """One sample (C, D, H, W) in [-1, 1] for a mask (L, D, H, W), float32 on the CPU.

    The same seed gives the same noise at every call and on every device. ``options``: guidance and look, as in
    ``sampling.sample``.
    """
    off, on = model.config.mask_values
    condition = (off + (on - off) * fractions)[None]
    return sample(model, condition, sampler, steps, seed, callback=lambda step: check_cancelled(), **options)[0]


def write_case(folder: Path, case: HeldOut, synthetic: Tensor, config: ModelConfig, title: str) -> np.ndarray:
    """Write ``synthetic-`` and ``real-<MODALITY>.nii.gz``, ``mask.nii.gz`` and last ``sheet.png`` into ``folder``.

    On the model's grid, where the case lies, intensities 0 to 1000; the headers say which images are synthetic. Returns
    the picture of the sheet, (height, width, 3) uint8. Raises InputError where it cannot be written.
    """
    grid = config.grid
    affine = case.affine
    if affine is None:
        affine = centered_affine(grid.shape, grid.spacing, grid.orientation)
    kinds = (("synthetic", synthetic, DESCRIPTION), ("real", case.real, REAL_DESCRIPTION))
    volumes = {kind: from_network(images.numpy()) for kind, images, _ in kinds}
    for kind, _, description in kinds:
        for modality, image in zip(config.modalities, volumes[kind], strict=True):
            write_image(folder / f"{kind}-{modality}.nii.gz", stored_intensities(image), affine, description)
    labels = labels_from_fractions(from_network(case.fractions.numpy()), config.scheme.values)
    write_image(folder / "mask.nii.gz", labels, affine, MASK_DESCRIPTION)
    return write_comparison(
        folder / SHEET,
        volumes["real"],
        volumes["synthetic"],
        config.modalities,
        Volume(labels, affine),
        config.scheme,
        title,
    )


def round_folder(samples: Path, iteration: int) -> Path:
    """The folder of the samples of an iteration."""
    return samples / f"iteration-{iteration:08d}"


def forget_volumes(samples: Path, keep: int = KEEP_ROUNDS) -> None:
    """Delete the volumes of all but the newest ``keep`` rounds; their sheets stay. What cannot be deleted stays."""
    rounds = sorted(path for path in samples.glob("iteration-*") if path.is_dir() and not path.is_symlink())
    for old in rounds[:-keep]:
        for volume in old.glob("*/*.nii.gz"):
            with contextlib.suppress(OSError):
                volume.unlink()


def figures_device(device: torch.device) -> torch.device:
    """Where figures are computed: on an NVIDIA card, where similarity takes a second in place of a minute, or here."""
    return device if device.type == "cuda" else torch.device("cpu")


def spread(count: int, wanted: int) -> Sequence[int]:
    """``wanted`` of ``count`` indices, evenly spread; all where ``wanted`` is 0 or more than there are."""
    if wanted <= 0 or wanted >= count:
        return range(count)
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


class SampleRound:
    """Samples the same held-out masks with the same noise at every call."""

    def __init__(self, context: Context, held_out: PreparedDataset) -> None:
        self._context, self._held_out = context, held_out
        options = context.config.monitor
        self._chosen = spread(len(held_out), options.samples)
        self._settings = options.sampler, options.sample_steps, context.config.seed
        self._precision = choose_precision("auto", context.fabric.device)
        self._neighbors: TrainingNeighbors | None = None

    def __call__(
        self, iteration: int, check_cancelled: Callable[[], None]
    ) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Sample, write and compare one case after the other with the averaged weights as they are now.

        Yields the fields of its "quality" line, and the picture of its sheet.
        """
        context = self._context
        average = cast(Network, context.state.average.module)
        model = frozen_model(context.model, average, context.fabric.device, self._precision)
        folder = round_folder(context.folder / "samples", iteration)
        for i in self._chosen:
            case = HeldOut.of(self._held_out, i)
            made = draw_sample(model, case.fractions, *self._settings, check_cancelled)
            title = f"{context.model.name} | {case.id} | after {iteration} iterations, {self._settings[0]}"
            sheet = write_case(folder / case.id, case, made, context.model, title)
            yield self._compared(case, made, model), sheet
        forget_volumes(context.folder / "samples")

    def _compared(self, case: HeldOut, made: Tensor, model: Model) -> dict[str, Any]:
        on_device = (tensor.to(figures_device(model.device)) for tensor in (made, case.real, case.fractions))
        found: dict[str, Any] = {"case": case.id, **asdict(quality(*on_device))}
        if self._context.config.monitor.neighbors:
            if self._neighbors is None:
                data, grid = self._context.dataset, self._context.model.grid
                ids, axis = [one.id for one in data.cases], left_right_axis(grid.orientation)
                self._neighbors = TrainingNeighbors(ids, data.__getitem__, self._context.model.background, axis)
            near, real_near = (self._neighbors.nearest(images, case.fractions) for images in (made, case.real))
            found |= {"nearest_training": asdict(near), "nearest_of_real": asdict(real_near)}
            found["copy"] = is_copy(near, real_near)
        return found


RECORD = "record.json"  # written last: its presence says that a folder is whole


def as_written(images: Tensor) -> Tensor:
    """Images (C, D, H, W) in [-1, 1] with the precision of the files."""
    return torch.from_numpy(stored_intensities(images.numpy())).float() / (INTENSITY_SCALE / 2) - 1


def read_sample(folder: Path, modalities: Sequence[str], like: Tensor) -> Tensor | None:
    """The synthetic images in ``folder``, (C, D, H, W) in [-1, 1]; None where they are not all there and whole."""
    images = []
    for modality in modalities:
        try:
            data = read_volume(folder / f"synthetic-{modality}.nii.gz").data
        except InputError:
            return None
        images.append(torch.from_numpy(to_network(data)) / (INTENSITY_SCALE / 2) - 1)
    return torch.stack(images) if all(image.shape == like.shape[1:] for image in images) else None


def made_sample(folder: Path, modalities: Sequence[str], like: Tensor) -> Tensor:
    """As ``read_sample``, of images that were there a moment ago. Raises InputError where they are not."""
    images = read_sample(folder, modalities, like)
    if images is None:
        raise InputError(f"The samples in {folder} are gone, though just made. Run the same command again.")
    return images


def recorded(folder: Path) -> object:
    """What the samples in a folder were made from; None where nothing says so."""
    try:
        return parse_json(read_text(folder / RECORD), RECORD)
    except InputError:
        return None
