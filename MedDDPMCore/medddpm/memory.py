"""The memory of the process and of the machine: one slow default mended, and how much is left."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# mallopt parameters of glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_CGROUP_LIMIT, _CGROUP_USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def keep_freed_memory() -> bool:
    """Let glibc reuse freed tensors instead of giving their pages back to the kernel; True where it took effect.

    By default every large tensor is mapped anew and its pages are zeroed one fault at a time, which costs several times
    the arithmetic of an element-wise operation (``benchmarks/``). Only sensible in a process that does nothing but
    compute: the memory stays with the process until it ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library, such as musl
        return False
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))


def available_memory(device_type: str, index: int | None = None) -> float | None:
    """Bytes that can still be taken on "cpu", "cuda" or "mps"; None where it cannot be found out."""
    if device_type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(index or 0)
        return float(free)
    try:
        machine = _machine_available()
    except (OSError, ValueError):
        return None
    limit = _cgroup_available()
    return machine if limit is None else limit if machine is None else min(machine, limit)


def _machine_available() -> float | None:
    if sys.platform.startswith("linux"):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    if sys.platform == "win32":
        return _windows_available()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        # macOS gives pages back under pressure: half of the machine is a fair guess
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _windows_available() -> float | None:
    class MemoryStatus(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "free", "t_page", "f_page", "t_virt", "f_virt", "ext")
        ]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - the attribute exists on Windows only
    return float(status.free) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _cgroup_available() -> float | None:
    """What the container's limit leaves, None where there is no limit."""
    try:
        return float(_CGROUP_LIMIT.read_text()) - float(_CGROUP_USED.read_text())
    except (OSError, ValueError):  # no cgroup, or the limit is the word "max"
        return None
