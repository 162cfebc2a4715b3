"""One evaluation on the CPU: the plain path, the fast path, and the fast path with each of its choices undone."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from medddpm.config import NetworkConfig
from medddpm.memory import keep_freed_memory
from medddpm.network.norm import NormSiLU
from medddpm.network.unet import UNet3D
from torch import nn
from torch.nn import functional as F

from .common import GB, Requirement, Suite, Table, Timing, in_fresh_process, median, peak_memory, timings
from .convolutions import convolution_table
from .networks import FAST, PLAIN, Variant, condition, config_named, draw, evaluator

VARIANTS = (
    PLAIN,
    FAST,
    Variant("fast without channels last", "bf16", channels_last=False, keep_memory=True),
    Variant("fast without keeping freed memory", "bf16", channels_last=True, keep_memory=False),
    Variant("bf16 alone", "bf16", channels_last=False, keep_memory=False),
    Variant("fp32, channels last", "fp32", channels_last=True, keep_memory=False),
    Variant("fp32, freed memory kept", "fp32", channels_last=False, keep_memory=True),
    Variant("fp32, channels last, freed memory kept", "fp32", channels_last=True, keep_memory=True),
)
MIN_SPEEDUP, MAX_ERROR = 6.0, 0.02
TIMESTEP = 125
# The demo model's training: its network at half of its grid's sides, which keeps the shares of the layers.
TRAINED, TRAINED_SIDE = NetworkConfig(4, 4, 16, (1, 2, 4, 8), 1, (8,), groups=8), 48


@dataclass(frozen=True)
class CpuSettings:
    """``side``: voxels along a side; ``repeats`` in each of ``rounds`` fresh processes; 0 threads: torch's choice."""

    network: str = "whole-head"
    side: int = 64
    repeats: int = 3
    rounds: int = 2
    threads: int = 0


QUICK = CpuSettings("small", side=16, repeats=2, rounds=1)


@dataclass(frozen=True)
class Evaluation:
    """What one process measured: the timings, its peak memory (bytes), and the prediction to compare."""

    measured: tuple[Timing, ...]
    peak: int
    prediction: np.ndarray


def measure(variant: Variant, settings: CpuSettings) -> Evaluation:
    """Evaluations in this process; call it in a fresh one."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if variant.keep_memory:
        keep_freed_memory()
    config, shape = config_named(settings.network), (settings.side,) * 3
    evaluate = evaluator(variant, config, torch.device("cpu"))
    x = draw("benchmark/x", (1, config.network.image_channels, *shape))
    mask, t = condition(config, shape), torch.tensor([TIMESTEP])
    prediction = evaluate(x, mask, t).numpy()  # also the warm-up: libraries choose their algorithms here
    measured = timings(lambda: evaluate(x, mask, t), settings.repeats, warmup=0)
    return Evaluation(tuple(measured), peak_memory(), prediction)


def relative_error(result: np.ndarray, expected: np.ndarray) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(result - expected) / np.linalg.norm(expected))


def run(settings: CpuSettings, variants: tuple[Variant, ...] = VARIANTS, training: bool = True) -> Suite:
    """All variants, one round after the other, so that a busy minute of the machine does not hit one variant alone."""
    found: dict[str, list[Evaluation]] = {variant.name: [] for variant in variants}
    for _ in range(settings.rounds):
        for variant in variants:
            found[variant.name].append(in_fresh_process(measure, variant, settings))
    tables = [_table(found, settings)]
    tables.append(convolution_table(settings.network, settings.side, settings.repeats, settings.threads))
    if training:
        tables.append(training_table(settings))
    return Suite(asdict(settings), tuple(tables), requirements(found), (_NOTE,))


_NOTE = (
    "Every row is the same network with the same weights and input, each in a process of its own; the plain path is "
    "eager, contiguous, fp32, with the C library's own memory settings. Medians. The second table's last column is "
    "the most that could be gained if all but the convolutions cost nothing."
)


def _times(evaluations: list[Evaluation]) -> Timing:
    return median([timing for evaluation in evaluations for timing in evaluation.measured])


def _table(found: dict[str, list[Evaluation]], settings: CpuSettings) -> Table:
    plain = _times(found[PLAIN.name])
    rows = []
    for name, evaluations in found.items():
        times = _times(evaluations)
        error = relative_error(evaluations[0].prediction, found[PLAIN.name][0].prediction)
        peak = statistics.median(e.peak for e in evaluations) / GB
        rows.append((name, times.cpu, times.wall, plain.cpu / times.cpu, plain.wall / times.wall, 100 * error, peak))
    return Table(
        f"One evaluation of the {settings.network} network at {settings.side}^3",
        ("path", "CPU s", "wall s", "CPU s: times fewer", "wall: times faster", "error %", "peak memory GB"),
        tuple(rows),
    )


def requirements(found: dict[str, list[Evaluation]]) -> tuple[Requirement, ...]:
    """The issue's bounds on the fast path."""
    ratio = _times(found[PLAIN.name]).cpu / _times(found[FAST.name]).cpu
    error = relative_error(found[FAST.name][0].prediction, found[PLAIN.name][0].prediction)
    return (
        Requirement("CPU seconds of an evaluation, plain / fast", ratio, "at least", MIN_SPEEDUP, "x"),
        Requirement("error of the fast path (relative L2)", 100 * error, "at most", 100 * MAX_ERROR, "%"),
    )


class TorchNormSiLU(nn.GroupNorm):
    """The same layer through torch's own backward pass."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(super().forward(x))


def measure_training(own_backward: bool, settings: CpuSettings) -> Evaluation:
    """Forward and backward of the demo's network in bf16 autocast; ``prediction`` holds the first layer's gradient."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    keep_freed_memory()
    torch.manual_seed(0)
    network = UNet3D(TRAINED).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if not own_backward:
        use_torch_backward(network)
    side = min(TRAINED_SIDE, settings.side)
    x = draw("benchmark/train", (1, 8, side, side, side)).contiguous(memory_format=torch.channels_last_3d)
    t = torch.tensor([TIMESTEP])

    def step() -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            prediction = network(x, t)
        prediction.float().abs().mean().backward()

    measured = timings(step, settings.repeats)
    gradient = next(network.input_blocks.parameters()).grad
    assert gradient is not None
    return Evaluation(tuple(measured), peak_memory(), gradient.numpy())


def use_torch_backward(network: nn.Module) -> None:
    """Replace every NormSiLU of ``network`` by the same layer with torch's backward pass."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, NormSiLU):
                twin = TorchNormSiLU(child.num_groups, child.num_channels, child.eps)
                twin.load_state_dict(child.state_dict())
                setattr(parent, name, twin)


def training_table(settings: CpuSettings) -> Table:
    """Forward and backward with the project's NormSiLU and with torch's own operations."""
    settings = replace(settings, repeats=max(2, settings.repeats))
    rows = []
    for own, name in ((False, "torch's GroupNorm and SiLU"), (True, "NormSiLU with its own backward pass")):
        evaluation = in_fresh_process(measure_training, own, settings)
        times = median(evaluation.measured)
        rows.append((name, times.cpu, times.wall, evaluation.peak / GB))
    side = min(TRAINED_SIDE, settings.side)
    title = f"Forward and backward of the demo's network, bf16, channels last, at {side}^3"
    return Table(title, ("normalization", "CPU s", "wall s", "peak memory GB"), tuple(rows))
