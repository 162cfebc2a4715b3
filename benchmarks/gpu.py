"""All checks on a GPU: right results, speed, memory."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from medddpm.models.device import DTYPES, convolutions_agree
from medddpm.models.model import Model
from medddpm.sampling.sample import sample
from torch import Tensor

from .common import GB, Requirement, Suite, Table
from .networks import FAST, PLAIN, Variant, condition, config_named, draw, evaluator, reference_network

REFERENCE = Path(__file__).parents[1] / "Testing" / "core" / "reference" / "unet_small.npz"
MAX_FORWARD, MAX_TRAJECTORY = 1e-4, 1e-3
MIN_SPEEDUP, MAX_BRATS_GB, MAX_VOLUME_SECONDS, MAX_ERROR = 10.0, 6.0, 1.0, 0.02
# The same seed in fp32 on two devices: sums are taken in another order, and the sampler amplifies that a little.
MAX_DEVICE_DIFFERENCE = 1e-2
CHANNELS_LAST = Variant("fp32, channels last", "fp32", channels_last=True, keep_memory=False)


@dataclass(frozen=True)
class GpuSettings:
    """Grids (D, H, W) of the two published networks and how often each figure is measured."""

    whole_head: tuple[int, int, int] = (128, 128, 128)
    brats: tuple[int, int, int] = (144, 192, 192)
    repeats: int = 7
    warmup: int = 3
    volumes: int = 3


def run(settings: GpuSettings, device: torch.device) -> Suite:
    """Every check, the cheap ones first."""
    forward, trajectory = parity(device)
    evaluations, speed = evaluation_table("whole-head", settings.whole_head, settings, device)
    brats, brats_speed = evaluation_table("brats", settings.brats, settings, device)
    seconds = volume_seconds(settings, device)
    difference = device_difference(device)
    required = (
        Requirement("bf16 convolutions right (1: yes)", float(bf16_right(device)), "at least", 1, ""),
        Requirement("forward against the published code, fp32", forward, "at most", MAX_FORWARD, "largest difference"),
        Requirement("trajectory, likewise", trajectory, "at most", MAX_TRAJECTORY, "largest difference"),
        Requirement("whole-head evaluation, plain fp32 / fast", speed.ratio, "at least", MIN_SPEEDUP, "x"),
        Requirement("error of the fast path (relative L2)", 100 * speed.error, "at most", 100 * MAX_ERROR, "%"),
        Requirement("BraTS network, peak memory, fast", brats_speed.peak / GB, "at most", MAX_BRATS_GB, "GB"),
        Requirement("default whole-head volume", seconds, "at most", MAX_VOLUME_SECONDS, "s"),
        Requirement("same seed, CPU and GPU, fp32", difference, "at most", MAX_DEVICE_DIFFERENCE, "largest difference"),
    )
    return Suite(asdict(settings), (evaluations, brats), required, (_NOTE,))


_NOTE = (
    "Plain is eager, contiguous, fp32 with TF32 off; torch's own default lets convolutions use TF32, which has a row "
    "of its own. Medians of single evaluations after a warm-up, timed on the GPU. Memory is what torch's allocator "
    "held at its peak, weights and cuDNN's workspace included."
)


def bf16_right(device: torch.device) -> bool:
    """The self-test that ``--precision auto`` relies on."""
    return convolutions_agree(device, torch.bfloat16)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in convolutions and matrix products within the block."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def small_model(device: torch.device, steps: int) -> Model:
    """The small network of the reference numbers, fp32."""
    config = config_named("small", steps)
    return Model(config, reference_network(config.network), device, torch.float32, "0" * 64)


def parity(device: torch.device) -> tuple[float, float]:
    """Largest differences to the published code's numbers: of one evaluation and of a 12-step trajectory, in fp32."""
    expected = np.load(REFERENCE, allow_pickle=False)
    model = small_model(device, 12)
    x = draw("small/x", (2, 3, 16, 16, 16))
    noises = (draw(f"small-trajectory/noise/{i}", (1, 1, 16, 16, 16)) for i in range(13))
    mask = draw("small-trajectory/cond", (1, 2, 16, 16, 16))
    with tf32(False):
        forward = model.predict_noise(x[:, :1], x[:, 1:], torch.tensor([0, 7])).cpu()
        trajectory = sample(model, mask, "ddpm", noise=noises)
    return (
        float(np.abs(forward.numpy() - expected["forward"]).max()),
        float(np.abs(trajectory.numpy() - expected["trajectory"]).max()),
    )


