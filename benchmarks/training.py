"""Training: the plain path and this project's, side by side; memory, and whether the loader keeps up.

The project's paths are ``medddpm.training.trainer.Trainer`` itself, on a made-up dataset. The plain path is what one
would write first: the same network and objective in fp32, eager, contiguous, torch's own layers and optimizer, batches
made between the iterations.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from medddpm.config import GridConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.progress import SilentReporter
from medddpm.sampling.schedule import Schedule
from medddpm.training.augment import Augmentation
from medddpm.training.config import AugmentConfig, EmaConfig, ScaleConfig, TrainConfig
from medddpm.training.dataset import PreparedDataset
from medddpm.training.hooks import Context, Hook, Iteration
from medddpm.training.loader import BatchSource
from medddpm.training.objective import Objective
from medddpm.training.start import model_config, starting_network
from medddpm.training.trainer import Trainer
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .common import GB, Requirement, Suite, Table, Timing, in_fresh_process, median, peak_memory
from .cpu import use_torch_backward
from .gpu import tf32
from .networks import condition, config_named, draw

MIN_SPEEDUP, MIN_GPU_SPEEDUP, MAX_BRATS_GB, MAX_WAITING = 3.0, 4.0, 24.0, 5.0
LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Way:
    """One way to train: ``plain``, or the Trainer with ``checkpointing`` of activations or not; ``tf32``: of a GPU."""

    name: str
    plain: bool = False
    compact: bool = False
    checkpointing: bool = False
    tf32: bool = False


PLAIN = Way("plain: fp32, contiguous, torch's layers and Adam", plain=True)
OURS = Way("Trainer: bf16")
CHECKPOINTING = Way("Trainer: bf16, activation checkpointing", checkpointing=True)
COMPACT = Way("Trainer: bf16, compact network", compact=True)


@dataclass(frozen=True)
class TrainingSettings:
    """``iterations`` measured in each of ``rounds`` processes, on ``shape`` (D, H, W); 0 threads: torch's choice."""

    network: str = "whole-head"
    shape: tuple[int, int, int] = (64, 64, 64)
    iterations: int = 3
    warmup: int = 2
    rounds: int = 2
    threads: int = 0
    device: str = "cpu"
    augment: bool = False


QUICK = TrainingSettings("small", (16, 16, 16), iterations=2, warmup=1, rounds=1)


@dataclass(frozen=True)
class Training:
    """What one process measured: its iterations, its peak memory (bytes), the share of time without a batch."""

    measured: tuple[Timing, ...]
    peak: float
    waiting: float
    losses: tuple[float, ...]


class Enough(Exception):  # noqa: N818 - the end of a measurement
    """All iterations are measured."""


class Clock:
    """A Hook that times the iterations after the first ``warmup`` ones."""

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._last = (time.perf_counter(), time.process_time())
        self.measured: list[Timing] = []
        self.losses: list[float] = []

    def after_iteration(self, done: Iteration) -> None:
        """See Hook."""
        now = (time.perf_counter(), time.process_time())
        if done.number > self._settings.warmup:
            self.measured.append(Timing(now[0] - self._last[0], now[1] - self._last[1]))
        self.losses.append(done.loss)
        if len(self.measured) == self._settings.iterations:
            raise Enough
        self._last = (time.perf_counter(), time.process_time())

    def close(self) -> None:
        """See Hook."""


def compact_network(network: NetworkConfig) -> NetworkConfig:
    """The compact network for the same images, as the preset "compact" has it."""
    changes: dict[str, Any] = {"domain": "wavelet", "multipliers": (1, 1, 2, 3), "blocks_per_level": 1, "groups": 8}
    return replace(network, **changes, attention_factors=(8,))


