"""``events.jsonl``: what a job tells the world, one JSON object a line, appended by the one process that runs it."""

from __future__ import annotations

import enum
import errno
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..files import open_regular

# No line written here is longer than MAX_LINE bytes: its five texts are cut to MAX_TEXT characters, and JSON needs at
# most 12 bytes for one.
MAX_LINE, MAX_TEXT = 64 * 1024, 1040


class State(enum.StrEnum):
    """Where a job is, from its first file to its end; the only such list, for workers, trainings and Slicer.

    A folder tells PENDING (no process has it yet), RUNNING, and the ends. Whoever waits for a job also knows PREPARING
    (its files are being written; there is no folder yet), CANCELLING (it was asked to end and has not yet) and
    IMPORTING (it is done, and its results are being taken).
    """

    PREPARING = "preparing"
    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    IMPORTING = "importing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # by the end of its process or of the program that wanted it; can run again
    PAUSED = "paused"  # of training runs only (medddpm.training.run)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in FINAL


FINAL = (State.DONE, State.FAILED, State.CANCELLED, State.INTERRUPTED, State.PAUSED)


@dataclass(frozen=True)
class Event:
    """One line. ``event`` is one of started, stage, step, preview, warning, queued, verdict (of training runs), or one
    of FINAL, which end a run.

    ``time`` is seconds since 1970; ``step`` of ``total`` are finished with about ``seconds_left`` to go (of this
    stage); ``path`` is that of a preview, relative to the job folder; ``message`` is a plain sentence. With FINAL come
    ``exit_code`` and, where there are such, ``option`` and ``path`` of the error (see ``MedDDPMError``).
    """

    event: str
    time: float = field(default_factory=time.time)
    stage: str | None = None
    step: int | None = None
    total: int | None = None
    seconds_left: float | None = None
    message: str | None = None
    path: str | None = None
    exit_code: int | None = None
    option: str | None = None

    def to_line(self) -> bytes:
        """The line, with its newline, in ASCII."""
        values = {key: _cut(value) for key, value in asdict(self).items() if value is not None}
        return json.dumps(values, allow_nan=False).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Event | None:
        """The event of a line; None for a line that is not one (the remains of a crash). Unknown fields are dropped."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(data, dict):
            return None
        known = {key: value for key, value in data.items() if key in _TYPES}
        if "event" not in known or "time" not in known or not all(_fits(k, v) for k, v in known.items()):
            return None
        return cls(**known)


_TYPES: dict[str, tuple[type, ...]] = {
    "event": (str,),
    "time": (int, float),
    "stage": (str,),
    "step": (int,),
    "total": (int,),
    "seconds_left": (int, float),
    "message": (str,),
    "path": (str,),
    "exit_code": (int,),
    "option": (str,),
}


def _fits(key: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, _TYPES[key]):
        return False
    return not isinstance(value, int | float) or abs(value) < 1e15  # false for NaN and infinity, too


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return value[: MAX_TEXT - 3] + "..."
    return value


def append_line(path: Path, line: bytes) -> None:
    """Add a line to a file in one piece. A line broken off by an earlier crash is closed first.

    Raises OSError where it cannot be written (a full disk), InputError where the file is a link.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, links=False)
    with os.fdopen(descriptor, "rb+", buffering=0) as stream:
        if stream.seek(0, os.SEEK_END) > 0:
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else b"\n" + line
        if stream.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))  # the disk took a part of the line


class EventLog:
    """The file ``events.jsonl`` of a job folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> None:
        """Write one line; see ``append_line``."""
        append_line(self.path, event.to_line())

    def read(self, offset: int = 0) -> tuple[list[Event], int]:
        """The events whole by now after byte ``offset``, and the offset for the next call.

        A last line without its newline stays for the next call. An ``offset`` past the end of the file (the job was
        made anew) starts over.
        """
        events: list[Event] = []
        try:
            descriptor = open_regular(self.path, os.O_RDONLY, links=False)
        except FileNotFoundError:
            return events, 0
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            if offset < 0 or offset > os.fstat(descriptor).st_size:
                offset = 0
            stream.seek(offset)
            while chunk := stream.read(MAX_LINE):
                # What fills a whole chunk without a newline is no event of ours: skip it instead of waiting forever.
                end = chunk.rfind(b"\n") + 1 or (len(chunk) if len(chunk) == MAX_LINE else 0)
                if end == 0:
                    break
                events += _parse(chunk[:end])
                offset += end
                stream.seek(offset)
        return events, offset

    def last(self) -> Event | None:
        """The newest whole event; None where there is none."""
        try:
            descriptor = open_regular(self.path, os.O_RDONLY, links=False)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            stream.seek(max(0, os.fstat(descriptor).st_size - 2 * MAX_LINE))
            tail = stream.read(2 * MAX_LINE)
        lines = reversed(tail[: tail.rfind(b"\n") + 1].split(b"\n"))
        return next((event for line in lines if line and (event := Event.from_line(line)) is not None), None)


def _parse(lines: bytes) -> list[Event]:
    return [event for line in lines.split(b"\n") if line and (event := Event.from_line(line)) is not None]
