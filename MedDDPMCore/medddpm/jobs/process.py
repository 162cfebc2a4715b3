"""Is a process still alive, and is it the same one as before? Portable, without any package."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

# Windows: access rights, result codes and errors of kernel32 (Microsoft's documentation of OpenProcess).
_QUERY_LIMITED, _SYNCHRONIZE, _STILL_RUNNING, _ACCESS_DENIED = 0x1000, 0x100000, 0x102, 5


def process_alive(pid: int, token: str | None = None) -> bool:
    """Whether process ``pid`` lives on this machine and, where ``token`` is given, is the one that had this token.

    A process that has ended but was not yet collected by its parent (a zombie) is not alive.
    """
    if pid <= 0:
        return False
    alive, now = _probe(pid)
    return alive and (token is None or now is None or token == now)


def process_token(pid: int) -> str | None:
    """Opaque text that differs between two processes that had the same number; None where the system gives none."""
    return _probe(pid)[1]


class Parent:
    """The process for which a worker was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._token = process_token(pid)
        self._direct = os.getppid() == pid

    def gone(self) -> bool:
        """Whether it has ended. Where it started us directly, POSIX hands us to another parent at once: no waiting."""
        if self._direct and os.getppid() != self.pid:
            return True
        return not process_alive(self.pid, self._token)


if sys.platform == "win32":

    def _probe(pid: int) -> tuple[bool, str | None]:
        import ctypes
        from ctypes import wintypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = wintypes.HANDLE
        kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        kernel.WaitForSingleObject.argtypes = (wintypes.HANDLE, wintypes.DWORD)
        kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
        handle = kernel.OpenProcess(_QUERY_LIMITED | _SYNCHRONIZE, False, pid)
        if not handle:
            return ctypes.get_last_error() == _ACCESS_DENIED, None
        try:
            created, *others = (wintypes.FILETIME() for _ in range(4))
            kernel.GetProcessTimes.argtypes = (wintypes.HANDLE, *[ctypes.POINTER(wintypes.FILETIME)] * 4)
            known = kernel.GetProcessTimes(handle, ctypes.byref(created), *map(ctypes.byref, others))
            token = f"{created.dwHighDateTime:08x}{created.dwLowDateTime:08x}" if known else None
            return kernel.WaitForSingleObject(handle, 0) == _STILL_RUNNING, token
        finally:
            kernel.CloseHandle(handle)

else:

    def _probe(pid: int) -> tuple[bool, str | None]:
        try:
            with contextlib.suppress(PermissionError):  # it lives, and belongs to someone else
                os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False, None
        return _from_proc(pid) if sys.platform == "linux" else (True, None)


def _from_proc(pid: int) -> tuple[bool, str | None]:
    """Linux: state and start time (clock ticks since boot) of ``/proc/<pid>/stat``, after the name in parentheses."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return Path(f"/proc/{pid}").exists() or not Path("/proc/self").exists(), None
    fields = text.rpartition(")")[2].split()
    return fields[0] not in "ZX", f"{boot}:{fields[19]}"
