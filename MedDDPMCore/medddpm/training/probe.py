"""One training step of a configuration on a small volume: what it takes, to be scaled to the real one.

Both are measured on two volumes, of which one is half of the other: what depends on the volume is told from what does
not (gradients of the weights, their casts). Time is scaled by the operations of the convolutions (``network.cost``), so
that forward, backward and loss are in the measured factor. Memory for the backward pass is counted, not estimated:
every tensor that autograd keeps, on this device in this precision.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config import ModelConfig, NetworkConfig
from ..models.device import choose_precision
from ..models.model import Model
from ..network.blocks import Stage
from ..network.build import Network, build_network
from ..network.compact import CompactUNet
from ..network.cost import network_cost
from ..network.residual import ResidualUNet
from ..sampling.schedule import Schedule
from .config import TrainConfig
from .objective import NoisyBatch, Objective

# The probe's volume is as large as these many operations of a forward pass allow, and two strides at least.
MOST_FLOPS = {"cpu": 1e11, "cuda": 2e12}
MOST_SIDE = 96
REPEATS = 2
# Of two measurements that other work disturbed, no smaller share of the larger one is believed to grow with the volume.
LEAST_SLOPE = 0.3
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Kept(NamedTuple):
    """Bytes that the forward pass leaves for the backward pass: all of them; and what checkpointing leaves instead.

    ``outputs`` of the stages stay with checkpointing, and the largest ``stage`` is computed again inside of them.
    """

    all: float
    outputs: float
    stage: float

    def bytes(self, checkpointing: bool) -> float:
        """What is kept, with or without activation checkpointing."""
        return self.outputs + self.stage if checkpointing else self.all


@dataclass(frozen=True)
class Pace:
    """Seconds that something takes: ``fixed``, and ``per_flop`` of the forward pass's operations."""

    fixed: float
    per_flop: float

    @classmethod
    def through(cls, flops: tuple[float, float], seconds: tuple[float, float]) -> Pace:
        """The line through two measurements, the second of the larger volume; a noisy one is taken with care."""
        slope = (seconds[1] - seconds[0]) / (flops[1] - flops[0])
        most = seconds[1] / flops[1]
        slope = min(most, max(LEAST_SLOPE * most, slope))
        return cls(seconds[1] - slope * flops[1], slope)

    def seconds(self, flops: float) -> float:
        """The time for so many operations of a forward pass."""
        return self.fixed + self.per_flop * flops


@dataclass(frozen=True)
class Probe:
    """Costs of a training step (batch 1).

    ``both``: time of forward and backward together, ``forward``: of the forward pass alone; ``evaluation``: of a pass
    without gradients as samples take it, nothing where none are made; ``update_seconds``: the optimizer and the
    average; ``per_voxel`` and ``fixed``: bytes kept for the backward pass.
    """

    both: Pace
    forward: Pace
    evaluation: Pace
    update_seconds: float
    per_voxel: Kept
    fixed: Kept

    def kept(self, voxels: float, checkpointing: bool) -> float:
        """Bytes that a volume of so many voxels keeps for its backward pass."""
        return self.per_voxel.bytes(checkpointing) * voxels + max(0.0, self.fixed.bytes(checkpointing))