def write_dataset(folder: Path, settings: TrainingSettings, cases: int = 2) -> Path:
    """Made-up cases of the network's modalities and labels on the grid ``settings.shape``."""
    model = config_named(settings.network)
    grid = GridConfig(tuple(reversed(settings.shape)), (1.5, 1.5, 1.5), model.grid.orientation)  # type: ignore[arg-type]
    (folder / "cases").mkdir(parents=True)
    off, on = model.mask_values
    fractions = ((condition(model, settings.shape)[0] - off) / (on - off) * 255).to(torch.uint8)
    shape = (model.network.image_channels, *settings.shape)
    for i in range(cases):
        images = draw(f"benchmark/{i}", shape, 0.3).clamp(-1, 1).half()
        save_file({"images": images, "fractions": fractions}, folder / "cases" / f"case{i}.safetensors")
    listed = tuple(PreparedCase(f"case{i}", "train") for i in range(cases))
    DatasetConfig(model.scheme, grid, model.modalities, listed, (0.0, 1.0)).save(folder)
    return folder


def train_config(dataset: Path, way: Way, settings: TrainingSettings) -> TrainConfig:
    """What is trained, whichever way."""
    network = config_named(settings.network).network
    augment = AugmentConfig(flip=True, affine=0.3, elastic=0.3, intensity=0.3) if settings.augment else AugmentConfig()
    return TrainConfig(
        str(dataset),
        compact_network(network) if way.compact else network,
        ScheduleConfig(steps=250, prediction="x0" if way.compact else "noise"),
        ema=EmaConfig(decay=0.995),
        augment=augment,
        scale=ScaleConfig(workers=-1),
        precision="fp32" if way.plain else "bf16",
        device=settings.device,
        threads=settings.threads,
        activation_checkpointing=way.checkpointing,
    )


def measure(way: Way, settings: TrainingSettings) -> Training:
    """Some iterations of one way in this process; call it in a fresh one.

    The figures of what does not fit on a GPU are not-a-number.
    """
    with tempfile.TemporaryDirectory() as name, tf32(way.tf32 or not way.plain):
        config = train_config(write_dataset(Path(name) / "data", settings), way, settings)
        clock = Clock(settings)
        waiting = math.nan
        try:
            waiting = _plain(config, clock) if way.plain else _trainer(config, Path(name) / "run", clock)
        except torch.cuda.OutOfMemoryError:
            nothing = Timing(math.nan, math.nan)
            return Training((nothing,), math.nan, math.nan, ())
        return Training(tuple(clock.measured), _peak(settings.device), waiting, tuple(clock.losses))


def _trainer(config: TrainConfig, folder: Path, clock: Clock) -> float:
    """Iterations of the Trainer; the share of their time that it waited for its loader."""

    def hooks(context: Context) -> Sequence[Hook]:
        return [clock]

    trainer = Trainer(config, folder, SilentReporter(), hooks=hooks)
    started = time.perf_counter()
    with contextlib.suppress(Enough):
        trainer.run()
    return trainer.loader.waited / (time.perf_counter() - started)  # type: ignore[attr-defined]


