"""A job as a folder: all that is needed to run, watch, cancel, resume, report or move it.

========================  =============================================================================
``job.json``              the request: format_version, id, kind, created (seconds since 1970), request
``events.jsonl``          what happens, one JSON object a line (``medddpm.jobs.events``)
``cancel``                its presence asks to stop; removed by the run that honored it
``claim.json``            the process that runs the job; there only while it does, or when it died
``log.txt``               technical detail, without paths or names of the input
``outputs/``              results, each under its final name only when whole
``preview-*.npy``         live pictures of the running job (``medddpm.jobs.preview``)
========================  =============================================================================

This module imports neither torch nor numpy: the process of a GUI can use it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FREE_SPACE, InputError
from ..files import open_regular, read_bounded, read_tail, write_text
from .events import FINAL, Event, EventLog, State
from .outcome import Outcome
from .owner import OwnerFile

FORMAT_VERSION = 1
MAX_JOB_BYTES = 4 * 1024 * 1024
TAIL_BYTES = 64_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Job:
    """The contents of ``job.json``. ``kind`` names the handler; ``request`` is what that handler reads."""

    id: str
    kind: str
    created: float
    request: dict[str, Any]
    format_version: int = FORMAT_VERSION


class JobFolder:
    """One job folder; creating the object touches nothing on the disk.

    ``noun`` is what people call its work. After ``most_attempts`` that took their process down (out of memory, a
    crashing driver) it is not tried again by itself.
    """

    noun = "job"
    most_attempts = 3

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.log_path = self.path / "log.txt"
        self.outputs = self.path / "outputs"
        self.claim = OwnerFile(self.path / "claim.json")
        self._job_path = self.path / "job.json"
        self._cancel_path = self.path / "cancel"
        self._log = EventLog(self.path / "events.jsonl")

    def create(self, request: dict[str, Any], kind: str = "synthesis") -> Job:
        """Make the folder (private to the user) with its ``job.json``, written whole.

        Raises InputError where the folder exists, cannot be made, or the request is not plain JSON data.
        """
        job = Job(uuid.uuid4().hex[:12], kind, time.time(), request)
        text = _to_json(job)
        _check(json.loads(text), str(self._job_path))
        try:
            self.path.mkdir(mode=0o700, parents=True)
        except OSError as exc:
            raise InputError(
                f"The job folder {self.path} cannot be made: {exc.strerror}. {FREE_SPACE}", path=self.path
            ) from exc
        write_text(self._job_path, text)
        return job

    def read(self) -> Job:
        """The job, checked: of bounded size, plain JSON, with all fields, of the right types, and no others.

        Raises InputError with a sentence that names the file and what is wrong.
        """
        try:
            data = json.loads(read_bounded(self._job_path, MAX_JOB_BYTES).decode("utf-8"), parse_constant=_no_constant)
        except OSError as exc:
            raise InputError(f"{self._job_path} cannot be read: {exc.strerror}. Submit the job again.") from exc
        except (ValueError, RecursionError) as exc:
            raise InputError(f"{self._job_path} is not valid JSON ({exc}). Submit the job again.") from exc
        return _check(data, str(self._job_path))

    @property
    def submitted(self) -> bool:
        """Whether there is a ``job.json``, good or bad."""
        return os.path.lexists(self._job_path)

    def state(self) -> State:
        """The state of the job, from its folder alone."""
        last = self._last_event()
        if last is not None and last.event in FINAL:
            return State(last.event)
        if not self.claim.exists():
            return State.PENDING
        alive = self.claim.living_owner() is not None and self.claim.fresh()
        return State.RUNNING if alive else State.INTERRUPTED

    def append(self, event: Event) -> None:
        """Add a line to ``events.jsonl``; for the process that runs the job. Raises OSError on a full disk."""
        self._log.append(event)

    def events(self, after_offset: int = 0) -> tuple[list[Event], int]:
        """The events after a byte offset (0 at first) and the offset for the next call; see ``EventLog.read``."""
        return self._log.read(after_offset)

    def request_cancel(self) -> None:
        """Ask the job to stop; it does at its next step, or does not begin. Raises InputError on a full disk."""
        write_text(self._cancel_path, "")

    def withdraw_cancel(self) -> None:
        """Take back a request to stop; also done by the run that honored it."""
        with contextlib.suppress(OSError):
            self._cancel_path.unlink(missing_ok=True)

    @property
    def cancel_requested(self) -> bool:
        """Whether someone asked the job to stop, or deleted it. Costs microseconds."""
        return os.path.lexists(self._cancel_path) or not os.path.lexists(self.path)

    def inside(self, name: str) -> Path:
        """The path of ``name`` (as an event gives it: relative, with forward slashes) in this folder.

        Raises InputError for a name that would lead out of the folder: absolute, with "..", or through a link.
        """
        return _descend(self.path, name)

    def output(self, name: str) -> Path:
        """The path of a result ``name`` in ``outputs/``, checked like ``inside``; write it with ``atomic_path``."""
        return _descend(self.inside("outputs"), name)

    def begin(self) -> int:
        """Claim the job for this process; returns the number of the attempt (more than 1 after a run that died).

        Raises ``owner.Held`` where another process runs it, and InputError where the folder cannot be written.
        """
        attempt = self.claim.take(f"The {self.noun} {self.path}")
        try:
            self.append(Event("started"))
        except OSError as exc:
            self.claim.abandon()
            raise InputError(f"{self.path} cannot be written: {exc.strerror}. {FREE_SPACE}", path=self.path) from exc
        except InputError:
            self.claim.abandon()
            raise
        return attempt

    def prepare(self) -> None:
        """Make ``outputs/`` and delete what a run that died left half-written; for the process that began the job.

        Raises InputError where a link lies there, through which results would get out of the folder.
        """
        self.inside("outputs").mkdir(mode=0o700, exist_ok=True)
        self._remove_previews()
        self.tidy(self.outputs)

    def tidy(self, folder: Path) -> None:
        """Delete the half-written files below ``folder``. Raises InputError for a link there."""
        for parent, folders, names in os.walk(folder, followlinks=False):
            for path in (Path(parent) / name for name in (*folders, *names)):
                if path.is_symlink():
                    raise InputError(f"{path} is a link, which is not accepted in a job folder. Remove it.")
                if path.name.startswith(".part-"):  # the temporary names of atomic_path
                    path.unlink(missing_ok=True)

    def finish(self, outcome: Outcome) -> None:
        """Write down how the run ended and give up the claim.

        Where even that line does not fit on the disk, the claim stays without an owner: the job is interrupted.
        """
        self._remove_previews()  # first: it makes room
        try:
            end = Event(outcome.event, message=outcome.message, exit_code=outcome.exit_code)
            self.append(replace(end, option=outcome.option or None, path=outcome.path or None))
        except (OSError, InputError):
            self.claim.abandon()
            return
        if outcome.event is State.CANCELLED:
            self.withdraw_cancel()
        self.claim.release()

    def _last_event(self) -> Event | None:
        with contextlib.suppress(OSError, InputError):
            return self._log.last()
        return None

    def _remove_previews(self) -> None:
        for path in [*self.path.glob("preview-*.npy"), *self.path.glob(".part-*-preview-*.npy")]:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def forget_preview(self, name: str) -> None:
        """Delete an old preview; a reader that holds it open (Windows) keeps it for now."""
        with contextlib.suppress(OSError):
            self.inside(name).unlink(missing_ok=True)

    def log_tail(self) -> str:
        """The last part of the technical log; empty where there is none or it cannot be read."""
        return read_tail(self.log_path, TAIL_BYTES)

    def open_log(self) -> int:
        """A descriptor for appending to ``log.txt``. Raises InputError where it is a link, OSError on other trouble."""
        return open_regular(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, links=False)


def _descend(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or any(character in name for character in "\\:\0"):
        raise InputError(f"The file name {name!r} leads out of the job folder {folder}; it is not accepted.")
    for part in parts:
        folder = folder / part
        if folder.is_symlink():
            raise InputError(f"{folder} is a link, which is not accepted in a job folder. Remove it.")
    return folder


def _to_json(job: Job) -> str:
    try:
        # ASCII: file names that are not valid Unicode travel as escapes.
        text = json.dumps(asdict(job), allow_nan=False, indent=1)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InputError(f"The request of the job is not plain JSON data: {exc}. Use texts, numbers, lists.") from exc
    if len(text) > MAX_JOB_BYTES:
        raise InputError(f"The request of the job has {len(text)} bytes; {MAX_JOB_BYTES} are allowed. Split the job.")
    return text


def _no_constant(text: str) -> None:
    raise ValueError(f"it holds {text}")


def _check(data: Any, where: str) -> Job:
    if not isinstance(data, dict):
        raise InputError(f"{where} must hold an object with named fields, not {type(data).__name__}.")
    names = Job.__dataclass_fields__.keys()
    for name in sorted(data.keys() - names):
        raise InputError(f"{where} has the unknown field '{name[:40]}'; it was perhaps written by a newer version.")
    for name in names - data.keys():
        raise InputError(f"{where} lacks the field '{name}'. Submit the job again.")
    job = Job(**data)
    _require(type(job.format_version) is int and job.format_version == FORMAT_VERSION, where, "format_version", job)
    _require(isinstance(job.id, str) and _NAME.fullmatch(job.id) is not None, where, "id", job)
    _require(isinstance(job.kind, str) and _NAME.fullmatch(job.kind) is not None, where, "kind", job)
    good = type(job.created) in (int, float) and 0 <= job.created < 1e12
    _require(good, where, "created", job)
    _require(isinstance(job.request, dict), where, "request", job)
    return job


def _require(good: bool, where: str, name: str, job: Job) -> None:
    if not good:
        value = repr(getattr(job, name))[:60]
        raise InputError(f"{where} has {name} = {value}, which is not allowed. Submit the job again.")
