"""``--workers``: the cases of a command shared among processes of this computer or jobs of SLURM, by submitit.

Each worker runs the same command line with its share (``--shard 3/64``: every 64th case, from the third on), and then
one runs it whole: it finds the cases done, and reports. So this process computes nothing, and results cannot depend on
where it runs. What a command leaves when it is stopped, it goes on from, so the share of a lost worker is run again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, MedDDPMError
from ..files import make_folder, read_tail
from ..jobs.owner import OwnerFile
from ..parse import printable
from ..progress import Reporter
from ..synthesis.request import Shard
from .console import ConsoleReporter

if TYPE_CHECKING:
    from submitit import Executor, Job

FOLDER = ".workers"
MOST = 10_000
ATTEMPTS = 3
MINUTES = 30 * 24 * 60  # that a worker may take; SLURM's own limits are set by SBATCH_TIMELIMIT
POLL_SECONDS = 0.5
TAIL_BYTES = 20_000

WorkersOption = Annotated[
    str,
    typer.Option(
        help="Share the cases among workers: 2 for two processes of this computer, slurm:64 for 64 jobs of SLURM. "
        "Needs the package submitit.",
        metavar="N|slurm:N",
        show_default="1, this process",
    ),
]
ShardOption = Annotated[str, typer.Option(hidden=True)]


def shard_of(text: str) -> Shard | None:
    """(2, 64) of "3/64": the cases [2::64] are those of this process; None where it is no worker.

    Raises InputError for anything else.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"The shard '{text}' is not understood. Write 3/64 for the third of 64.")
    return int(found[1]) - 1, int(found[2])


def given_to_workers(
    workers: str, shard: str, out: Path, settle: Callable[[Reporter], tuple[list[str], list[str]]] | None = None
) -> bool:
    """Run this command line by ``workers``, if there are any and it is not itself one's; False where there are none.

    ``settle``: makes of the command line its options, and its arguments apart, for workers to do less.

    Their job files and logs are in ``out``/.workers, which is deleted in the end. Raises InputError for words that are
    not understood and where submitit or SLURM is missing, MedDDPMError with the exit code of the command where it did
    not end well, Held where other workers are at work there, and Cancelled.
    """
    if shard or not workers:
        return False
    found = re.fullmatch(r"(slurm:)?(\d{1,5})", workers)
    if found is None or not 1 <= int(found[2]) <= MOST:
        raise InputError(f"The workers '{workers}' are not understood. Write 2 for two here, or slurm:64.")
    make_folder(out)
    folder = out / FOLDER
    with OwnerFile(out / f"{FOLDER}.json").held(f"The folder {out}"), ConsoleReporter() as reporter:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700)  # submitit runs what lies in it
        except OSError as exc:
            raise InputError(f"{folder} cannot be made ({exc.strerror}). Delete it, or choose another folder.") from exc
        line = (sys.argv[1:], []) if settle is None else settle(reporter)
        crew = _Crew(folder, int(found[2]), found[1] is not None, line, reporter)
        with crew.ended():
            crew.run()
        shutil.rmtree(folder, ignore_errors=True)
    return True


