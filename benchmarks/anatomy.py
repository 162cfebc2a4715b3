"""How long it takes to complete a mask of tumor and brain with an anatomy of the bank, at 1 mm."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from medddpm.anatomy.completion import complete_anatomy
from medddpm.config import GridConfig
from medddpm.geometry.grid import labels_from_fractions, labels_to_grid, place
from medddpm.geometry.io import read_mask
from medddpm.geometry.volume import Volume

from .common import Requirement, Suite, Table, in_fresh_process

SAMPLE = Path(__file__).parents[1] / "Resources" / "SampleMasks" / "glioma.nii.gz"
GRID = GridConfig((192, 192, 144), (1.0, 1.0, 1.0), "LPS")
LONGEST = 5.0  # seconds, on two cores


@dataclass(frozen=True)
class AnatomySettings:
    """``mask``: a file with a tumor and an outline of the brain; ``seeds``: how many anatomies, each anew."""

    mask: str = str(SAMPLE)
    seeds: int = 8
    threads: int = 2


def run(settings: AnatomySettings) -> Suite:
    """The seconds for each seed, and how well the outline was met (Dice)."""
    rows = in_fresh_process(_measured, settings)
    seconds = [row[1] for row in rows]
    table = Table("Completing the anatomy at 1 mm", ("seed", "seconds", "outline (Dice)", "map"), tuple(rows))
    bounds = (
        Requirement("completing the anatomy, median", statistics.median(seconds), "at most", LONGEST, "s"),
        Requirement("outline, the worst", min(row[2] for row in rows), "at least", 0.98, ""),
    )
    return Suite(asdict(settings) | {"mask": Path(settings.mask).name}, (table,), bounds)


def _measured(settings: AnatomySettings) -> list[tuple[int, float, float, str]]:
    torch.set_num_threads(settings.threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(settings.threads)
    volume, values = read_mask(settings.mask).volume, (1, 2, 3, 4)
    placement = place(volume.shape, volume.affine, volume.data > 0, GRID)
    fractions = labels_to_grid(volume.data, volume.affine, values, placement)
    labels = Volume(labels_from_fractions(fractions, values), np.array(placement.grid_affine))
    rows = []
    for seed in range(settings.seeds):
        started = time.perf_counter()
        made = complete_anatomy(labels, seed)
        rows.append((seed, time.perf_counter() - started, made.facts["outline_dice"], made.facts["map"]))
    return rows
