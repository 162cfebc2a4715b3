"""Data for training: mapped files, copies on a machine's own disk, and batches that are made ahead."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch
from medddpm.errors import InputError, MedDDPMError
from medddpm.sampling.schedule import Schedule
from medddpm.training.augment import Augmentation
from medddpm.training.config import AugmentConfig, ScaleConfig, TrainConfig
from medddpm.training.dataset import PreparedDataset, copy_once, local_folder, open_dataset
from medddpm.training.loader import BatchLoader, BatchSource, sensible_workers
from medddpm.training.objective import NoisyBatch, Objective
from medddpm.training.start import model_config
from patience import patient
from safetensors.torch import load_file
from training_group import tiny_config, write_dataset

CPU, GPU = torch.device("cpu"), torch.device("cuda")
# A tiny machine is warned of by DataLoader.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("loader") / "data")


def source(config: TrainConfig, rank: int = 0, world: int = 1) -> BatchSource:
    data = PreparedDataset(Path(config.dataset), "train")
    model = model_config(config, data.config)
    objective = Objective(model, Schedule.from_config(config.schedule), config.loss)
    return BatchSource(data, Augmentation(config.augment, model), objective, config, rank, world)


def equal(one: NoisyBatch, other: NoisyBatch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("x", "wanted", "t"))


def varied(dataset: Path, **changes: object) -> TrainConfig:
    """With all that is random: places, intensities, noise."""
    augment = AugmentConfig(flip=True, shift_voxels=2, affine=1.0, elastic=1.0, intensity=1.0)
    return tiny_config(dataset, augment=augment, batch_size=2, accumulate=2, **changes)


def test_batches_do_not_depend_on_the_number_of_workers(dataset: Path) -> None:
    config = varied(dataset, iterations=20)
    expected = source(config)
    keys = [(iteration, part) for iteration in (3, 4) for part in (0, 1)]
    loader = BatchLoader(source(config), workers=2)
    try:
        made = [loader.batch(*key) for key in keys]
    finally:
        loader.close()
    assert all(equal(batch, expected.batch(*key)) for batch, key in zip(made, keys, strict=True))
    assert not equal(made[0], made[1])
    assert loader.waited > 0


def test_the_shares_of_two_processes_are_the_batch_of_one(dataset: Path) -> None:
    config = varied(dataset)
    shares = [source(config, rank, 2).batch(7, 1) for rank in (0, 1)]
    assert equal(NoisyBatch.joined(shares), source(config).batch(7, 1))


@pytest.mark.slow
def test_a_killed_worker_is_a_sentence(dataset: Path) -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    loader = BatchLoader(source(varied(dataset, iterations=1000)), workers=1)
    loader.batch(0, 0)
    assert signal.getsignal(signal.SIGCHLD) is handler
    workers = [p for p in psutil.Process().children(recursive=True) if p.pid in pids(loader)]
    assert len(workers) == 1
    os.kill(workers[0].pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(MedDDPMError, match=r"prepare the batches of this training ended unexpectedly.*checkpoint"):
        for position in range(1, 100):
            loader.batch(position // 2, position % 2)
    assert time.monotonic() - started < patient(10)
    loader.close()


def pids(loader: BatchLoader) -> list[int]:
    return [worker.pid for worker in loader._coming._workers]  # type: ignore[union-attr]


def test_what_a_worker_cannot_read_is_its_sentence(tmp_path: Path) -> None:
    config = tiny_config(write_dataset(tmp_path / "data", cases=2))
    broken = source(config)
    (tmp_path / "data" / "cases" / "case1.safetensors").write_bytes(b"12")
    loader = BatchLoader(broken, workers=1)
    with pytest.raises(InputError, match=r"case1\.safetensors cannot be read"):
        loader.batch(0, 0)
    loader.close()


def test_waiting_for_data_is_told_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medddpm.training.loader.JUDGED_BATCHES", 5)
    said: list[str] = []
    loader = BatchLoader(source(varied(dataset)), warn=said.append)
    for iteration in range(8):
        loader.batch(iteration, 0)
    assert len(said) == 1
    assert "waits" in said[0] and "scale.workers (now 0)" in said[0]


def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert [sensible_workers(-1, GPU, n) for n in (1, 4, 16)] == [8, 3, 1]
    assert [sensible_workers(-1, CPU, n) for n in (1, 4, 8)] == [1, 1, 0]
    assert sensible_workers(0, GPU, 1) == 0
    assert sensible_workers(5, CPU, 1) == 5


def test_cases_are_mapped_and_equal_the_files(dataset: Path) -> None:
    data = PreparedDataset(dataset, "train")
    for index in range(len(data)):
        expected = load_file(dataset / "cases" / f"case{index}.safetensors")
        images, fractions = data[index]
        assert torch.equal(images, expected["images"].float())
        assert torch.equal(fractions, expected["fractions"].float() / 255)
    images += 1  # what is given away is no part of the file
    assert torch.equal(data[index][0], expected["images"].float())
    packed = pickle.dumps(data)
    assert len(packed) < 10_000
    assert torch.equal(pickle.loads(packed)[1][0], data[1][0])


class Team:
    """One of two processes of a machine, which need not wait for each other here."""

    local_size = 2

    def __init__(self, rank: int) -> None:
        self.local_rank = rank

    def barrier(self) -> None:
        """The other one copies in its turn."""


def test_every_process_copies_its_share(dataset: Path, tmp_path: Path) -> None:
    config = tiny_config(dataset, scale=ScaleConfig(cache="local", cache_folder=str(tmp_path)))
    local = local_folder(dataset, str(tmp_path))
    with pytest.raises(InputError, match="case1"):  # the share of the other one
        open_dataset(config, Team(0))  # type: ignore[arg-type]
    assert sorted(path.name for path in local.iterdir()) == [
        "case0.safetensors",
        "case2.safetensors",
        "case4.safetensors",
    ]
    assert local.stat().st_mode & 0o077 == 0
    second = open_dataset(config, Team(1))  # type: ignore[arg-type]
    assert torch.equal(second[3][0], PreparedDataset(dataset, "train")[3][0])
    second.close()
    assert len(list(local.iterdir())) == 5
    first = open_dataset(config, Team(0))  # type: ignore[arg-type]
    first.close()
    assert not local.exists()


def test_a_copy_is_made_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    source_file, copy = tmp_path / "a", tmp_path / "b" / "a"
    source_file.write_bytes(b"one")
    copy_once(source_file, copy)
    before = copy.stat().st_ino
    copy_once(source_file, copy)
    assert copy.stat().st_ino == before
    source_file.write_bytes(b"other")
    copy_once(source_file, copy)
    assert copy.read_bytes() == b"other"
    with pytest.raises(InputError, match="cannot be read"):
        copy_once(tmp_path / "none", copy)
