"""Are the other processes of a training still alive? One that is lost must not leave the others waiting for ever.

Every process says once a second in a store of the first one that it is there. Of those on its own machine it also asks
the system, which knows of a killed one at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import TCPStore

from ..errors import MedDDPMError
from ..jobs.folder import JobFolder, State
from ..jobs.outcome import EXIT_INTERNAL, Outcome, outcome_of
from ..jobs.process import process_alive, process_token
from ..parse import printable

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
# A process on another machine that says nothing for so long is lost: its machine or the network between is down.
LOST_SECONDS = 60.0
# After that, time for the main thread to end by itself; torchrun kills after 30 seconds.
GRACE_SECONDS = 15.0
_STORE_PATIENCE = timedelta(seconds=20)


@dataclass(frozen=True)
class Member:
    """A process of the group."""

    rank: int
    host: str
    pid: int
    token: str | None

    @classmethod
    def here(cls, rank: int) -> Member:
        """This process."""
        return cls(rank, socket.gethostname(), os.getpid(), process_token(os.getpid()))


class Watch:
    """Looks after the other ``members`` from a thread until ``end``; ``lost`` is a sentence once one of them is gone.

    ``folder`` is the run folder.
    """

    def __init__(self, rank: int, members: list[Member], store: TCPStore, folder: Path) -> None:
        self.rank, self.members, self.folder = rank, members, folder
        self.lost: str | None = None
        self._store = store
        self._over = threading.Event()
        self._found = threading.Event()
        self._seen = {m.rank: (b"", time.monotonic()) for m in members}
        self._thread = threading.Thread(target=self._run, name="medddpm-watch", daemon=True)
        self._thread.start()

    @classmethod
    def begin(cls, rank: int, size: int, folder: Path) -> Watch:
        """Begin to watch; called by all processes at once, after their group has been set up."""
        members: list[Member] = [Member.here(rank)] * size
        torch.distributed.all_gather_object(members, members[rank])
        host = os.environ.get("MASTER_ADDR", members[0].host)
        port = [0]
        if rank == 0:
            store = TCPStore(host, 0, None, is_master=True, timeout=_STORE_PATIENCE, wait_for_workers=False)
            port = [store.port]
        torch.distributed.broadcast_object_list(port, src=0)
        if rank != 0:
            store = TCPStore(host, port[0], None, is_master=False, timeout=_STORE_PATIENCE)
        return cls(rank, members, store, folder)

    def say(self, sentence: str) -> None:
        """Leave word for the others why this process ends."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"said/{self.rank}", sentence)

    def find_lost(self, seconds: float) -> str | None:
        """Wait up to ``seconds`` for a process to be found lost; its sentence, None where all seem to be there."""
        self._found.wait(seconds)
        return self.lost

    def end(self) -> None:
        """Stop watching."""
        self._over.set()
        self._thread.join(timeout=2 * _STORE_PATIENCE.total_seconds())

    def _run(self) -> None:
        count = 0
        while not self._over.wait(BEAT_SECONDS if count else 0):
            count += 1
            member = self._first_lost(count)
            if member is None:
                continue
            self.lost = self._sentence(member)
            self._found.set()
            if not self._over.wait(GRACE_SECONDS):
                self._leave(self.lost)
            return

    def _first_lost(self, count: int) -> Member | None:
        try:
            self._store.set(f"beat/{self.rank}", str(count))
            return next((m for m in self.members if m.rank != self.rank and self._is_lost(m)), None)
        except RuntimeError:  # the store is gone, and with it the first process
            here = self.members[self.rank].host == self.members[0].host
            first = self.members[0]
            waited = time.monotonic() - self._seen[0][1]
            if self.rank and (waited > LOST_SECONDS or (here and not process_alive(first.pid, first.token))):
                return first
            return None

    def _is_lost(self, member: Member) -> bool:
        if member.host == self.members[self.rank].host:
            return not process_alive(member.pid, member.token)
        key = f"beat/{member.rank}"
        now = self._store.get(key) if self._store.check([key]) else b""
        before, since = self._seen[member.rank]
        if now != before:
            self._seen[member.rank] = (now, time.monotonic())
            return False
        return time.monotonic() - since > LOST_SECONDS

    def _sentence(self, member: Member) -> str:
        said = ""
        with contextlib.suppress(RuntimeError):
            key = f"said/{member.rank}"
            said = self._store.get(key).decode("utf-8", "replace") if self._store.check([key]) else ""
        place = f"Process {member.rank} of the {len(self.members)} of this training ({member.pid} on {member.host})"
        why = f" ended: {said}" if said else " was lost: it was killed, or its machine or network failed."
        return f"{place}{why} The last checkpoint is kept; start the training again to go on from it."

    def _leave(self, sentence: str) -> None:
        """End this process from here, since its main thread waits for what will not come."""
        logger.error("another process of this training was lost: leaving it")
        print(printable(f"Error: {sentence}"), file=sys.stderr, flush=True)
        folder = JobFolder(self.folder)
        if self.rank == 0 and folder.submitted:
            folder.finish(Outcome(State.FAILED, EXIT_INTERNAL, sentence))
        os._exit(EXIT_INTERNAL)


@contextlib.contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Do the work of the block under ``watch``; an error that comes of a lost process becomes MedDDPMError."""
    try:
        yield
        torch.distributed.barrier()  # the first process, which has the store, does not leave before the others
    except Exception as exc:
        of_others = isinstance(exc, RuntimeError) and _of_communication(exc)
        lost = watch.find_lost(LOST_SECONDS if of_others else 0)
        if of_others and lost is not None:
            raise MedDDPMError(lost) from exc
        watch.say(outcome_of(exc).message)
        raise
    finally:
        watch.end()


def _of_communication(error: RuntimeError) -> bool:
    """Whether the error is one of torch.distributed: gloo's have no type of their own."""
    words = ("gloo", "nccl", "connection", "peer", "socket")
    return isinstance(error, torch.distributed.DistError) or any(word in str(error).lower() for word in words)
