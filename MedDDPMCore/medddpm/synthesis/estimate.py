"""How long a synthesis will take and how much memory it needs, told before it starts."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from ..config import ModelConfig, NetworkConfig
from ..errors import OutOfMemory
from ..files import write_text
from ..geometry.grid import Placement
from ..memory import available_memory
from ..models.device import choose_device, choose_precision
from ..models.places import find_config
from ..network.cost import network_cost
from ..progress import Reporter, duration
from ..sampling.sample import check_guidance, evaluations_per_step
from ..sampling.solvers import sampler_and_steps
from .request import SynthesisRequest

if TYPE_CHECKING:
    from ..jobs.folder import JobFolder

GIB = 2**30
# Calibrated on the peak resident memory (getrusage) of processes that evaluated a network once, with
# keep_freed_memory and torch 2.13 on a CPU with AMX: the demo (80x96x80), the published whole-head network at 64^3 and
# 96^3 and the published BraTS network at 64^3, each in bf16 and fp32, plus 0.1 GiB, by which the whole command with a
# mask of 192x192x144 voxels exceeded its network. The estimates are 1 % to 17 % too high (peaks of 0.8 to 3.2 GiB; the
# same process takes up to 15 % more or less from run to run).
BASE_BYTES = 0.55 * GIB  # interpreter, libraries, a case, and the scratch memory of convolutions
EXTRA_WEIGHT_BYTES = 2  # for each parameter beside itself: copies of weights in the layout of the convolution
# Tensors of the size of the widest stage that are alive at the peak. In fp32, convolutions of the CPU need whole copies
# of their input and output in another layout.
WORKING_TENSORS = {torch.bfloat16: 3.2, torch.float32: 4.8}
OTHER_WORKING_TENSORS = 3.5
# Label fractions (float32) that completing and placing an anatomy holds at its peak: 4.0 GB for a residual network of
# 4 M parameters on 192x192x152 voxels, of which its own estimate explains 1.1 GB.
ANATOMY_COPIES = 12
# Share of an evaluation that convolutions do not account for (normalization, activation, copies), measured.
OVERHEAD = 1.35
OUTPUT_NAME = "estimate.json"


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes that a synthesis needs, and the bytes that it can have (None: unknown)."""

    seconds: float
    memory_bytes: float
    available_bytes: float | None

    @property
    def fits(self) -> bool:
        """False where the memory will most likely not do."""
        return self.available_bytes is None or self.memory_bytes <= self.available_bytes

    def sentence(self) -> str:
        """Both figures for a person."""
        left = "" if self.available_bytes is None else f"; {self.available_bytes / GIB:.1f} GB are free"
        return f"This will take about {duration(self.seconds)} and {self.memory_bytes / GIB:.1f} GB of memory{left}."


def estimate(config: ModelConfig, evaluations: int, device: torch.device, dtype: torch.dtype) -> Estimate:
    """The estimate for so many network evaluations; measures the device for a fraction of a second, once a process."""
    shape = config.grid.shape[::-1]
    seconds = evaluations * _cost(config.network, shape).flops * OVERHEAD / _flops_per_second(device, dtype)
    needed = memory_needed(config.network, shape, device, dtype)
    if config.scheme.tissue_values and device.type == "cpu":
        needed += ANATOMY_COPIES * len(config.scheme.labels) * math.prod(shape) * 4
    return Estimate(seconds, needed, available_memory(device.type, device.index))


def memory_needed(
    network: NetworkConfig, shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> float:
    """Bytes at the peak of a synthesis on a grid of ``shape`` (D, H, W): of the process, or of the CUDA device."""
    cost = _cost(network, shape)
    size = torch.finfo(dtype).bits // 8
    working = WORKING_TENSORS.get(dtype, OTHER_WORKING_TENSORS) if device.type == "cpu" else OTHER_WORKING_TENSORS
    memory = (cost.skip_values + working * cost.widest_values) * size + cost.parameters * (size + EXTRA_WEIGHT_BYTES)
    return memory if device.type == "cuda" else memory + BASE_BYTES


def require_memory(needed: Estimate, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Raise OutOfMemory with advice where the estimate does not fit."""
    if needed.fits:
        return
    raise OutOfMemory(
        f"The model '{config.name}' needs about {needed.memory_bytes / GIB:.1f} GB of memory on the device '{device}', "
        f"but only {(needed.available_bytes or 0) / GIB:.1f} GB are free. {memory_advice(device, dtype)} "
        "Or start all the same.",
        option="ignore_memory",
    )


def require_room(placement: Placement, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
    """Raise OutOfMemory where the memory will not do for a case that needs a larger grid than the model's."""
    if placement.grid_shape != config.grid.shape:
        larger = replace(config, grid=replace(config.grid, shape=placement.grid_shape))
        needed = estimate(larger, config.sampler_steps, device, dtype)
        try:
            require_memory(needed, larger, device, dtype)
        except OutOfMemory as exc:
            raise OutOfMemory(f"{placement.sentence} {exc}", option=exc.option) from exc


def memory_advice(device: torch.device, dtype: torch.dtype) -> str:
    """What helps where the memory will not do, one sentence."""
    advice = ["close other programs"]
    if dtype == torch.float32:
        advice.append("use the precision bf16, which needs about half")
    advice.append("use a model with a smaller grid, such as the demo")
    if device.type != "cpu":
        advice.append("use the device cpu, which is slower")
    return f"What helps: {'; '.join(advice)}."


_cost = lru_cache(maxsize=8)(network_cost)


@lru_cache(maxsize=8)
@torch.inference_mode()
def _flops_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Speed of a typical convolution of the network on this device, the best of a few runs.

    Remembered, since a warm worker must not spend its time on measuring the same device again.
    """
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


def estimate_job(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write ``outputs/estimate.json`` for the synthesis ``request``; its masks need not exist.

    Fields: seconds, memory_bytes, available_bytes (null: unknown), fits, sentence, advice (a sentence, empty where it
    fits), device, precision. Raises InputError where the model, the device or the sampler cannot be used.
    """
    wanted = SynthesisRequest.from_dict(request)
    reporter.stage("estimate", "Estimating time and memory")
    config = find_config(wanted.model)
    device = choose_device(wanted.device)
    dtype = choose_precision(wanted.precision, device)
    _, steps = sampler_and_steps(config, wanted.sampler, wanted.steps)
    check_guidance(wanted.guidance, config)
    evaluations = steps * evaluations_per_step(wanted.guidance) * wanted.samples * wanted.best_of * len(wanted.masks)
    needed = estimate(config, evaluations, device, dtype)
    data = {
        **asdict(needed),
        "fits": needed.fits,
        "sentence": f"{needed.sentence()} The device is {device}.",
        "advice": "" if needed.fits else memory_advice(device, dtype),
        "device": str(device),
        "precision": {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[str(dtype).removeprefix("torch.")],
    }
    write_text(folder.output(OUTPUT_NAME), json.dumps(data) + "\n")