def device_difference(device: torch.device) -> float:
    """Largest difference between the CPU's and this device's volume of the same seed, in fp32."""
    mask = draw("small-trajectory/cond", (1, 2, 16, 16, 16))
    with tf32(False):
        volumes = [sample(small_model(d, 250), mask, "dpm++2m", 25, seed=1) for d in (torch.device("cpu"), device)]
    return float((volumes[0] - volumes[1]).abs().max())


@dataclass(frozen=True)
class Speed:
    """The fast path beside the plain one: how many times as fast, its relative L2 error, its peak memory (bytes)."""

    ratio: float
    error: float
    peak: float


def evaluation_table(
    name: str, shape: tuple[int, int, int], settings: GpuSettings, device: torch.device
) -> tuple[Table, Speed]:
    """One evaluation of a published network in four ways."""
    ways = (
        (PLAIN.name + ", TF32 off", PLAIN, False),
        (PLAIN.name + ", TF32 on", PLAIN, True),
        (CHANNELS_LAST.name + ", TF32 on", CHANNELS_LAST, True),
        ("fast: bf16, channels last", FAST, True),
    )
    found = [measure(variant, allow, name, shape, settings, device) for _, variant, allow in ways]
    plain, fast = found[0], found[-1]
    rows = tuple(
        (label, e.seconds * 1e3, plain.seconds / e.seconds, 100 * _error(e.prediction, plain.prediction), e.peak / GB)
        for (label, _, _), e in zip(ways, found, strict=True)
    )
    size = "x".join(map(str, shape))
    title = f"One evaluation of the {name} network at {size}"
    table = Table(title, ("path", "ms", "times faster", "error %", "peak memory GB"), rows)
    return table, Speed(plain.seconds / fast.seconds, _error(fast.prediction, plain.prediction), fast.peak)


@dataclass(frozen=True)
class GpuEvaluation:
    """Seconds of one evaluation, peak memory (bytes), and the prediction on the CPU."""

    seconds: float
    peak: float
    prediction: Tensor


def measure(
    variant: Variant,
    allow_tf32: bool,
    name: str,
    shape: tuple[int, int, int],
    settings: GpuSettings,
    device: torch.device,
) -> GpuEvaluation:
    """Evaluate one way; what does not fit into the device's memory becomes not-a-number instead of an end."""
    config = config_named(name)
    x = draw("benchmark/x", (1, config.network.image_channels, *shape)).to(device)
    mask, t = condition(config, shape).to(device), torch.tensor([125], device=device)
    _forget_peak(device)
    try:
        with tf32(allow_tf32):
            evaluate = evaluator(variant, config, device)
            seconds = device_seconds(lambda: evaluate(x, mask, t), settings.repeats, settings.warmup, device)
            prediction = evaluate(x, mask, t).cpu()
    except torch.cuda.OutOfMemoryError:
        return GpuEvaluation(math.nan, math.nan, torch.full_like(x, math.nan).cpu())
    return GpuEvaluation(seconds, _peak(device), prediction)


def _error(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).norm() / expected.norm())


def volume_seconds(settings: GpuSettings, device: torch.device) -> float:
    """Seconds of a whole-head volume with the default sampler, from the mask on the CPU to the image on the CPU."""
    config = config_named("whole-head")
    model = Model(config, reference_network(config.network), device, DTYPES[FAST.precision], "0" * 64)
    mask = condition(config, settings.whole_head)
    seconds = []
    for seed in range(settings.volumes + 1):
        started = time.perf_counter()
        sample(model, mask, config.sampler, config.sampler_steps, seed=seed)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def device_seconds(action: Callable[[], object], repeats: int, warmup: int, device: torch.device) -> float:
    """Median seconds of ``action`` on the device: by its own events on a GPU, by the clock on the CPU."""
    for _ in range(warmup):
        action()
    return statistics.median(_once(action, device) for _ in range(repeats))


def _once(action: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        action()
        return time.perf_counter() - started
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    start.record()
    action()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float:
    return float(torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else math.nan