def _plain(config: TrainConfig, clock: Clock) -> float:
    """The same iterations, written plainly; the share of their time in which batches were made."""
    if config.threads:
        torch.set_num_threads(config.threads)
    device = torch.device(config.device)
    data = PreparedDataset(Path(config.dataset), "train")
    model = model_config(config, data.config)
    objective = Objective(model, Schedule.from_config(config.schedule), config.loss)
    source = BatchSource(data, Augmentation(config.augment, model), objective, config)
    torch.manual_seed(config.seed)
    network = starting_network(config, model, objective.schedule, data, None, SilentReporter())
    use_torch_backward(network)
    network = network.to(device)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema.decay))
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    waited, started = 0.0, time.perf_counter()
    with contextlib.suppress(Enough):
        for number in range(config.iterations):
            before = time.perf_counter()
            batch = source.batch(number, 0)
            waited += time.perf_counter() - before
            batch = type(batch)(batch.x.to(device), batch.wanted.to(device), batch.t.to(device))
            loss = objective.loss(network, batch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(network)
            clock.after_iteration(Iteration(number + 1, config.iterations, loss.item(), LEARNING_RATE, 0.0))
    return waited / (time.perf_counter() - started)


def _peak(device: str) -> float:
    return float(torch.cuda.max_memory_reserved()) if device == "cuda" else float(peak_memory())


def run(settings: TrainingSettings) -> Suite:
    """The ways on the CPU, one round after the other, so that a busy minute does not hit one of them alone."""
    ways = (PLAIN, OURS, CHECKPOINTING, COMPACT)
    found = compare(ways, settings)
    ratio = _seconds(found[PLAIN]).wall / _seconds(found[OURS]).wall
    required = (Requirement("iterations per second, Trainer / plain", ratio, "at least", MIN_SPEEDUP, "x"),)
    return Suite(asdict(settings), (training_table(found, settings),), required, (_NOTE,))


def run_gpu(whole_head: TrainingSettings, brats: TrainingSettings) -> Suite:
    """The published networks on their published grids on a GPU, with all augmentations and the loader's processes."""
    ways = (PLAIN, replace(PLAIN, name=f"{PLAIN.name}, TF32", tf32=True), OURS, CHECKPOINTING)
    first, second = compare(ways, whole_head), compare((*ways, COMPACT), brats)
    ratio = _seconds(first[PLAIN]).wall / _seconds(first[OURS]).wall
    peak = statistics.median(t.peak for t in second[CHECKPOINTING]) / GB
    waiting = max(t.waiting for way in (OURS, CHECKPOINTING) for t in (*first[way], *second[way]) if t.losses)
    required = (
        Requirement("whole-head iterations per second, Trainer / plain", ratio, "at least", MIN_GPU_SPEEDUP, "x"),
        Requirement("BraTS iteration, peak memory, activation checkpointing", peak, "at most", MAX_BRATS_GB, "GB"),
        Requirement("time that training waits for batches", 100 * waiting, "at most", MAX_WAITING, "%"),
    )
    settings = {"whole_head": asdict(whole_head), "brats": asdict(brats)}
    tables = (training_table(first, whole_head), training_table(second, brats))
    return Suite(settings, tables, required, (_NOTE, _GPU_NOTE))


def compare(ways: Sequence[Way], settings: TrainingSettings) -> dict[Way, list[Training]]:
    """Every way in processes of its own."""
    found: dict[Way, list[Training]] = {way: [] for way in ways}
    for _ in range(settings.rounds):
        for way in ways:
            found[way].append(in_fresh_process(measure, way, settings))
    return found


def _seconds(trainings: Sequence[Training]) -> Timing:
    return median([timing for training in trainings for timing in training.measured])


def training_table(found: dict[Way, list[Training]], settings: TrainingSettings) -> Table:
    """One row for each way."""
    plain = _seconds(found[PLAIN])
    rows = []
    for way, trainings in found.items():
        times = _seconds(trainings)
        peak = statistics.median(t.peak for t in trainings) / GB
        waiting = 100 * statistics.median(t.waiting for t in trainings)
        rows.append((way.name, 1 / times.wall, times.wall, times.cpu, plain.wall / times.wall, peak, waiting))
    columns = ("path", "iterations/s", "wall s", "CPU s", "times faster", "peak memory GB", "waits for batches %")
    size = "x".join(map(str, settings.shape))
    return Table(f"One iteration of training, {settings.network} network at {size}, batch 1", columns, tuple(rows))


_NOTE = (
    "An iteration is batch, forward, backward, Adam and the average of the weights. The plain path computes the same "
    "network and objective in fp32, eager, contiguous, with torch's GroupNorm, SiLU and Adam, and makes its batches "
    "between the iterations; on a GPU with TF32 off unless said otherwise. The compact network is another network for "
    "the same images. Medians; each path in processes of its own, interpreter and libraries included in the memory."
)
_GPU_NOTE = "On a GPU memory is what torch's allocator held at its peak. What did not fit has no figures."
