"""Independent pieces of work in several processes, which never outlive the one that wanted them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import TypeVar

import SimpleITK as sitk  # noqa: N813

from ..errors import MedDDPMError
from ..memory import available_memory, usable_cores
from ..progress import Reporter

# Registration and resampling of four volumes of 240^3 voxels, with the libraries of a process.
BYTES_A_WORKER = 2.5e9
MAX_AUTOMATIC = 16
LOOK_SECONDS = 0.2

Item = TypeVar("Item")
Result = TypeVar("Result")


def sensible_workers(items: int) -> int:
    """Processes for so many pieces of work: as many as processors and memory allow, 16 at most."""
    memory = available_memory("cpu")
    fitting = MAX_AUTOMATIC if memory is None else int(memory / BYTES_A_WORKER)
    return max(1, min(usable_cores(), fitting, items, MAX_AUTOMATIC))


def work_through(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, reporter: Reporter
) -> Generator[Result, None, None]:
    """The results of ``function`` for all items, as they come; with one worker in this process.

    ``function`` and items must be picklable: processes are started anew, as Windows, macOS and programs with windows of
    their own need it. Cancelling, and the end of the iteration, stop running work at once. Raises MedDDPMError where
    a process dies.
    """
    if workers <= 1 or len(items) <= 1:
        for item in items:
            reporter.check_cancelled()
            yield function(item)
        return
    with _pool(min(workers, len(items))) as executor:
        pending: set[Future[Result]] = {executor.submit(function, item) for item in items}
        while pending:
            done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            reporter.check_cancelled()
            try:
                results = [future.result() for future in done]
            except BrokenProcessPool as exc:
                raise MedDDPMError(
                    "A process that prepared cases was killed, most likely because memory ran out. What is finished "
                    "is kept. Run it again with fewer workers."
                ) from exc
            yield from results


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when the block does, and when this process does, however it ends."""
    context = multiprocessing.get_context("spawn")
    held, leash = context.Pipe(duplex=False)
    threads = max(1, sensible_workers(MAX_AUTOMATIC) // workers)
    executor = ProcessPoolExecutor(workers, context, _begin, (held, threads))
    try:
        yield executor
    finally:
        leash.close()
        executor.shutdown(wait=True, cancel_futures=True)
        held.close()


def _begin(leash: Connection, threads: int) -> None:
    """Set up a worker process: ends with its parent, leaves Ctrl-C to it, and shares the processors fairly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        leash.recv()  # nothing is ever sent: this returns when the other end is closed
    os._exit(0)
