"""``medddpm worker`` and ``medddpm job``: the warm worker, and one job folder without it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..jobs.folder import JobFolder
from ..jobs.handlers import default_handlers
from ..jobs.outcome import EXIT_SENTENCES
from ..jobs.runner import run_job
from ..jobs.stop import Stop
from ..jobs.worker import IDLE_SECONDS, Worker
from .console import say
from .root import app


@app.command("worker")
def worker_command(
    spool: Annotated[Path, typer.Argument(help="Folder that jobs are submitted to; created if it does not exist.")],
    idle_seconds: Annotated[float, typer.Option(help="Exit after this many seconds without a job.")] = IDLE_SECONDS,
    parent: Annotated[int | None, typer.Option(help="Exit when the process with this ID has ended.")] = None,
    resume: Annotated[bool, typer.Option(help="Rerun jobs that were interrupted when an earlier worker died.")] = True,
) -> None:
    """Run the jobs of a spool folder in order, keeping the model in memory between them."""
    worker = Worker(spool, default_handlers(), idle_seconds, parent_pid=parent, resume=resume)
    raise typer.Exit(worker.run())


@app.command("job")
def job_command(folder: Annotated[Path, typer.Argument(help="A job folder, with its job.json.")]) -> None:
    """Run one job folder here, without a worker; a job that is done already stays as it is."""
    job = JobFolder(folder)
    stop = Stop()
    with stop.on_signals():
        code = run_job(job, default_handlers(), stop)
    message = next((e.message for e in reversed(job.events()[0]) if e.message), None)
    say(message or EXIT_SENTENCES[code], error=code != 0)
    raise typer.Exit(code)
