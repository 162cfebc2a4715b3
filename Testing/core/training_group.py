"""Trainings on a tiny dataset, in this process or in several, for the tests of training on several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from medddpm.config import GridConfig, NetworkConfig, ScheduleConfig, from_dict
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.labels.scheme import load_scheme
from medddpm.progress import SilentReporter
from medddpm.training import __main__ as training
from medddpm.training.config import EmaConfig, OptimizerConfig, TrainConfig
from medddpm.training.hooks import Context, Hook, Iteration
from medddpm.training.trainer import Trainer
from safetensors.torch import save_file

GRID = GridConfig((8, 16, 8), (16.0, 12.0, 20.0), "LPS")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
NETWORK = NetworkConfig(2, 2, base_channels=8, multipliers=(1, 2), groups=4)


@dataclass(frozen=True)
class Run:
    """A training to do, and its run folder."""

    config: TrainConfig
    folder: str


def write_dataset(folder: Path, cases: int = 5) -> Path:
    """Made-up cases: noise within a block that is the head, with a brighter block as the tumor."""
    (folder / "cases").mkdir(parents=True)
    generator = torch.Generator().manual_seed(3)
    for i in range(cases):
        head = torch.zeros(8, 16, 8)
        head[1:7, 2:14, 1:7] = 1
        tumor = torch.zeros(8, 16, 8)
        tumor[2 : 3 + i % 3, 4:8, 3:5] = 1
        texture = 0.1 * torch.randn(2, 8, 16, 8, generator=generator)
        image = (torch.stack([tumor, -tumor]) * 0.8 + texture).clamp(-1, 1) * head + (head - 1)
        fractions = (torch.stack([head * (1 - tumor), tumor]) * 255).to(torch.uint8)
        save_file({"images": image.half(), "fractions": fractions}, folder / "cases" / f"case{i}.safetensors")
    listed = tuple(PreparedCase(f"case{i}", "train") for i in range(cases))
    DatasetConfig(load_scheme("whole-head"), GRID, ("T1", "T2"), listed).save(folder)
    return folder


def tiny_config(dataset: Path, **changes: object) -> TrainConfig:
    """A training of a second: 8 iterations of 4 volumes in fp32."""
    settings = {
        "optimizer": OptimizerConfig(lr=2e-3, schedule="constant", clip_norm=1.0),
        "ema": EmaConfig(decay=0.9),
        "iterations": 8,
        "batch_size": 4,
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
    }
    return TrainConfig(str(dataset), NETWORK, ScheduleConfig(steps=20), **{**settings, **changes})  # type: ignore[arg-type]


class Losses:
    """A Hook that keeps the losses and writes them beside the run."""

    def __init__(self, context: Context, run: Run) -> None:
        self._context, self._run = context, run
        self._losses: list[float] = []

    def after_iteration(self, done: Iteration) -> None:
        """See Hook."""
        self._losses.append(done.loss)

    def close(self) -> None:
        """See Hook."""
        if self._context.fabric.is_global_zero:
            Path(self._run.folder, "losses.json").write_text(json.dumps(self._losses), encoding="utf-8")


def train(run: Run) -> None:
    """Train a run in this process, as one of a group where it was started as one."""

    def hooks(context: Context) -> Sequence[Hook]:
        return [Losses(context, run)]

    Trainer(run.config, Path(run.folder), SilentReporter(), hooks=hooks).run()


def losses(folder: Path) -> list[float]:
    """The losses that ``train`` has left in a run folder."""
    return list(json.loads((folder / "losses.json").read_text(encoding="utf-8")))


def start_group(runs: Sequence[Run], last: Path, listed: Path) -> subprocess.Popen[str]:
    """Let torchrun start two processes that train ``runs`` together, then the run in the folder ``last``.

    ``listed`` is the file that tells them.
    """
    listed.write_text(json.dumps([asdict(run) for run in runs]), encoding="utf-8")
    return subprocess.Popen(
        [*TORCHRUN, __file__, str(listed), str(last)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main(listed: str, last: str) -> int:
    """Train the runs of the file ``listed``, then the run in the folder ``last``; returns its exit code."""
    torch.set_num_threads(1)
    for data in json.loads(Path(listed).read_text(encoding="utf-8")):
        train(from_dict(Run, data, listed))
    return training.main([last])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
