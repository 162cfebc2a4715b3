"""``log.txt`` of a job: technical detail that can be passed on, because it names no file and no person of the input."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MedDDPMError
from ..parse import printable

if TYPE_CHECKING:
    from .folder import Job, JobFolder

# What of the text of an error that is not ours may be a name: what is in quotes, and words of paths and files.
_NAMES = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|\S*[/\\]\S*|\S+\.[A-Za-z]\S*""")


@contextlib.contextmanager
def job_log(folder: JobFolder, job: Job) -> Iterator[logging.Logger]:
    """Send all that the package logs to the job's ``log.txt`` until the block ends; yields the logger of the job.

    Raises InputError or OSError where the file cannot be opened. A disk that fills up later costs lines of the log,
    not the job.
    """
    stream = os.fdopen(folder.open_log(), "a", encoding="utf-8", errors="backslashreplace")
    handler = _QuietHandler(stream)
    handler.setFormatter(_Formatter(job.id))
    package = logging.getLogger("medddpm")
    level = package.level
    package.addHandler(handler)
    package.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield package.getChild("jobs")
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        with contextlib.suppress(OSError):
            stream.close()


def log_to_terminal(level: int = logging.NOTSET) -> None:
    """Show what is logged from ``level`` on (all that loggers pass on), without what a terminal would obey."""
    terminal = logging.StreamHandler()
    terminal.setLevel(level)  # of the handler, not of the root logger: a job lets its own log have more
    terminal.setFormatter(_TerminalFormatter("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level or logging.WARNING, handlers=[terminal])


class _TerminalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


class _Formatter(logging.Formatter):
    """Writes the words of the program itself and numbers: a text that is filled into them may be anybody's name."""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self._job_id = job_id

    def format(self, record: logging.LogRecord) -> str:
        given = record.args if isinstance(record.args, tuple) else ()
        message = record.msg % tuple("[text]" if isinstance(value, str | os.PathLike) else value for value in given)
        head = f"{self.formatTime(record)} {record.levelname} {record.name} job {self._job_id}: {message}"
        error = record.exc_info[1] if record.exc_info else None
        return "\n".join([head, *_error_lines(error)])


def _error_lines(error: BaseException | None) -> list[str]:
    """Where an exception came from (modules, lines, functions) and its kind; its text where that is technical."""
    if error is None:
        return []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"    {_module(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
    told = isinstance(error, MedDDPMError)  # to the user, with the names of files: see the events of the job
    text = "" if told else error.strerror if isinstance(error, OSError) else _NAMES.sub("[text]", str(error))
    return [*_error_lines(cause), *places, f"  {type(error).__name__}: {text or ''}".rstrip(": ")]


def _module(filename: str) -> str:
    """A source file's name without the folders of the user's computer."""
    return "/".join(Path(filename).parts[-3:])


class _QuietHandler(logging.StreamHandler):  # type: ignore[type-arg]
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A line that cannot be written is lost; the job goes on."""
