"""Memory and cores of the process and of the machine: one slow default mended, and how much there is."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# mallopt parameters of glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1
_CGROUP_ROOT, _CGROUP_OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# limit, use and the prefix in memory.stat of what includes groups below: version 2, version 1
_CGROUP_FILES = (
    ("memory.max", "memory.current", ""),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
)


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


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory(device_type: str, index: int | None = None) -> float | None:
    """Bytes that this process can have in all on "cpu", "cuda" or "mps"; None where it cannot be found out.

    What it holds already counts as well: a warm worker uses the memory of its last job again for the next.
    """
    if device_type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(index or 0)
        return float(free + torch.cuda.memory_reserved(index or 0))
    try:
        found = [bytes_ for bytes_ in (_machine_available(), _cgroup_available()) if bytes_ is not None]
    except (OSError, ValueError):
        return None
    return min(found) + resident_memory() if found else None


def resident_memory() -> float:
    """Bytes of memory that this process holds now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


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
    """What the limits of the container, batch job or session leave (Linux control groups); None without a limit."""
    try:
        entries = [line.split(":", 2) for line in _CGROUP_OF_PROCESS.read_text().splitlines()]
    except OSError:
        return None
    left = []
    for _, controllers, group in entries:
        if controllers in ("", "memory"):  # the one tree of version 2, and version 1's tree for memory
            root = _CGROUP_ROOT / controllers
            # A limit holds for everything below it, so the group of the process and all that contain it count.
            folder = root / group.lstrip("/")
            left += [_left_in_cgroup(f) for f in (folder, *folder.parents) if f.is_relative_to(root)]
    return min((bytes_ for bytes_ in left if bytes_ is not None), default=None)


def _left_in_cgroup(folder: Path) -> float | None:
    """Limit minus use; the cache of files does not count as used, since the kernel gives it up when need be."""
    names = [name for name in _CGROUP_FILES if (folder / name[0]).is_file()]
    try:
        limit, used = (float((folder / name).read_text()) for name in names[0][:2])
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cache = sum(float(statistics.get(f"{names[0][2]}{kind}_file", 0)) for kind in ("inactive", "active"))
    except (OSError, ValueError, IndexError):  # no such file, or the limit is the word "max"
        return None
    return max(0.0, limit - used + cache)