def probe(config: TrainConfig, model: ModelConfig, device: torch.device, times: bool = True) -> Probe:
    """Take the measurements with random weights and data; some seconds, without ``times`` (which are 0 then) one."""
    step = _Step(config, model, device)
    whole = probe_shape(config.network, device, max(model.grid.shape))
    half = (whole[0], whole[1], whole[2] // 2)
    kept = [step.kept(shape) for shape in (half, whole)]
    voxels = [float(shape[0] * shape[1] * shape[2]) for shape in (half, whole)]
    per_voxel = Kept(*((b - a) / (voxels[1] - voxels[0]) for a, b in zip(*kept, strict=True)))
    fixed = Kept(*(b - slope * voxels[1] for b, slope in zip(kept[1], per_voxel, strict=True)))
    if not times:
        none = Pace(0.0, 0.0)
        return Probe(none, none, none, 0.0, per_voxel, fixed)
    flops = (network_cost(config.network, half).flops, network_cost(config.network, whole).flops)
    (forward_half, both_half), (forward, both) = step.seconds(half), step.seconds(whole)
    sampled = bool(config.monitor.sample_every)
    evaluation_half, evaluation = (step.evaluation_seconds(shape) if sampled else 0.0 for shape in (half, whole))
    return Probe(
        Pace.through(flops, (both_half, both)),
        Pace.through(flops, (forward_half, forward)),
        Pace.through(flops, (evaluation_half, evaluation)),
        step.update_seconds(),
        per_voxel,
        fixed,
    )


def probe_shape(network: NetworkConfig, device: torch.device, largest: int) -> tuple[int, int, int]:
    """A cube (D, H, W) whose sides are an even number of the network's strides, as large as MOST_FLOPS allows.

    No side is longer than ``largest``, but for two strides, which it always has.
    """
    step = 2 * network.divisor
    most = MOST_FLOPS.get(device.type, MOST_FLOPS["cuda"])
    side = step
    while side + step <= min(largest, MOST_SIDE) and network_cost(network, (side + step,) * 3).flops <= most:
        side += step
    return side, side, side


class _Step:
    """A training step that can be looked into."""

    def __init__(self, config: TrainConfig, model: ModelConfig, device: torch.device) -> None:
        self._device = device
        self._dtype = AUTOCAST.get(config.precision)
        schedule = Schedule.from_config(config.schedule)
        self._objective = Objective(model, schedule, config.loss)
        network = build_network(config.network)
        if isinstance(network, CompactUNet | ResidualUNet):
            network.use_schedule(torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma))
        self._network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        fused = config.precision != "fp16"
        self._optimizer = torch.optim.Adam(self._network.parameters(), 1e-9, fused=fused)

    def seconds(self, shape: tuple[int, int, int]) -> tuple[float, float]:
        """Forward; and forward and backward together: the best of a few."""
        batch = self._batch(shape)
        times = []
        for _ in range(REPEATS + 1):
            started = self._now()
            loss = self._loss(batch)
            middle = self._now()
            loss.backward()
            times.append((middle - started, self._now() - started))
        warm = times[1:]
        return min(forward for forward, _ in warm), min(both for _, both in warm)

    def evaluation_seconds(self, shape: tuple[int, int, int]) -> float:
        """A pass as samples take it, in the precision that they choose: the best of a few."""
        precision = choose_precision("auto", self._device)
        model = Model(self._objective.model, copy.deepcopy(self._network), self._device, precision, "")
        batch, network = self._batch(shape), model.config.network
        told = batch.x.shape[1] if self._objective.residual else network.image_channels + network.mask_channels
        images, masks = batch.x[:, :told].tensor_split([batch.wanted.shape[1]], dim=1)
        times = []
        for _ in range(REPEATS + 1):
            started = self._now()
            model.predict_x0(images, masks, model.schedule.steps // 2)
            times.append(self._now() - started)
        return min(times[1:])

    def update_seconds(self) -> float:
        """A step of the optimizer, and one of the average, which costs about a quarter of it."""
        self._optimizer.step()
        started = self._now()
        self._optimizer.step()
        return 1.25 * (self._now() - started)

    def kept(self, shape: tuple[int, int, int]) -> Kept:
        """What the forward pass leaves for the backward pass."""
        batch = self._batch(shape)
        counter = _Counter(self._network)
        with counter.counting():
            loss = self._loss(batch)
        counted = counter.result()
        del loss
        return counted

    def _batch(self, shape: tuple[int, int, int]) -> NoisyBatch:
        network = self._objective.model.network
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(1, network.image_channels, *shape, generator=generator)
        fractions = torch.rand(1, network.mask_channels, *shape, generator=generator) / network.mask_channels
        t = torch.full((1,), self._objective.schedule.steps // 2)
        return self._objective.noisy(images, fractions, t, torch.randn(images.shape)).to(self._device)

    def _loss(self, batch: NoisyBatch) -> Tensor:
        with torch.autocast(self._device.type, self._dtype or torch.bfloat16, enabled=self._dtype is not None):
            return self._objective.loss(self._network, batch)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


class _Counter:
    """Counts the storage of every tensor that autograd keeps, once each, by the stage of the U-Net that keeps it."""

    def __init__(self, network: Network) -> None:
        self._stages = [module for module in network.modules() if isinstance(module, Stage)]
        self._seen: dict[int, Any] = {p.untyped_storage().data_ptr(): None for p in network.parameters()}
        self._inside: dict[int, float] = {}
        self._outputs = self._outside = 0.0
        self._current: int | None = None

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count while the block runs."""
        handles = [stage.register_forward_pre_hook(self._enter) for stage in self._stages]
        handles += [stage.register_forward_hook(self._leave) for stage in self._stages]
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._keep, lambda tensor: tensor):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def result(self) -> Kept:
        """What was counted."""
        inside = list(self._inside.values())
        return Kept(sum(inside) + self._outside, self._outputs + self._outside, max(inside, default=0.0))

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen[storage.data_ptr()] = tensor  # held, so that its address is not given to another one
            if self._current is None:
                self._outside += storage.nbytes()
            else:
                self._inside[self._current] = self._inside.get(self._current, 0.0) + storage.nbytes()
        return tensor

    def _enter(self, stage: nn.Module, _inputs: Any) -> None:
        self._current = id(stage)

    def _leave(self, _stage: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._current = None
        self._outputs += output.untyped_storage().nbytes()
