"""How long a training will take, and how much memory and disk it needs, told before it starts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..config import ModelConfig
from ..dataset import DatasetConfig, read_dataset_config
from ..files import write_text
from ..jobs.folder import JobFolder
from ..memory import available_memory
from ..models.device import choose_device
from ..network.cost import network_cost
from ..parse import from_dict
from ..progress import Reporter, duration
from .adversarial import trained_parameters
from .config import TrainConfig
from .monitor.samples import KEEP_ROUNDS, spread
from .objective import bands, levels
from .probe import Probe, probe
from .start import model_config

GIB = 2**30
# Checked on the peaks of whole trainings on a CPU, each in a process of its own, in bf16 and fp32, with and without
# activation checkpointing (benchmarks/training_estimate.py): 0.97 to 1.29 times peaks of 0.8 to 2.9 GB. Those of a GPU
# have not been checked.
BASE_BYTES = {"cpu": 0.75 * GIB, "cuda": 0.6 * GIB, "mps": 0.75 * GIB}  # interpreter and libraries, or CUDA's own
# fp32 weights, gradients, two moments of Adam, the average
BYTES_PER_PARAMETER = 20
STORED_PER_PARAMETER = 16  # of a checkpoint: all of these but the gradients
# Tensors of the size of the widest stage that the backward pass needs at its peak beside what was kept for it. In fp32,
# convolutions of the CPU need copies of their input and output in another layout.
WORKING_TENSORS = {"fp32": 5.0, "bf16": 4.0, "fp16": 4.0}
# Images and masks of a volume in fp32, on their way into the network: values for each channel of a voxel.
BATCH_COPIES = 6
# Share of a sample round's volumes on the disk after compression: int16 for each modality, real and synthetic.
SAMPLE_BYTES_PER_VOXEL = 2.0


@dataclass(frozen=True)
class TrainEstimate:
    """What a training needs. ``memory_bytes`` of one process, or of its GPU; ``available_bytes`` None where unknown.

    ``seconds`` is the whole time, of which ``monitor_seconds`` go into validation and samples: their passes through the
    network, without figures and the writing of volumes. All times are None where not even the weights fit, so that
    nothing could be measured.
    """

    seconds_per_iteration: float | None
    seconds: float | None
    monitor_seconds: float | None
    memory_bytes: float
    available_bytes: float | None
    disk_bytes: float
    advice: str

    @property
    def fits(self) -> bool:
        """False where the memory will most likely not do."""
        return self.available_bytes is None or self.memory_bytes <= self.available_bytes

    def sentence(self) -> str:
        """All figures for a person."""
        left = "" if self.available_bytes is None else f" ({self.available_bytes / GIB:.1f} GB are free)"
        watching = f" ({duration(self.monitor_seconds)} for validation and samples)" if self.monitor_seconds else ""
        time = "" if self.seconds is None else f"about {duration(self.seconds)}{watching}, "
        return (
            f"This training takes {time}{self.memory_bytes / GIB:.1f} GB of memory{left} and up to "
            f"{self.disk_bytes / GIB:.1f} GB of disk."
        )


def estimate_training(config: TrainConfig) -> TrainEstimate:
    """The estimate for a configuration on its device; measures a step on a small volume, for some seconds.

    Raises InputError where dataset, device or network cannot be used.
    """
    device = choose_device(config.device)
    dataset = read_dataset_config(Path(config.dataset))
    model = model_config(config, dataset)
    available = available_memory(device.type, device.index)
    weights = BASE_BYTES[device.type] + BYTES_PER_PARAMETER * trained_parameters(model, config.loss)
    disk = disk_bytes(config, dataset)
    if available is not None and weights > available:
        advice = (
            "Not even the weights of this network fit. What helps: a network with fewer channels, a larger machine."
        )
        return TrainEstimate(None, None, None, weights, available, disk, advice)
    measured = probe(config, model, device)
    seconds = measured.update_seconds
    for share, shape in phases(config, dataset):
        flops = _cost(config.network, shape).flops
        again = measured.forward.at(flops) if config.activation_checkpointing else 0.0
        seconds += share * _volumes(config) * config.accumulate * (measured.both.at(flops) + again)
    passes, flops = monitor_passes(config, dataset), _cost(config.network, dataset.grid.shape[::-1]).flops
    watching = passes["validation"] * measured.forward.at(flops)
    watching += passes["samples"] * measured.evaluation.at(flops)
    memory = training_memory(config, dataset, measured, device)
    found = TrainEstimate(seconds, seconds * config.iterations + watching, watching, memory, available, disk, "")
    return found if found.fits else replace(found, advice=advice_for(config, model, dataset, measured, device))


def fitting_cubes(config: TrainConfig, dataset: DatasetConfig) -> tuple[float, int, float, float | None]:
    """Memory of a training, bytes: on whole volumes; the side of the largest cubes that there is room for (0: whole
    volumes; the smallest where there is none for any) and what they take; what is free (None: unknown).

    Raises InputError where network and dataset do not fit together.
    """
    device = choose_device(config.device)
    available = available_memory(device.type, device.index)
    measured = probe(config, model_config(config, dataset), device, times=False)

    def memory(side: int) -> float:
        augment = replace(config.augment, crop_voxels=side, crop_until=1.0 if side else 0.0)
        return training_memory(replace(config, augment=augment), dataset, measured, device)

    whole, divisor = memory(0), config.network.divisor
    side, needed = 0, whole
    for smaller in range(max(dataset.grid.shape) - divisor, divisor, -divisor):
        if available is None or needed <= available:
            break
        side, needed = smaller, memory(smaller)
    return whole, side, needed, available


def phases(config: TrainConfig, dataset: DatasetConfig) -> list[tuple[float, tuple[int, ...]]]:
    """Share of the iterations and shape (D, H, W) of the volumes in them: cubes first, where asked for."""
    whole, side = dataset.grid.shape[::-1], config.augment.crop_voxels
    share = config.augment.crop_until if side else 0.0
    cubes = tuple(min(side, n) for n in whole)
    return [part for part in ((share, cubes), (1 - share, whole)) if part[0] > 0]


def shapes(config: TrainConfig, dataset: DatasetConfig) -> list[tuple[int, ...]]:
    """The shapes (D, H, W) that occur, the largest first."""
    return sorted((shape for _, shape in phases(config, dataset)), key=math.prod, reverse=True)


def monitor_passes(config: TrainConfig, dataset: DatasetConfig) -> dict[str, int]:
    """Passes of whole volumes through the network, without gradients, over a whole training.

    Those of ``validation`` are in the precision of the training, those of ``samples`` in the one that samples take;
    nothing where the dataset has no held-out case.
    """
    options = config.monitor
    held_out = sum(case.split == options.split for case in dataset.cases)
    chosen, sampled = len(spread(held_out, options.validation_cases)), len(spread(held_out, options.samples))
    draws = sum(len(levels(*band)) for band in bands(config.schedule.steps, options.bands))
    return {
        "validation": _rounds(config.iterations, options.validate_every) * chosen * draws,
        "samples": _rounds(config.iterations, options.sample_every) * sampled * options.sample_steps,
    }


def _rounds(iterations: int, every: int) -> int:
    """How often something happens that is due every so many iterations (0: never) and at the end."""
    return -(-iterations // every) if every else 0


def training_memory(config: TrainConfig, dataset: DatasetConfig, measured: Probe, device: torch.device) -> float:
    """Bytes at the peak of one process, or of its GPU."""
    shape = shapes(config, dataset)[0]
    cost, volumes = _cost(config.network, shape), _volumes(config)
    channels = config.network.image_channels + config.network.mask_channels
    size = 4 if config.precision == "fp32" else 2
    voxels = float(math.prod(shape))
    step = volumes * (
        (measured.kept_checkpointing if config.activation_checkpointing else measured.kept).at(voxels)
        + WORKING_TENSORS[config.precision] * size * cost.widest_values
        + 4.0 * BATCH_COPIES * channels * voxels
    )
    # Several processes gather gradients in buckets; FSDP shares all.
    processes = config.scale.devices * config.scale.nodes
    parameters = trained_parameters(model_config(config, dataset), config.loss)
    weights: float = (BYTES_PER_PARAMETER + (4 if processes > 1 else 0)) * parameters
    if config.scale.strategy == "fsdp":
        weights = BYTES_PER_PARAMETER * parameters / processes
    return BASE_BYTES[device.type] + weights + step


def disk_bytes(config: TrainConfig, dataset: DatasetConfig) -> float:
    """Bytes that the run folder takes at most: checkpoints by their rule, the model, samples."""
    parameters = trained_parameters(model_config(config, dataset), config.loss)
    rule = config.checkpoint
    written = math.ceil(config.iterations / rule.every)
    kept_for_good = config.iterations // rule.keep_every if rule.keep_every else 0
    checkpoints = min(written + 1, rule.newest + 1 + rule.best + kept_for_good)  # one more while it is written
    model = 2 * 4 * parameters
    monitor = config.monitor
    sampled = min(KEEP_ROUNDS, _rounds(config.iterations, monitor.sample_every))
    voxels = math.prod(dataset.grid.shape) * 2 * len(dataset.modalities)
    return (
        checkpoints * STORED_PER_PARAMETER * parameters
        + model
        + sampled * monitor.samples * voxels * SAMPLE_BYTES_PER_VOXEL
    )


def advice_for(
    config: TrainConfig, model: ModelConfig, dataset: DatasetConfig, measured: Probe, device: torch.device
) -> str:
    """What helps where the memory will not do, with what each remedy would need."""
    helps = []
    for words, changed in remedies(config, dataset):
        again = probe(changed, model, device) if changed.precision != config.precision else measured
        needed = training_memory(changed, dataset, again, device)
        if needed < 0.97 * training_memory(config, dataset, measured, device):
            helps.append(f"{words} ({needed / GIB:.1f} GB)")
    if not (config.network.on_bands or config.network.adversarial):
        helps.append("the compact network (preset compact), which needs about an eighth for the volumes")
    helps.append("fewer channels (network.base_channels)")
    return f"What helps: {'; '.join(helps)}."


def remedies(config: TrainConfig, dataset: DatasetConfig) -> list[tuple[str, TrainConfig]]:
    """Changes that need less memory, the harmless ones first; each beside the ones before it."""
    found = []
    volumes = _volumes(config)
    if volumes > 1:
        processes = config.batch_size // volumes
        config = replace(config, batch_size=processes, accumulate=config.accumulate * volumes)
        found.append((f"batch_size = {processes} with accumulate = {config.accumulate}", config))
    if config.precision == "fp32":
        config = replace(config, precision="bf16")
        found.append(('precision = "bf16"', config))
    if not config.activation_checkpointing:
        config = replace(config, activation_checkpointing=True)
        found.append(("activation_checkpointing = true", config))
    divisor = config.network.divisor
    side = max(shapes(config, dataset)[0]) // 2 // divisor * divisor
    if side >= 2 * divisor:
        config = replace(config, augment=replace(config.augment, crop_voxels=side, crop_until=1.0))
        found.append((f"augment.crop_voxels = {side} with crop_until = 1", config))
    return found


_cost = lru_cache(maxsize=32)(network_cost)


def _volumes(config: TrainConfig) -> int:
    """Volumes that one process works on at a time."""
    return max(1, config.batch_size // (config.scale.devices * config.scale.nodes))


def train_estimate(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """A job of kind "train_estimate": write ``outputs/estimate.json``; ``request`` has the fields of ``TrainConfig``.

    Fields: seconds_per_iteration, seconds and, of these, monitor_seconds (null: not even the weights fit),
    memory_bytes, available_bytes (null: unknown), fits, advice (empty where it fits), disk_bytes, sentence, device,
    precision. Raises InputError where the configuration, the dataset or the device cannot be used.
    """
    config: TrainConfig = from_dict(TrainConfig, request, "The training")
    reporter.stage("estimate", "Estimating time and memory")
    found = estimate_training(config)
    used = {"device": str(choose_device(config.device)), "precision": config.precision}
    data = {**asdict(found), "fits": found.fits, "sentence": found.sentence(), **used}
    write_text(folder.output("estimate.json"), json.dumps(data) + "\n")
