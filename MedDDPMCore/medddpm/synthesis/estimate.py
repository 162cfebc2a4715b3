"""How long a synthesis will take and how much memory it needs, told before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..config import ModelConfig
from ..errors import OutOfMemory
from ..memory import available_memory
from ..network.cost import network_cost

GIB = 2**30
# Interpreter, libraries and the process' own buffers (measured: an idle worker with the demo model loaded).
BASE_BYTES = 0.7 * GIB
# Share of an evaluation that convolutions do not account for (normalization, activation, copies), measured.
OVERHEAD = 1.35


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes that a synthesis needs, and the bytes that the device has left (None: unknown)."""

    seconds: float
    memory: float
    available: float | None

    @property
    def fits(self) -> bool:
        """False where the memory will most likely not do."""
        return self.available is None or self.memory <= self.available

    def sentence(self) -> str:
        """Both figures for a person."""
        left = "" if self.available is None else f" of the {self.available / GIB:.1f} GB free"
        return f"This will take about {duration(self.seconds)} and {self.memory / GIB:.1f} GB{left}."


def duration(seconds: float) -> str:
    """A time span for reading: "40 s", "6 min", "2.5 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(config: ModelConfig, evaluations: int, device: torch.device, dtype: torch.dtype) -> Estimate:
    """The estimate for so many network evaluations; measures the device for a fraction of a second."""
    cost = network_cost(config.network, tuple(reversed(config.grid.shape)))
    seconds = evaluations * cost.flops * OVERHEAD / _flops_per_second(device, dtype)
    size = torch.finfo(dtype).bits // 8
    memory = cost.activation_values * size + cost.parameters * (size + 4)
    if device.type != "cuda":
        memory += BASE_BYTES
    return Estimate(seconds, memory, available_memory(device.type, device.index))


def require_memory(needed: Estimate, config: ModelConfig, dtype: torch.dtype) -> None:
    """Raise OutOfMemory with advice where the estimate does not fit."""
    if needed.fits:
        return
    advice = ["close other programs"]
    if dtype == torch.float32:
        advice.append("use --precision bf16, which needs half")
    advice += ["use a model with a smaller grid, such as the demo", "use another device (--device cpu)"]
    raise OutOfMemory(
        f"The model '{config.name}' needs about {needed.memory / GIB:.1f} GB, but only "
        f"{(needed.available or 0) / GIB:.1f} GB are free. What helps: {'; '.join(advice)}. "
        "--ignore-memory starts all the same."
    )


@torch.inference_mode()
def _flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Speed of a typical convolution of the network on this device, the best of a few runs."""
    layout = torch.channels_last_3d if device.type in ("cpu", "cuda") else torch.contiguous_format
    side, channels = (32, 64) if device.type == "cpu" else (64, 64)
    x = torch.randn(1, channels, side, side, side).to(device, dtype, memory_format=layout)
    weight = torch.randn(channels, channels, 3, 3, 3).to(device, dtype, memory_format=layout)
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        float(F.conv3d(x, weight, padding=1)[0, 0, 0, 0, 0])  # reading a value waits for the device
        best = min(best, time.perf_counter() - started)
    return 2.0 * weight.numel() * side**3 / best
