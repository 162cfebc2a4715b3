"""A tiny prepared dataset and configurations of trainings on it, for tests of run folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from medddpm.config import GridConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.labels.scheme import load_scheme
from medddpm.training.config import CheckpointConfig, MonitorConfig, OptimizerConfig, TrainConfig
from safetensors.torch import save_file
from torch import Tensor

SHAPE = (8, 16, 8)  # D, H, W
NETWORK = NetworkConfig(1, 2, base_channels=8, multipliers=(1, 2), groups=4)
UNWATCHED = MonitorConfig(log_every=1, validate_every=0, sample_every=0, tensorboard=False)


def make_dataset(folder: Path, cases: int = 4) -> Path:
    """Cases with a head and a cube of tumor in it; the last one but one is for validation, the last one for tests."""
    (folder / "cases").mkdir(parents=True)
    generator = torch.Generator().manual_seed(3)
    splits = ["train"] * (cases - 2) + ["validation", "test"]
    for i in range(cases):
        head, tumor = torch.zeros(SHAPE), torch.zeros(SHAPE)
        head[1:7, 2:14, 1:7] = 1
        z, y, x = (int(torch.randint(2, n - 3, (), generator=generator)) for n in SHAPE)
        tumor[z : z + 2, y : y + 2, x : x + 2] = 1
        image = ((2 * tumor - 1) * head + (head - 1)).clamp(-1, 1)[None]
        fractions = (torch.stack([head * (1 - tumor), tumor]) * 255).to(torch.uint8)
        save_file({"images": image.half(), "fractions": fractions}, folder / "cases" / f"case{i}.safetensors")
    listed = tuple(PreparedCase(f"case{i}", split) for i, split in enumerate(splits))
    grid = GridConfig((SHAPE[2], SHAPE[1], SHAPE[0]), (16.0, 12.0, 20.0), "LPS")
    DatasetConfig(load_scheme("whole-head"), grid, ("T1",), listed).save(folder)
    return folder


def tiny_config(dataset: Path, **changes: Any) -> TrainConfig:
    """A training of milliseconds an iteration, fp32 on the CPU, without monitor."""
    base = TrainConfig(
        str(dataset),
        NETWORK,
        ScheduleConfig(steps=20),
        OptimizerConfig(lr=2e-3, schedule="constant", clip_norm=1.0),
        monitor=UNWATCHED,
        checkpoint=CheckpointConfig(every=5),
        iterations=6,
        precision="fp32",
        device="cpu",
        threads=1,
    )
    return replace(base, **changes)


def tensors(value: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in a checkpoint by their place in it."""
    if isinstance(value, Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {key: tensor for k, item in items for key, tensor in tensors(item, f"{name}/{k}").items()}
