"""Runs of the command and what they leave, for the tests of synthesis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from medddpm import errors
from medddpm.errors import Cancelled
from medddpm.progress import Reporter, SilentReporter
from medddpm.synthesis.pipeline import run
from medddpm.synthesis.request import SynthesisRequest
from medddpm.synthesis.results import CaseResult

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


class Recorder(SilentReporter):
    """Keeps what it is told, and asks to stop after so many steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.stages: list[str] = []
        self.warnings: list[str] = []
        self._stop_after = stop_after

    def stage(self, name: str, message: str = "") -> None:
        self.stages.append(name)

    def step(self, done: int, total: int, preview: Any = None) -> None:
        self.steps.append((done, total))

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def check_cancelled(self) -> None:
        if self._stop_after is not None and len(self.steps) >= self._stop_after:
            raise Cancelled("enough")


def synthesize(
    masks: str | Path | Sequence[str | Path],
    out: str | Path,
    model: str | Path = "demo",
    reporter: Reporter | None = None,
    **options: Any,
) -> list[CaseResult]:
    """From files to files, as the command does; ``options``: fields of ``SynthesisRequest``, with paths as they are."""
    paths = [masks] if isinstance(masks, str | Path) else masks
    given = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    images = given.pop("images", ())
    given["images"] = tuple(str(path) for path in ([images] if isinstance(images, str | Path) else images))
    request = SynthesisRequest(masks=tuple(str(path) for path in paths), model=str(model), **given)
    return run(request, Path(out), reporter or SilentReporter())


def leftovers(folder: Path) -> list[Path]:
    """Files that an interrupted run has left."""
    return [p for p in folder.rglob("*") if p.name.startswith(".")]


def record(folder: Path) -> dict[str, Any]:
    """What the results in ``folder`` say of how they were made."""
    return json.loads((folder / "provenance.json").read_text())


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    line = [sys.executable, "-m", "medddpm.cli", *map(str, arguments)]
    return subprocess.Popen(
        line, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
    )


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The command in this process; returns its exit code."""
    from medddpm.cli.app import main

    monkeypatch.setattr(sys, "argv", ["medddpm", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)
