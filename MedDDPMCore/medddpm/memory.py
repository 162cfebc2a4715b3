"""Settings of the process that torch leaves at slow defaults on the CPU."""

from __future__ import annotations

import ctypes
import sys

# mallopt parameters of glibc's <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_LARGEST = 2**31 - 1


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
