"""``metrics.jsonl`` of a training run: the figures of its course, one JSON object a line. Imports no torch.

Every line has ``kind``, ``iteration`` (finished iterations) and ``time`` (seconds since 1970):

==============  ==================================================================================
``train``       loss, lr, seconds_per_iteration
``validation``  loss, bands: [{low, high, loss}, ...] by noise level
``quality``     case, ms_ssim, psnr, l1, nearest_training: {case, ms_ssim}
``verdict``     verdict (improving, flat, diverging, overfitting, memorizing, early), sentence
``resumed``     the run went on from this iteration: what is later than it above this line is void
==============  ==================================================================================

The file only grows, so readers keep an offset. A process that was killed leaves lines of iterations that the next one
does again; ``valid`` takes them out.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import open_regular
from ..jobs.events import MAX_LINE, append_line

NAME = "metrics.jsonl"
RESUMED = "resumed"
MAX_READ = 32 * 1024 * 1024
# Enough for the newest figures of every kind.
TAIL_BYTES = 256 * 1024

Metric = dict[str, Any]


class MetricsLog:
    """The file ``metrics.jsonl`` of a run folder; creating the object touches nothing on the disk."""

    def __init__(self, run: str | os.PathLike[str]) -> None:
        self.path = Path(run) / NAME

    def append(self, kind: str, iteration: int, **values: Any) -> None:
        """Write one line in one piece, for the one process that writes; figures that are not finite become null.

        Raises OSError where it cannot be written (a full disk), InputError where the file is a link.
        """
        metric = {"kind": kind, "iteration": int(iteration), **values, "time": time.time()}
        append_line(self.path, json.dumps(_plain(metric), allow_nan=False).encode("ascii") + b"\n")

    def read(self, offset: int = 0, limit: int = MAX_READ) -> tuple[list[Metric], int]:
        """The metrics whole by now after byte ``offset`` (0 at first), and the offset for the next call.

        A last line without its newline stays for the next call, and so does what is beyond ``limit`` bytes (at least
        MAX_LINE); what is no metric is left out. An ``offset`` past the end of the file starts over. Never raises.
        """
        lines, offset = self._lines(offset, max(limit, MAX_LINE))
        return [metric for line in lines if (metric := _metric(line)) is not None], offset

    def tail(self, reach: int = TAIL_BYTES) -> list[Metric]:
        """The metrics within the last ``reach`` bytes. Never raises."""
        return list(self.newest_first(reach))[::-1]

    def newest_first(self, reach: int = TAIL_BYTES) -> Iterator[Metric]:
        """The metrics of the tail from the last one on; each is parsed when it is asked for. Never raises."""
        size = self.path.lstat().st_size if os.path.lexists(self.path) else 0
        lines = self._lines(max(0, size - reach), MAX_READ)[0]
        return (metric for line in reversed(lines) if (metric := _metric(line)) is not None)

    def _lines(self, offset: int, limit: int) -> tuple[list[bytes], int]:
        try:
            descriptor = open_regular(self.path, os.O_RDONLY, links=False)
        except (OSError, InputError):
            return [], 0
        with os.fdopen(descriptor, "rb") as stream:
            if offset < 0 or offset > os.fstat(descriptor).st_size:
                offset = 0
            stream.seek(offset)
            data = stream.read(limit)
        # What fills all of it without a newline is no line of ours: skip it instead of waiting forever.
        end = data.rfind(b"\n") + 1 or (len(data) if len(data) == limit else 0)
        return data[:end].split(b"\n"), offset + end

    def latest(self, kinds: Iterable[str]) -> dict[str, Metric]:
        """The newest valid metric of each kind in the tail (see ``valid``). Never raises."""
        wanted, found, reached = set(kinds), dict[str, Metric](), math.inf
        for metric in self.newest_first():
            if metric["kind"] == RESUMED:
                reached = min(reached, metric["iteration"])
            elif metric["kind"] in wanted and metric["iteration"] <= reached:
                found.setdefault(metric["kind"], metric)
            if len(found) == len(wanted):
                break
        return found


def valid(metrics: Iterable[Metric]) -> list[Metric]:
    """The metrics without those that a killed run did again when it was resumed, and without the ``resumed`` lines."""
    kept: list[Metric] = []
    for metric in metrics:
        if metric["kind"] == RESUMED:
            kept = [earlier for earlier in kept if earlier["iteration"] <= metric["iteration"]]
        else:
            kept.append(metric)
    return kept


def number(metric: Mapping[str, Any] | None, name: str) -> float | None:
    """A figure of a metric; None where there is none, or no number."""
    value = None if metric is None else metric.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None  # the comparison is false for NaN, too


def _metric(line: bytes) -> Metric | None:
    """The metric of a line; None for one that is not (the remains of a crash)."""
    try:
        data = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return None
    good = isinstance(data, dict) and isinstance(data.get("kind"), str) and type(data.get("iteration")) is int
    return data if good else None


def _plain(value: Any) -> Any:
    """JSON data: numbers of numpy and torch become Python's, those that are not finite None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    figure = float(value)
    return figure if math.isfinite(figure) else None
