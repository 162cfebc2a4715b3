"""The reporter of the command line, on terminals and in files."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from medddpm.cli import train as _registers_the_command  # noqa: F401
from medddpm.cli.app import app
from medddpm.cli.console import ConsoleReporter
from medddpm.jobs.outcome import DONE
from medddpm.training.run import RunFolder
from rich.console import Console
from training_group import tiny_config
from typer.testing import CliRunner


def told(line_seconds: float, terminal: bool = False) -> str:
    out = io.StringIO()
    with ConsoleReporter(Console(file=out, force_terminal=terminal, width=100), line_seconds) as reporter:
        reporter.stage("train", "Training")
        for done in range(1, 4):
            reporter.step(done, 30_000)
    return out.getvalue()


def test_progress_in_a_file_is_lines_of_their_own() -> None:
    lines = told(0.0).splitlines()
    assert [line.split(" so far")[0] for line in lines[:3]] == [
        f"Training: {done} of 30,000 steps, 0:00:00" for done in (1, 2, 3)
    ]
    assert lines[2].endswith("left")


def test_the_time_left_is_that_of_the_work_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that has ended says nothing of the next one."""
    out, now = io.StringIO(), [0.0]
    with ConsoleReporter(Console(file=out, force_terminal=False, width=100), 0.0) as reporter:
        monkeypatch.setattr(reporter._progress, "get_time", lambda: now[0])
        for task in reporter._progress.tasks:
            monkeypatch.setattr(task, "_get_time", lambda: now[0])
        for stage in ("Looking", "Preparing"):
            reporter.stage(stage, stage)
            for done in range(1, 5):
                now[0] += 10
                reporter.step(done, 4)
    lines = [line for line in out.getvalue().splitlines() if line.startswith("Preparing: 3 of 4")]
    assert lines and lines[0].endswith(", 0:00:10 left"), lines


def test_lines_come_once_in_a_while_and_never_on_a_terminal() -> None:
    assert "Training: 1 of" not in told(60.0)
    assert "Training: 1 of" not in told(0.0, terminal=True)


@pytest.mark.parametrize(("rank", "said"), [(0, "It went well. The model is in"), (1, "")])
def test_only_the_first_process_of_a_group_tells_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, said: str
) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(tiny_config(tmp_path))
    run.begin()
    run.finish(replace(DONE, message="It went well."))
    for name, value in {"JOB_NAME": "train", "NTASKS": "2", "NNODES": "2", "PROCID": str(rank)}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    done = CliRunner().invoke(app, ["train", str(run.path)])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip().startswith(said) and bool(done.stdout.strip()) == bool(said)
