"""A file that says which living process owns something: a job that runs, a spool that is served."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import FREE_SPACE, InputError
from ..files import open_regular, read_bounded, write_text
from .process import process_alive, process_token

# An owner that has not touched its file for this long is taken for hung. It touches it every second.
STALE_SECONDS = 30.0
BEAT_SECONDS = 1.0
_MAX_BYTES = 4096


class Held(InputError):  # noqa: N818 - a state of affairs, told in a sentence
    """Another living process owns it."""


@dataclass(frozen=True)
class Owner:
    """A process: number, start token (see ``process_token``), machine, and which attempt at the work this is."""

    pid: int
    token: str | None
    host: str
    attempt: int = 1

    @classmethod
    def here(cls, attempt: int = 1) -> Owner:
        """This process."""
        return cls(os.getpid(), process_token(os.getpid()), socket.gethostname(), attempt)


class OwnerFile:
    """An ownership file: taken by one living process at a time, given up by deleting it, inherited from the dead.

    On this machine the owner's process is looked up; for an owner on another machine (a shared folder) only the age of
    its last touch can tell, so the clocks of the two should agree to within seconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Whether anyone, alive or dead, left a claim."""
        return os.path.lexists(self.path)

    def owner(self) -> Owner | None:
        """Who is written in the file; None where there is no file or it is not readable as one."""
        try:
            data = json.loads(read_bounded(self.path, _MAX_BYTES))
            owner = Owner(**data)
        except (OSError, ValueError, TypeError, RecursionError, InputError):
            return None
        numbers = type(owner.pid) is int and type(owner.attempt) is int
        good = numbers and isinstance(owner.host, str) and isinstance(owner.token, str | None)
        return owner if good else None

    def living_owner(self) -> Owner | None:
        """The owner if its process lives (even if it hangs)."""
        owner = self.owner()
        if owner is None:
            return None
        if owner.host == socket.gethostname():
            return owner if process_alive(owner.pid, owner.token) else None
        return owner if self.fresh() else None

    def fresh(self) -> bool:
        """Whether the owner touched the file within the last STALE_SECONDS."""
        try:
            return abs(time.time() - self.path.lstat().st_mtime) < STALE_SECONDS  # also not from a far future
        except OSError:
            return False

    def take(self, what: str) -> int:
        """Become the owner; returns the number of this attempt (1, or one more than that of an owner that died).

        Raises Held, naming ``what``, where the owner lives.
        """
        with _exclusive(self.path.with_name(f".{self.path.name}.guard")):
            living = self.living_owner()
            if living is not None:
                raise Held(f"{what} is in use by process {living.pid} on {living.host}. Wait for it or stop it.")
            former = self.owner()
            mine = Owner.here(former.attempt + 1 if former else 1)
            if self.path.is_symlink():
                self.path.unlink()
            write_text(self.path, json.dumps(asdict(mine)))
        return mine.attempt

    @contextlib.contextmanager
    def held(self, what: str) -> Iterator[None]:
        """Take it and touch it now and then until the block ends. Raises as ``take``."""
        self.take(what)
        try:
            with pulse(self.touch):
                yield
        finally:
            self.release()

    def touch(self) -> None:
        """Say that the owner is well. Needs no space on the disk."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Give it up."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:  # Windows: a reader has it open just now
            self.abandon()

    def abandon(self) -> None:
        """Leave a claim that belongs to nobody: the work ended and how could not be written down (a full disk)."""
        with contextlib.suppress(OSError, InputError):
            os.close(open_regular(self.path, os.O_WRONLY | os.O_TRUNC, links=False))


@contextlib.contextmanager
def pulse(action: Callable[[], None], seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Call ``action`` now and then every ``seconds`` from a thread, until the block ends. ``action`` must not raise."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(seconds):
            action()

    action()
    thread = threading.Thread(target=beat, name="medddpm-pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _exclusive(guard: Path) -> Iterator[None]:
    """Hold the system's lock on the file ``guard``, which is gone afterwards; the lock ends with the process."""
    while True:
        try:
            descriptor = open_regular(guard, os.O_RDWR | os.O_CREAT, links=False)
        except OSError as exc:
            sentence = f"{guard.parent} cannot be written: {exc.strerror or exc}. {FREE_SPACE}"
            raise InputError(sentence, path=guard.parent) from exc
        # Some network file systems have no such locks; the ownership file alone then has to do.
        with contextlib.suppress(OSError):
            _lock(descriptor)
        if _is_still(guard, descriptor):
            break
        os.close(descriptor)  # who held it before has deleted it
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows: it is open here, and perhaps elsewhere
            guard.unlink()
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)

else:

    def _lock(descriptor: int) -> None:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
