"""Trainings as processes: detached, paused, killed, continued; and a continued one equals the uninterrupted one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from medddpm import load_model
from medddpm.errors import InputError
from medddpm.jobs.events import Event
from medddpm.jobs.folder import State
from medddpm.jobs.owner import Held
from medddpm.jobs.process import process_alive
from medddpm.jobs.stop import Stop
from medddpm.progress import SilentReporter
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import AugmentConfig, CheckpointConfig, TrainConfig
from medddpm.training.launch import child_environment, start, start_and_wait
from medddpm.training.run import RunFolder
from medddpm.training.runner import EXIT_REQUEUE, run_training
from patience import patient
from safetensors.torch import load_file, save_file
from training_runs import make_dataset, tensors, tiny_config

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
LONG = 100_000


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("training") / "dataset", cases=5)


def new_run(path: Path, config: TrainConfig) -> RunFolder:
    run = RunFolder(path)
    run.create(config)
    return run


def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    limit = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.02)


def trained(run: RunFolder) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoints(run.checkpoints).load_newest()
    assert checkpoint is not None
    return tensors({name: checkpoint[name] for name in ("network", "average", "optimizer", "random")})


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# The same in pieces


EVERYTHING = AugmentConfig(shift_voxels=1, affine=0.5, elastic=0.5, intensity=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulate": 2, "batch_size": 2},
        {"augment": EVERYTHING},
        {"mask_dropout": 0.3, "precision": "bf16", "activation_checkpointing": True},
    ],
    ids=["plain", "accumulation", "augmentation", "mask dropout, bf16, activation checkpointing"],
)
def test_a_run_in_pieces_equals_the_uninterrupted_one_bit_for_bit(
    dataset: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = tiny_config(dataset, iterations=5, checkpoint=CheckpointConfig(every=2), **changes)
    whole = new_run(tmp_path / "whole", config)
    assert run_training(whole, Stop()) == 0
    parts = new_run(tmp_path / "parts", config)
    for last in (1, 4):  # paused between two checkpoints, then at one
        assert run_training(parts, Stop(), console=PauseAt(parts, last)) == 3
        assert parts.state() is State.PAUSED
        assert parts.summary().iteration == last
    assert run_training(parts, Stop()) == 0
    assert same(trained(whole), trained(parts))
    weights = (whole.model / "model.safetensors").read_bytes()
    assert weights == (parts.model / "model.safetensors").read_bytes()


class PauseAt(SilentReporter):
    """Pauses the run as a user does who watches it, when it has done so many iterations."""

    def __init__(self, run: RunFolder, iterations: int) -> None:
        self._run, self._iterations = run, iterations

    def step(self, done: int, total: int, preview: object = None) -> None:
        if done == self._iterations:
            self._run.request_pause()


def test_a_finished_run_goes_on_with_more_iterations(dataset: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", tiny_config(dataset, iterations=3))
    assert run_training(run, Stop()) == 0
    run.extend(5)
    assert run_training(run, Stop()) == 0
    assert load_model(run.model).config.training["iterations"] == 5
    whole = new_run(tmp_path / "whole", tiny_config(dataset, iterations=5))
    assert run_training(whole, Stop()) == 0
    assert same(trained(whole), trained(run))


def test_a_kill_between_the_last_checkpoint_and_the_model_costs_no_model(dataset: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", tiny_config(dataset, iterations=2))
    assert run_training(run, Stop()) == 0
    before = (run.model / "model.safetensors").read_bytes()
    shutil.rmtree(run.model)
    run.append(Event("started"))
    assert run_training(run, Stop()) == 0
    assert (run.model / "model.safetensors").read_bytes() == before


def test_another_dataset_or_configuration_fails_with_the_field_and_both_values(dataset: Path, tmp_path: Path) -> None:
    config = tiny_config(dataset, iterations=1)
    run = new_run(tmp_path / "run", config)
    run_training(run, Stop())
    other = make_dataset(tmp_path / "other", cases=6)
    for name, changed, words in (
        ("a", replace(config, seed=9, iterations=3), "started with seed = 0, the configuration now says 9"),
        ("b", replace(config, dataset=str(other), iterations=3), "case 'case3' was 'validation', and is 'train' in"),
    ):
        new_run(tmp_path / name, changed)
        (tmp_path / name / "job.json").replace(run.path / "job.json")
        run.append(Event("queued"))
        assert run_training(run, Stop()) == 2
        assert words in (run.summary().message or "")
    assert Checkpoints(run.checkpoints).steps() == [1]


def test_a_loss_that_is_not_finite_fails_with_a_sentence_and_keeps_the_checkpoint(
    dataset: Path, tmp_path: Path
) -> None:
    broken = make_dataset(tmp_path / "broken", cases=5)
    for i in range(3):
        case = broken / "cases" / f"case{i}.safetensors"
        content = load_file(case)
        content["images"][:] = float("nan")
        save_file(content, case)
    run = new_run(tmp_path / "run", tiny_config(broken))
    assert run_training(run, Stop()) == 5
    assert run.state() is State.FAILED
    assert "The loss became nan at iteration 1" in (run.summary().message or "")


# Processes


@POSIX
@pytest.mark.slow
def test_a_detached_run_survives_its_parent_is_paused_and_goes_on_after_a_kill(dataset: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "a run", tiny_config(dataset, iterations=LONG))
    code = (
        "import sys, time; from medddpm.training.launch import start; from medddpm.training.run import RunFolder;"
        "print(start(RunFolder(sys.argv[1])), flush=True); time.sleep(600)"
    )
    environment = child_environment(os.environ)
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until(lambda: run.summary().iteration >= 3)
    assert run.state() is State.RUNNING
    assert os.getsid(pid) == pid
    with pytest.raises(Held, match=f"process {pid} on"):
        start(run)

    run.request_pause()
    until(lambda: run.state() is State.PAUSED)
    until(lambda: not process_alive(pid))
    done = run.summary().iteration
    assert Checkpoints(run.checkpoints).steps()[-1] == done
    assert "paused" in run.process_log()

    pid = start_and_wait(run)
    until(lambda: run.summary().iteration >= done + 7)
    os.kill(pid, signal.SIGKILL)
    until(lambda: run.state() is State.INTERRUPTED)
    reached = run.summary().iteration
    last = Checkpoints(run.checkpoints).steps()[-1]
    assert reached - last <= 5 + 1  # checkpoint.every; the last one may just have been about to be written

    total = last + 2
    _shorten(run, total)
    assert run_training(run, Stop()) == 0
    whole = new_run(tmp_path / "whole", tiny_config(dataset, iterations=total))
    assert run_training(whole, Stop()) == 0
    assert same(trained(whole), trained(run))


def _shorten(run: RunFolder, iterations: int) -> None:
    """To fewer iterations than were seen, which ``extend`` refuses: what the killed process did is lost."""
    text = (run.path / "job.json").read_text()
    (run.path / "job.json").write_text(text.replace(f'"iterations": {LONG}', f'"iterations": {iterations}'))


@POSIX
@pytest.mark.slow
def test_of_two_that_start_at_once_one_trains_and_tells_a_cluster_to_queue_it_again(
    dataset: Path, tmp_path: Path
) -> None:
    run = new_run(tmp_path / "run", tiny_config(dataset, iterations=LONG))
    command = [sys.executable, "-m", "medddpm.training", str(run.path)]
    environment = child_environment(os.environ)
    two = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    until(lambda: run.summary().iteration >= 2)
    [trains], [left] = ([p for p in two if (p.poll() is None) == alive] for alive in (True, False))
    trains.send_signal(signal.SIGUSR1)
    trains.communicate(timeout=patient(30))
    assert trains.returncode == EXIT_REQUEUE
    assert f"in use by process {trains.pid}" in left.communicate()[1]
    assert left.returncode == 2
    assert run.state() is State.PAUSED
    assert Checkpoints(run.checkpoints).steps()[-1] == run.summary().iteration
    assert [event.event for event in run.events()[0]].count("started") == 1


def test_a_run_that_is_done_is_not_started(dataset: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", tiny_config(dataset))
    run.append(Event("done"))
    with pytest.raises(InputError, match=r"is done\. To continue it, give it more iterations"):
        start(run)


def test_a_process_that_does_not_begin_is_explained(dataset: Path, tmp_path: Path) -> None:
    run = new_run(tmp_path / "run", tiny_config(dataset))
    with pytest.raises(InputError, match=r"did not start: no torch here\. See process\.txt"):
        start_and_wait(run, [sys.executable, "-c", "raise SystemExit('no torch here')"])
    with pytest.raises(InputError, match="could not be started"):
        start(run, [str(tmp_path / "no such program")])
    assert run.state() is State.PENDING


def test_the_command_explains_what_is_no_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medddpm.training", str(tmp_path)]
    answer = subprocess.run(command, env=child_environment(os.environ), capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "no job.json" in answer.stderr