def work(arguments: list[str], log: Path) -> int:
    """Run the command in this process, with all that it says written to ``log``; returns its exit code."""
    from .app import main

    sys.argv[1:] = arguments
    with (
        log.open("a", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
    ):
        try:
            main()
        except SystemExit as exc:
            return exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    return 0


class _Crew:
    """The workers of one command."""

    def __init__(
        self, folder: Path, count: int, slurm: bool, line: tuple[list[str], list[str]], reporter: Reporter
    ) -> None:
        self._folder, self._count, self._slurm, self._line, self._reporter = folder, count, slurm, line, reporter
        self._executor = _executor(folder, slurm, count)
        self._jobs: dict[str, Job[int]] = {}
        self._attempts: dict[str, int] = {}

    def run(self) -> None:
        """All shares, and then the whole. Raises as ``given_to_workers``."""
        self._reporter.stage("workers", f"Working in {self._count} {'SLURM jobs' if self._slurm else 'processes'}")
        codes = self._finished([f"{i}/{self._count}" for i in range(1, self._count + 1)])
        poor = {shard: code for shard, code in codes.items() if code not in (0, InputError("").exit_code)}
        if poor:
            shard, code = next(iter(poor.items()))
            raise MedDDPMError(f"Worker {shard} could not do its share.\n{self._said(shard)}".rstrip(), code)
        self._reporter.stage("workers", "Putting the results together")
        code = self._finished(["1/1"])["1/1"]
        if code:
            raise MedDDPMError(self._said("1/1"), code)
        typer.echo(printable(self._said("1/1"), keep="\n"))

    def _finished(self, shards: list[str]) -> dict[str, int]:
        """The exit codes of shards, once all are done; those of lost workers are run again."""
        codes: dict[str, int] = {}
        self._submit(shards)
        while len(codes) < len(shards):
            self._reporter.check_cancelled()
            time.sleep(POLL_SECONDS)
            for shard in [shard for shard, job in self._jobs.items() if job.done()]:
                job = self._jobs.pop(shard)
                lost = job.exception()
                if lost is None:
                    codes[shard] = job.result()
                    self._reporter.step(len(codes), len(shards))
                    continue
                if self._attempts[shard] == ATTEMPTS:
                    raise MedDDPMError(
                        f"Worker {shard} was lost {ATTEMPTS} times (job {job.job_id}, {job.state}). See its log in "
                        f"{self._folder}.\n{self._said(shard)}".rstrip()
                    )
                self._reporter.warning(f"Worker {shard} was lost (job {job.job_id}, {job.state}). It starts again.")
                self._submit([shard])
        return codes

    def _submit(self, shards: list[str]) -> None:
        """As one array where there is SLURM."""
        lines = [[*self._line[0], "--shard", shard, *self._line[1]] for shard in shards]
        logs = [self._log(shard) for shard in shards]
        if self._slurm:
            jobs = self._executor.map_array(work, lines, logs)
        else:
            jobs = []
            for number, (line, log) in enumerate(zip(lines, logs, strict=True)):
                self._executor.update_parameters(**_gpu(number))
                jobs.append(self._executor.submit(work, line, log))
        for shard, job in zip(shards, jobs, strict=True):
            self._attempts[shard] = self._attempts.get(shard, 0) + 1
            self._jobs[shard] = job

    def _log(self, shard: str) -> Path:
        return self._folder / f"{shard.replace('/', '-of-')}.log"

    def _said(self, shard: str) -> str:
        """What a worker said, without its progress."""
        lines = read_tail(self._log(shard), TAIL_BYTES).splitlines()
        told = [line for line in lines if " so far" not in line]
        return "\n".join(told).strip().removeprefix("Error: ")

    @contextlib.contextmanager
    def ended(self) -> Any:
        """No worker outlives the block."""
        try:
            yield
        finally:
            for job in self._jobs.values():
                job.cancel(check=False)


def _executor(folder: Path, slurm: bool, count: int) -> Executor:
    try:
        from submitit import LocalExecutor, SlurmExecutor
    except ImportError as exc:
        raise InputError('Workers need the package submitit. Install it with: pip install "medddpm[cluster]"') from exc
    logging.getLogger("submitit").setLevel(logging.ERROR)  # it warns wherever SLURM keeps no accounts
    if not slurm:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
        local = LocalExecutor(folder)
        local.update_parameters(timeout_min=MINUTES)
        return local
    if not shutil.which("sbatch"):
        raise InputError("There is no SLURM on this computer (sbatch is not found). Give a number for workers here.")
    cluster = SlurmExecutor(folder)
    cluster.update_parameters(job_name="medddpm", time=24 * 60, array_parallelism=count)
    return cluster


def _gpu(number: int) -> dict[str, Any]:
    """Which of the computer's GPUs a worker gets; they take turns."""
    import torch

    count = torch.cuda.device_count()
    return {"gpus_per_node": 1, "visible_gpus": (number % count,)} if count else {}
