"""``log.txt`` of a job: technical detail that can be passed on, because it names no file and no person of the input."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .folder import Job, JobFolder

# Request fields that never name a file or a person; everything else that is text is blotted out of the log.
TECHNICAL_FIELDS = ("sampler", "device", "precision")


@contextlib.contextmanager
def job_log(folder: JobFolder, job: Job) -> Iterator[logging.Logger]:
    """Send all that the package logs to the job's ``log.txt`` until the block ends; yields the logger of the job.

    Raises InputError or OSError where the file cannot be opened. A disk that fills up later costs lines of the log,
    not the job.
    """
    stream = os.fdopen(folder.open_log(), "a", encoding="utf-8", errors="backslashreplace")
    handler = _QuietHandler(stream)
    handler.setFormatter(_Formatter(job.id, Redactor([str(folder.path), *_texts(job.request)])))
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


class Redactor:
    """Replaces texts, and the folder and file names they are made of, by ``[input]``; case does not matter."""

    def __init__(self, texts: list[str]) -> None:
        pieces = set(texts)
        for text in texts:
            for part in re.split(r"[/\\]", text):
                pieces.update((part, part.split(".")[0], Path(part).stem))
        found = sorted((piece for piece in pieces if len(piece) > 2), key=len, reverse=True)
        patterns = [_pattern(piece) for piece in found]
        self._pattern = re.compile("|".join(patterns), re.IGNORECASE) if patterns else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub("[input]", text) if self._pattern else text


def _pattern(piece: str) -> str:
    # Short names also occur inside ordinary words, so they only count where no letter or digit touches them.
    escaped = re.escape(piece)
    return escaped if len(piece) >= 5 else rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"


def _texts(value: Any) -> list[str]:
    """All texts in JSON data but those of the TECHNICAL_FIELDS."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for key, item in value.items() if key not in TECHNICAL_FIELDS for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return []


class _Formatter(logging.Formatter):
    def __init__(self, job_id: str, redact: Redactor) -> None:
        super().__init__()
        self._job_id = job_id
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        message = self._redact(record.getMessage())
        head = f"{self.formatTime(record)} {record.levelname} {record.name} job {self._job_id}: {message}"
        error = record.exc_info[1] if record.exc_info else None
        return "\n".join([head, *self._error_lines(error)])

    def _error_lines(self, error: BaseException | None) -> list[str]:
        """Where an exception came from (modules, lines, functions: the program's own words) and its redacted text."""
        if error is None:
            return []
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"    {_module(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        return [*self._error_lines(cause), *places, f"  {type(error).__name__}: {self._redact(str(error))}"]


def _module(filename: str) -> str:
    """A source file's name without the folders of the user's computer."""
    return "/".join(Path(filename).parts[-3:])


class _QuietHandler(logging.StreamHandler):  # type: ignore[type-arg]
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A line that cannot be written is lost; the job goes on."""
