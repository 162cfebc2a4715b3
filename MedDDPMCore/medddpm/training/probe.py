"""One training step of a configuration on a small volume: what it takes, to be scaled to the real one.

Both are measured on two volumes, of which one is half of the other: what depends on the volume is told from what does
not (gradients of the weights, their casts). Time is scaled by the operations of the convolutions (``network.cost``), so
that forward, backward and loss are in the measured factor. Memory for the backward pass is counted, not estimated:
every tensor that autograd keeps, on this device in this precision.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config import ModelConfig, NetworkConfig
from ..models.device import choose_precision
from ..models.model import Model
from ..network.blocks import Stage
from ..network.compact import CompactUNet
from ..network.cost import network_cost
from ..network.residual import ResidualUNet
from ..sampling.schedule import Schedule
from .adversarial import network_to_train
from .config import TrainConfig
from .objective import NoisyBatch, Objective
from .optimizers import make_optimizer

# The probe's volume is as large as these many operations of a forward pass allow, and two strides at least.
MOST_FLOPS = {"cpu": 1e11, "cuda": 2e12}
MOST_SIDE = 96
REPEATS = 2
# Of two measurements that other work disturbed, no smaller share of the larger one is believed to grow with the volume.
LEAST_SLOPE = 0.3
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Line(NamedTuple):
    """What something takes: ``fixed``, and ``slope`` for each unit of a size (operations, voxels)."""

    fixed: float
    slope: float

    def at(self, size: float) -> float:
        """What that size takes."""
        return self.fixed + self.slope * size


class Probe(NamedTuple):
    """Costs of a training step (batch 1).

    Seconds by the operations of a forward pass: ``both``, forward and backward together; ``forward`` alone;
    ``evaluation``, a pass without gradients as samples take it, nothing where none are made. ``update_seconds``: the
    optimizer and the average. Bytes that are kept for the backward pass by voxels: ``kept``, and
    ``kept_checkpointing`` with activation checkpointing.
    """

    both: Line
    forward: Line
    evaluation: Line
    update_seconds: float
    kept: Line
    kept_checkpointing: Line


def probe(config: TrainConfig, model: ModelConfig, device: torch.device, times: bool = True) -> Probe:
    """Take the measurements with random weights and data; some seconds, without ``times`` (which are 0 then) one."""
    step = _Step(config, model, device)
    whole = probe_shape(config.network, device, max(model.grid.shape))
    shapes = (whole[0], whole[1], whole[2] // 2), whole
    voxels = [float(math.prod(shape)) for shape in shapes]
    plain, checkpointing = zip(*map(step.kept, shapes), strict=True)
    kept = _line(voxels, plain), _line(voxels, checkpointing)
    none = Line(0.0, 0.0)
    if not times:
        return Probe(none, none, none, 0.0, *kept)
    flops = [network_cost(config.network, shape).flops for shape in shapes]
    forward, both = zip(*map(step.seconds, shapes), strict=True)
    evaluation = pace(flops, list(map(step.evaluation_seconds, shapes))) if config.monitor.sample_every else none
    return Probe(pace(flops, both), pace(flops, forward), evaluation, step.update_seconds(), *kept)


def pace(flops: Sequence[float], seconds: Sequence[float]) -> Line:
    """The line through two measurements, the second of the larger volume; a noisy one is taken with care."""
    most = seconds[1] / flops[1]
    slope = (seconds[1] - seconds[0]) / (flops[1] - flops[0])
    slope = min(most, max(LEAST_SLOPE * most, slope))
    return Line(seconds[1] - slope * flops[1], slope)


def _line(sizes: Sequence[float], values: Sequence[float]) -> Line:
    slope = (values[1] - values[0]) / (sizes[1] - sizes[0])
    return Line(max(0.0, values[1] - slope * sizes[1]), slope)


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
        network = network_to_train(model, config.loss)
        if isinstance(network, CompactUNet | ResidualUNet):
            network.use_schedule(torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma))
        self._network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._optimizer = make_optimizer(
            self._network, replace(config.optimizer, lr=1e-9, min_lr=0.0), config.precision
        )

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

    def kept(self, shape: tuple[int, int, int]) -> tuple[float, float]:
        """Bytes that the forward pass leaves for the backward pass, without and with activation checkpointing."""
        batch = self._batch(shape)
        return kept_bytes(self._network, lambda: self._loss(batch))

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


def kept_bytes(network: nn.Module, run: Callable[[], Tensor]) -> tuple[float, float]:
    """Bytes of the tensors that autograd keeps of what ``run`` computes with ``network``, but for its weights.

    First all of them; then what activation checkpointing leaves: what lies outside of the stages, their outputs, and
    the largest stage, which is computed again inside of itself.
    """
    stages = [module for module in network.modules() if isinstance(module, Stage)]
    seen: dict[int, Any] = {p.untyped_storage().data_ptr(): None for p in network.parameters()}
    inside: dict[int | None, float] = {None: 0.0}
    outputs, current = 0.0, None

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen[storage.data_ptr()] = tensor  # held, so that its address is not given to another one
            inside[current] = inside.get(current, 0.0) + storage.nbytes()
        return tensor

    def enter(stage: nn.Module, _inputs: Any) -> None:
        nonlocal current
        current = id(stage)

    def leave(_stage: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal current, outputs
        current, outputs = None, outputs + output.untyped_storage().nbytes()

    handles = [stage.register_forward_pre_hook(enter) for stage in stages]
    handles += [stage.register_forward_hook(leave) for stage in stages]
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = run()
    finally:
        for handle in handles:
            handle.remove()
    del result
    outside = inside.pop(None)
    return outside + sum(inside.values()), outside + outputs + max(inside.values(), default=0.0)
