"""Training on several processes: the same as on one, and a plain end where one of them is lost. All on the CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
import torch
from medddpm.config import ScheduleConfig
from medddpm.errors import InputError
from medddpm.jobs.folder import State
from medddpm.progress import SilentReporter
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import CheckpointConfig, ScaleConfig
from medddpm.training.distributed import Team, make_fabric
from medddpm.training.launch import Launch, launched, launched_rank
from medddpm.training.run import RunFolder
from patience import patient
from training_group import Run, losses, start_group, tiny_config, train, write_dataset

EQUAL = 1e-5  # sums over processes are rounded in another order
EQUAL_WEIGHTS = 1e-3  # Adam makes steps of 2e-3 of gradients however small, whose signs are a matter of rounding
FSDP = ScaleConfig(strategy="fsdp")
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_PROCID": "5"}


def checkpoint(run: Path) -> dict[str, object]:
    """The newest checkpoint of a run."""
    found = Checkpoints(run / "checkpoints", CheckpointConfig(), SilentReporter()).load_newest()
    assert found is not None
    return found


def difference(one: object, other: object) -> float:
    """The largest difference of two checkpoints' numbers; their names and shapes have to be the same."""
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor) and type(other) is torch.Tensor and other.shape == one.shape
        return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
    if isinstance(one, Mapping):
        assert isinstance(other, Mapping) and list(one) == list(other)
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list):
        assert isinstance(other, list) and len(one) == len(other)
        return max((difference(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    return 0.0


@dataclass(frozen=True)
class Group:
    """What two processes have left: folders of runs, what they printed, and how they ended."""

    place: Path
    printed: str
    exit_code: int
    seconds: float


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """One process for all of a run ("one"), and two for what the other folders' names say.

    In the last run, "killed", the second process is killed.
    """
    place = tmp_path_factory.mktemp("group")
    data = write_dataset(place / "data")
    whole, half = tiny_config(data), tiny_config(data, iterations=4)
    parts = replace(whole, batch_size=1, accumulate=4, scale=FSDP)
    train(Run(whole, str(place / "one")))
    for name in ("one-two", "one-two-fsdp"):
        train(Run(half, str(place / name)))
    network = replace(whole.network, domain="discogan")
    gan = replace(half, network=network, schedule=ScheduleConfig(1, "one-step", prediction="x0"))
    train(Run(gan, str(place / "gan-one")))
    runs = [
        Run(gan, str(place / "gan")),
        Run(whole, str(place / "ddp")),
        Run(parts, str(place / "fsdp")),
        Run(whole, str(place / "one-two")),
        Run(half, str(place / "two-one")),
        Run(replace(whole, scale=FSDP), str(place / "one-two-fsdp")),
        Run(replace(half, scale=FSDP), str(place / "two-one-fsdp")),
    ]
    killed = RunFolder(place / "killed")
    killed.create(replace(parts, iterations=100_000, checkpoint=CheckpointConfig(every=1), scale=ScaleConfig()))
    process = start_group(runs, killed.path, place / "runs.json")
    kill_second(killed, process)
    since = time.monotonic()
    printed = process.communicate(timeout=patient(30))[0]
    ended = time.monotonic() - since
    for name in ("two-one", "two-one-fsdp"):
        train(Run(whole, str(place / name)))
    return Group(place, printed, process.returncode, ended)


def kill_second(run: RunFolder, process: subprocess.Popen[str]) -> None:
    """Wait until the run has checkpoints, and kill the process beside the one that writes them."""
    limit = time.monotonic() + patient(30)
    while (
        not list(run.checkpoints.glob("step-0000000[3-9].pt")) and process.poll() is None and time.monotonic() < limit
    ):
        time.sleep(0.05)
    first = run.claim.owner()
    assert first is not None, process.communicate(timeout=patient(10))[0]
    children = psutil.Process(first.pid).parent().children()
    os.kill(next(child.pid for child in children if child.pid != first.pid), signal.SIGKILL)


def newest(run: RunFolder) -> int:
    """Iterations of the newest checkpoint."""
    return max((int(path.stem.removeprefix("step-")) for path in run.checkpoints.glob("step-*.pt")), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_compute_the_losses_of_one(group: Group, name: str) -> None:
    """Also in other parts of an iteration (one volume at once in place of four)."""
    expected = losses(group.place / "one")
    assert len(set(expected)) == len(expected) == 8
    assert losses(group.place / name) == pytest.approx(expected, abs=EQUAL)


@pytest.mark.slow
def test_two_processes_train_a_gan_as_one_does(group: Group) -> None:
    assert losses(group.place / "gan") == pytest.approx(losses(group.place / "gan-one"), abs=EQUAL)
    assert difference(*(checkpoint(group.place / name)["network"] for name in ("gan", "gan-one"))) < EQUAL_WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp", "one-two", "one-two-fsdp", "two-one", "two-one-fsdp"])
def test_checkpoints_are_the_same_whoever_wrote_them(group: Group, name: str) -> None:
    """Weights, averaged weights and optimizer; the last four went on in another number of processes half-way."""
    expected, found = checkpoint(group.place / "one"), checkpoint(group.place / name)
    for part in ("network", "average", "optimizer"):
        assert difference(expected[part], found[part]) < EQUAL_WEIGHTS, part
    assert losses(group.place / name)[-4:] == pytest.approx(losses(group.place / "one")[-4:], abs=EQUAL)


@pytest.mark.slow
def test_the_first_process_alone_writes(group: Group) -> None:
    def names(folder: Path) -> list[Path]:
        return sorted(path.relative_to(folder) for path in folder.rglob("*"))

    for name in ("ddp", "fsdp"):
        assert names(group.place / name) == names(group.place / "one")
    lines = (group.place / "killed" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum('"started"' in line for line in lines) == 1


@pytest.mark.slow
def test_a_killed_process_ends_the_others_with_a_sentence(group: Group) -> None:
    """Through torchrun, which ends them, and the run folder, as on a cluster."""
    run = RunFolder(group.place / "killed")
    assert group.seconds < patient(30)
    assert group.exit_code != 0
    last = run.recent_events()[-1]
    assert last.event == "failed", group.printed
    assert "One of the 2 processes of this training was lost" in str(last.message)
    assert "The last checkpoint is kept" in str(last.message)
    assert run.state() is State.FAILED
    assert int(str(checkpoint(run.path)["step"])) >= 3


def test_launchers_are_read_off_the_environment() -> None:
    assert launched({}) is None
    assert launched(TORCHRUN) == Launch(5, 8, 4)
    assert launched(SLURM) == Launch(5, 8, 4)
    assert launched({**SLURM, **TORCHRUN, "RANK": "2"}) == Launch(2, 8, 4)
    assert launched({**SLURM, "SLURM_JOB_NAME": "bash"}) is None
    assert (launched_rank(SLURM), Launch(5, 8, 4).nodes) == (5, 2)
    assert launched_rank({}) == 0
    child = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}
    assert launched_rank(child) == 1
    with pytest.raises(InputError, match="WORLD_SIZE is 'two'"):
        launched({**TORCHRUN, "WORLD_SIZE": "two"})


class Processes:
    """As much of Fabric as dividing an iteration needs."""

    strategy, global_rank, local_rank = None, 0, 0

    def __init__(self, size: int) -> None:
        self.world_size = size


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "processes", "divided"),
    [(4, 1, 2, (4, 1)), (1, 4, 2, (2, 2)), (1, 2, 2, (2, 1)), (2, 6, 3, (3, 4)), (8, 3, 6, (6, 4)), (5, 2, 1, (5, 2))],
)
def test_an_iteration_is_divided_among_the_processes(
    tmp_path: Path, batch_size: int, accumulate: int, processes: int, divided: tuple[int, int]
) -> None:
    config = Team(Processes(processes)).check(tiny_config(tmp_path, batch_size=batch_size, accumulate=accumulate))  # type: ignore[arg-type]
    assert (config.batch_size, config.accumulate) == divided
    assert config.batch_size * config.accumulate == batch_size * accumulate
    assert config.batch_size // processes <= max(1, batch_size // processes)


def test_what_cannot_be_divided_or_set_up_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"3 volume\(s\) of an iteration .* among 2 processes"):
        Team(Processes(2)).check(tiny_config(tmp_path, batch_size=3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="only NVIDIA GPUs"):
        make_fabric(tiny_config(tmp_path, precision="fp16"))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"cannot be set up as asked .*device cuda"):
            make_fabric(tiny_config(tmp_path, device="cuda"))


def test_fabric_run_decides_about_strategy_and_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables are no conflict with the configuration, and are there for the processes that come after."""
    for name, value in {"CLI_USED": "1", "DEVICES": "1", "NUM_NODES": "1", "STRATEGY": "ddp"}.items():
        monkeypatch.setenv(f"LT_{name}", value)
    assert make_fabric(tiny_config(tmp_path, scale=FSDP)).world_size == 1
    assert os.environ["LT_STRATEGY"] == "ddp"
