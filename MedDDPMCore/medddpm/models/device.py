"""Choice of device and precision, and a test that reduced precision computes the right thing."""

from __future__ import annotations

import logging
import re

import torch
from torch.nn import functional as F

from ..errors import InputError
from ..parse import shown

log = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# bf16 keeps 8 bits; a correct convolution of unit-scale inputs is within half a percent of fp32.
MAX_CONVOLUTION_ERROR = 0.02


def choose_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda", "cuda:1" or "mps"; InputError listing what there is where it is absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    # not left to torch.device: it takes "cuda:256" for "cuda:0"
    parts = re.fullmatch(r"cpu|mps|cuda(?::(\d{1,3}))?", name, re.ASCII)
    if parts is None:
        raise InputError(f"The device {shown(name)} is unknown. Choose auto, cpu, cuda, cuda:1 or mps.")
    if name.startswith("cuda") and int(parts[1] or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        found = f"PyTorch sees {count} CUDA device(s)" if count else "PyTorch sees no CUDA device (or is a CPU build)"
        raise InputError(f"The device '{name}' is not available: {found}. Choose another device or auto.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("The device 'mps' is not available: it needs an Apple GPU. Choose cpu or auto.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype for "auto", "fp32", "bf16" or "fp16" on ``device``.

    auto: bf16 where the device computes it natively and passes ``convolutions_agree``, fp16 on older NVIDIA cards, else
    fp32. Raises InputError for an unknown name, or a precision that the device gets wrong.
    """
    if name == "auto":
        return _automatic(device)
    if name not in DTYPES:
        raise InputError(f"The precision {shown(name)} is unknown. Choose auto, {', '.join(DTYPES)}.")
    dtype = DTYPES[name]
    if dtype != torch.float32 and not convolutions_agree(device, dtype):
        raise InputError(f"On the device '{device}' convolutions in {name} are wrong or impossible. Use fp32.")
    return dtype


def _automatic(device: torch.device) -> torch.dtype:
    for dtype in _native(device):
        if convolutions_agree(device, dtype):
            return dtype
        log.warning("convolutions in %s on %s failed the self-test", dtype, device)
    return torch.float32


def _native(device: torch.device) -> tuple[torch.dtype, ...]:
    """Reduced precisions that the device computes faster than fp32, best first."""
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return (torch.bfloat16,) if major >= 8 else (torch.float16,) if major >= 7 else ()
    if device.type == "cpu" and cpu_has_bf16():
        return (torch.bfloat16,)
    return ()


def cpu_has_bf16() -> bool:
    """True where the processor has bf16 dot products (AVX512-bf16, AMX or Arm bf16), not an emulation."""
    if hasattr(torch.cpu, "get_capabilities"):
        return any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    # older versions of torch have no public way
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in tests)


@torch.inference_mode()
def convolutions_agree(device: torch.device, dtype: torch.dtype) -> bool:
    """Self-test: a 3x3x3 convolution in ``dtype`` equals the fp32 one on the CPU, plain and strided.

    Some pairs of torch and cuDNN compute bf16 3D convolutions wrongly; this finds out in milliseconds.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 32, 12, 12, 12, generator=generator)
    weight = torch.randn(64, 32, 3, 3, 3, generator=generator) / 30
    layout = torch.channels_last_3d if device.type in ("cpu", "cuda") else torch.contiguous_format
    for stride in (1, 2):
        expected = F.conv3d(x, weight, stride=stride, padding=1)
        try:
            low_x, low_weight = (tensor.to(device, dtype, memory_format=layout) for tensor in (x, weight))
            result = F.conv3d(low_x, low_weight, stride=stride, padding=1).float().cpu()
        except RuntimeError:
            log.exception("convolution self-test in %s on %s", dtype, device)
            return False
        error = float((result - expected).norm() / expected.norm())
        if not error < MAX_CONVOLUTION_ERROR:
            return False
    return True
