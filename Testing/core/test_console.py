"""The reporter of the command line, on terminals and in files."""

from __future__ import annotations

import io
import sys
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medddpm.cli.app import main
from medddpm.cli.commands import app
from medddpm.cli.console import ConsoleReporter, show_table
from medddpm.geometry.nifti import write_image
from medddpm.jobs.folder import State
from medddpm.jobs.outcome import Outcome
from medddpm.training.run import RunFolder
from rich.console import Console
from training_group import tiny_config
from typer.testing import CliRunner

# Sets the title and colors of a terminal, writes over a line and backwards; half of a pair is a name that is not UTF-8.
EVIL = "\x1b]0;x\x07\x9b31m\rError: x\nError: y\u202ez\udcff"
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with arguments: its exit code and all that it prints."""

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["medddpm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return command


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A folder with such a name, with a mask, a table of scans and a training that have one as well."""
    folder = tmp_path / f"f{EVIL}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    for name in ("a", "b"):
        write_image(folder / f"{name}{EVIL}_seg.nii.gz", np.zeros((9, 9, 9), np.uint8), np.eye(4), "")
    (folder / f"c{EVIL}_t1.nii.gz").write_bytes(b"")
    (folder / "t.csv").write_bytes(f'case,T1,mask\n"x{EVIL}",a.nii,b.nii\n'.encode(errors="replace"))
    RunFolder(folder / f"run{EVIL}").create(tiny_config(tmp_path))
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check", "{0}/a{1}_seg.nii.gz", "--model", "demo"], 2, "cannot be used"),
        (["check", "{0}/none", "--model", "demo"], 2, "does not exist"),
        (["check", "{0}", "{0}", "--model", "demo"], 2, "unexpected extra argument"),
        (["synth", "{0}/a{1}_seg.nii.gz", "{0}/b{1}_seg.nii.gz", "--out", "{0}/out", "--device", "cpu"], 2, "2 of 2"),
        (["synth", "{0}", "--model", "{0}", "--out", "{0}/out"], 2, "model"),
        (["prepare", "{0}", "--scan"], 2, "is not recognized"),
        (["prepare", "{0}/t.csv", "--scan"], 2, "no case"),
        (["runs", "{0}"], 0, "pending"),
        (["runs", "{0}/run{1}"], 0, "Training"),
        (["runs", "{0}/run{1}", "--stop"], 2, "is not running"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_names_give_the_terminal_no_commands(run: Run, evil: Path, arguments: list[str], code: int, words: str) -> None:
    ended, printed = run(*(part.format(evil, EVIL) for part in arguments))
    assert ended == code and words in printed, printed
    assert not [c for c in printed if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"], ascii(printed)
    assert "\nError: y" not in printed


LONG = "BraTS-GLI-00001-000-a-name-that-leaves-little-room-for-others"


@pytest.mark.parametrize("columns", [40, 60, 80, 1000])
def test_tables_never_break_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    verdict = "The validation loss falls, so let it run until it rises again."
    place = "/data/My Documents/x"
    show_table(("Name", "State", "Loss", "Verdict"), [(LONG, "running", "", verdict), ("b", "done", "", "")])
    show_table(("Name", "Grid", "Place"), [(LONG, "80 x 96 x 80 at 2 mm", place)])
    show_table(("", ""), [("Training", "b"), ("Model", f"/data/{LONG}/outputs/model")])
    show_table(("Name",), [])
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert place in printed and LONG in printed and f"/data/{LONG}/outputs/model" in printed and "Loss" not in printed
    assert all(len(line) <= columns or LONG in line for line in lines)
    assert [" ".join(printed.split()).count(word) for word in ("running", "done")] == [1, 1]
    assert (lines[0].split() == ["Name", "State", "Verdict"]) == (columns > 80)
    assert all(word in printed for word in verdict.split())


def told(line_seconds: float, terminal: bool = False) -> str:
    out = io.StringIO()
    with ConsoleReporter(Console(file=out, force_terminal=terminal, width=100), line_seconds) as reporter:
        reporter.stage("train", "Training")
        for done in range(1, 4):
            reporter.step(done, 30_000)
    return out.getvalue()


def test_progress_in_a_file_is_lines_of_their_own() -> None:
    lines = [line for line in told(0.0).splitlines() if line.startswith("Training")]
    assert [line.split(" so far")[0] for line in lines[:3]] == [
        f"Training: {done} of 30,000 steps, 0:00:00" for done in (1, 2, 3)
    ]
    assert lines[2].endswith("left")


def test_work_without_steps_is_not_silent() -> None:
    out = io.StringIO()
    with ConsoleReporter(Console(file=out, force_terminal=False, width=100), 0.0) as reporter:
        reporter.stage("load", "Loading")
        time.sleep(1.5)
    assert "Loading: 0:00:01 so far\n" in out.getvalue()


def test_work_that_begins_has_no_steps_of_the_one_before() -> None:
    out = io.StringIO()
    with ConsoleReporter(Console(file=out, force_terminal=False, width=100), 0.0) as reporter:
        reporter.stage("look", "Looking")
        reporter.step(4, 4)
        reporter.stage("write", "Writing")
        reporter._print_line()
    assert "Writing: 0:00:00 so far\n" in out.getvalue()


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
                now[0] += 1 if stage == "Looking" else 80 * (done % 2)  # by two workers, who end together
                reporter.step(done, 4)
    lines = [line.split(" so far, ")[1] for line in out.getvalue().splitlines() if line.startswith("Preparing: ")]
    assert list(dict.fromkeys(lines)) == [f"0:0{left} left" for left in ("4:00", "1:20", "0:53", "0:00")]


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
    run.finish(Outcome(State.DONE, 0, "It went well."))
    for name, value in {"JOB_NAME": "train", "NTASKS": "2", "NNODES": "2", "PROCID": str(rank)}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr("medddpm.cli.console.ConsoleReporter.__init__.__defaults__", (None, 0.0))
    done = CliRunner().invoke(app, ["train", str(run.path)])
    assert done.exit_code == 0, done.output
    assert bool(done.stderr) == bool(said), done.stderr
    assert done.stdout.strip().startswith(said) and bool(done.stdout.strip()) == bool(said)
