"""What a training is estimated to need, beside what whole trainings of a few iterations really took."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from medddpm.config import GridConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.labels.scheme import load_scheme
from medddpm.progress import SilentReporter
from medddpm.training.config import TrainConfig
from medddpm.training.presets import preset_config
from safetensors.torch import save_file

from .common import GB, Requirement, Suite, Table, in_fresh_process, peak_memory

ITERATIONS = 3
# An estimate that is too low lets a training fail, one that is far too high forbids what would fit.
LOWEST, HIGHEST = 0.95, 1.35


@dataclass(frozen=True)
class Case:
    """A training of ``preset`` on a grid (X, Y, Z) with other values for some fields."""

    preset: str
    grid: tuple[int, int, int]
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        """For the table."""
        changed = ", ".join(f"{key} {value}" for key, value in self.changes.items())
        return f"{self.preset} at {'x'.join(map(str, self.grid))}{', ' if changed else ''}{changed}"


CASES = (
    Case("demo", (80, 96, 80), {"precision": "bf16"}),
    Case("demo", (80, 96, 80), {"precision": "fp32"}),
    Case("demo", (80, 96, 80), {"precision": "bf16", "activation_checkpointing": True}),
    Case("compact", (64, 64, 64), {"precision": "bf16"}),
    Case("compact", (96, 96, 96), {"precision": "bf16"}),
    Case("whole-head", (64, 64, 64), {"precision": "bf16", "activation_checkpointing": False}),
    Case("brats", (32, 48, 48), {"precision": "bf16"}),
    Case("brats", (32, 32, 32), {"precision": "fp32", "activation_checkpointing": False}),
)
QUICK = (Case("demo", (32, 32, 32), {"precision": "bf16"}),)


def run(cases: tuple[Case, ...] = CASES, threads: int = 0) -> Suite:
    """Estimate and train every case, each in a process of its own."""
    rows = []
    for case in cases:
        estimated = in_fresh_process(_estimate, case, threads)
        measured = in_fresh_process(_train, case, threads)
        rows.append((case.name, *_pairs(estimated, measured)))
    columns = ("training", "peak GB", "estimated GB", "ratio", "s / iteration", "estimated s", "ratio of seconds")
    ratios = [row[3] for row in rows]
    return Suite(
        settings={"cases": [asdict(case) for case in cases], "iterations": ITERATIONS, "threads": threads},
        tables=(Table("Estimated and measured peak memory and time of trainings on a CPU", columns, tuple(rows)),),
        requirements=(
            Requirement("smallest estimated / measured peak", min(ratios), "at least", LOWEST, ""),
            Requirement("largest estimated / measured peak", max(ratios), "at most", HIGHEST, ""),
        ),
        notes=(
            "Peaks are those of whole processes (VmHWM); seconds are the fastest iteration's, without the loader's.",
        ),
    )


def _pairs(estimated: tuple[float, float], measured: tuple[float, float]) -> tuple[float, ...]:
    (memory, seconds), (peak, fastest) = estimated, measured
    return peak / GB, memory / GB, memory / peak, fastest, seconds, seconds / fastest


def _configuration(case: Case, folder: Path) -> TrainConfig:
    """The training on a dataset of two cases of noise."""
    labels = load_scheme("whole-head" if case.preset == "whole-head" else "brats")
    images = ("T1",) if case.preset == "whole-head" else ("T1", "T1c", "T2", "FLAIR")
    depth_first = tuple(reversed(case.grid))
    (folder / "cases").mkdir()
    cases = (PreparedCase("a", "train"), PreparedCase("b", "validation"))
    for i, entry in enumerate(cases):
        generator = torch.Generator().manual_seed(i)
        shares = torch.randint(255 // len(labels.labels), (len(labels.labels), *depth_first), generator=generator)
        tensors = {
            "images": torch.rand(len(images), *depth_first, generator=generator).half(),
            "fractions": shares.to(torch.uint8),
        }
        save_file(tensors, folder / "cases" / f"{entry.id}.safetensors")
    DatasetConfig(labels, GridConfig(case.grid, (2.0, 2.0, 2.0), "LPS"), images, cases).save(folder)
    config = preset_config(case.preset, folder, device="cpu", batch_size=1, accumulate=1, **case.changes)
    monitor = replace(config.monitor, validate_every=0, sample_every=0)
    return replace(config, monitor=monitor, augment=replace(config.augment, crop_voxels=0, affine=0.0, intensity=0.0))


def _estimate(case: Case, threads: int) -> tuple[float, float]:
    """Estimated bytes and seconds an iteration."""
    from medddpm.memory import keep_freed_memory
    from medddpm.training.estimate import estimate_training

    _use(threads)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        found = estimate_training(_configuration(case, Path(folder)))
    return found.memory_bytes, found.seconds_per_iteration or float("nan")


def _train(case: Case, threads: int) -> tuple[float, float]:
    """Peak bytes of the process, and seconds of its fastest iteration, of a real training."""
    from medddpm.training.hooks import Context, Iteration
    from medddpm.training.trainer import Trainer

    _use(threads)
    seconds: list[float] = []

    class Stopwatch:
        def after_iteration(self, done: Iteration) -> None:
            seconds.append(done.seconds)

        def close(self) -> None:
            """See Hook."""

    def hooks(context: Context) -> list[Stopwatch]:
        return [Stopwatch()]

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as out:
        config = _configuration(case, Path(folder))
        plan = replace(config.optimizer, warmup_steps=0, decay_steps=0, schedule="constant")
        config = replace(config, optimizer=plan, iterations=ITERATIONS)
        Trainer(config, Path(out), SilentReporter(), hooks=hooks).run()
    return float(peak_memory()), min(seconds)


def _use(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)
