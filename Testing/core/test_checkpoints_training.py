"""Checkpoints of a training: whole, kept by rule, found again when damaged; and what a resume refuses."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from medddpm.config import GridConfig, NetworkConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.errors import InputError
from medddpm.labels.scheme import load_scheme
from medddpm.progress import SilentReporter
from medddpm.training.checkpoint import Checkpoints, Damaged, random_state, read_checkpoint, restore_random_state
from medddpm.training.config import FREE_TO_CHANGE, CheckpointConfig, TrainConfig
from medddpm.training.resume import dataset_identity, require_same, require_same_dataset

POSIX = pytest.mark.skipif(os.name != "posix", reason="limits and kills of Unix")


def state(value: float = 1.0, size: int = 1000) -> dict[str, Any]:
    return {"network": {"weight": torch.full((size,), float(value))}, "config": "{}"}


class Warnings(SilentReporter):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def warning(self, sentence: str) -> None:
        self.sentences.append(sentence)


# Kept by rule


@pytest.mark.parametrize(
    ("rule", "validations", "left"),
    [
        (CheckpointConfig(every=10, newest=2, best=False), {}, [50, 60]),
        (CheckpointConfig(every=10, newest=1, keep_every=20, best=False), {}, [20, 40, 60]),
        (CheckpointConfig(every=10, newest=1), {10: 0.5, 20: 0.2, 30: 0.4}, [20, 60]),
        (CheckpointConfig(every=10, newest=1), {20: 0.2, 60: 0.1}, [60]),
        (CheckpointConfig(every=10, newest=1), {20: float("nan"), 30: 0.3}, [30, 60]),
    ],
)
def test_what_the_rule_keeps(tmp_path: Path, rule: CheckpointConfig, validations: dict[int, float], left: list) -> None:
    for step in range(10, 70, 10):
        Checkpoints(tmp_path, rule).save(step, state(step), validations.get(step))
    assert Checkpoints(tmp_path).steps() == left
    newest = Checkpoints(tmp_path).load_newest()
    assert newest is not None
    assert (newest["step"], float(newest["network"]["weight"][0])) == (60, 60.0)


def test_an_unreadable_list_of_validations_costs_only_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=10, newest=1))
    checkpoints.save(10, state(), 0.1)
    (tmp_path / "validation.json").write_text('{"10": ')
    checkpoints.save(20, state(), 0.2)
    assert checkpoints.steps() == [20]


def test_without_a_checkpoint_there_is_nothing_to_load(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").load_newest() is None


# Damaged


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "a bit":
        place = data.index(torch.full((8,), 20.0).numpy().tobytes())
        data[place + 9] ^= 4
    elif how == "empty":
        data = bytearray()
    else:
        torch.save([1, 2], path)
        return
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "a bit", "empty", "something else"])
def test_a_damaged_newest_one_falls_back_to_the_one_before(tmp_path: Path, how: str) -> None:
    reporter = Warnings()
    checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=10, newest=1, keep_every=10), reporter)
    for step in (10, 20):
        checkpoints.save(step, state(step))
    damage(checkpoints.path(20), how)
    newest = checkpoints.load_newest()
    assert newest is not None
    assert newest["step"] == 10
    [sentence] = reporter.sentences
    assert "step-00000020.pt is damaged" in sentence
    assert "resumes from the one before" in sentence
    assert (tmp_path / "step-00000020.pt.damaged").exists()
    assert checkpoints.steps() == [10]


def test_where_all_are_damaged_the_run_does_not_begin_anew_by_itself(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state(20.0))
    damage(checkpoints.path(10), "cut")
    with pytest.raises(InputError, match=r"No checkpoint .* those of the iterations 10 are damaged\. Copy"):
        checkpoints.load_newest()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def test_a_checkpoint_of_a_stranger_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"step": 1, "network": Evil()}, tmp_path / "step-00000001.pt")
    with pytest.raises(Damaged):
        read_checkpoint(tmp_path / "step-00000001.pt")
    assert not (tmp_path / "pwned").exists()


# Not enough room, killed


@POSIX
def test_a_full_disk_keeps_the_last_good_one(tmp_path: Path) -> None:
    """The limit of a file's size stands for the end of the disk."""
    import resource

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state())
    former, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, former[1]))
    try:
        with pytest.raises(InputError, match=r"step-00000020\.pt could not .* iteration 10, is kept\. [0-9.]+ GB"):
            checkpoints.save(20, state(size=100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010.pt", "validation.json"]
    checkpoints.save(20, state(size=100_000))


@POSIX
def test_a_kill_while_writing_leaves_whole_ones(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path; from medddpm.training.checkpoint import Checkpoints\n"
        "c = Checkpoints(Path(sys.argv[1]))\n"
        "for i in range(1, 10**6): c.save(i, {'w': torch.full((300_000,), float(i))})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    checkpoints, chance = Checkpoints(tmp_path), random.Random(3)
    while not checkpoints.steps() or checkpoints.steps()[-1] < 5:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 0.05))
    process.kill()
    process.wait()
    for step in checkpoints.steps():
        assert read_checkpoint(checkpoints.path(step))["w"].eq(step).all()


# Random states


def test_random_states_come_back(tmp_path: Path) -> None:
    def draw() -> float:
        return float(torch.rand(()))

    Checkpoints(tmp_path).save(1, {"random": random_state()})
    expected = draw()
    draw()
    checkpoint = Checkpoints(tmp_path).load_newest()
    assert checkpoint is not None
    restore_random_state(checkpoint["random"])
    assert draw() == expected


# What must stay the same

CONFIG = TrainConfig("data", NetworkConfig(1, 2, base_channels=8, multipliers=(1, 2), groups=4))


def test_the_same_configuration_may_be_continued_and_its_free_fields_changed() -> None:
    changed = replace(CONFIG, iterations=5, optimizer=replace(CONFIG.optimizer, lr=0.5), dataset="elsewhere")
    require_same(json.dumps(CONFIG.to_dict()), changed.to_dict(), FREE_TO_CHANGE)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (replace(CONFIG, seed=7), r"started with seed = 0, .* now says 7"),
        (replace(CONFIG, network=replace(CONFIG.network, base_channels=16)), r"network\.base_channels = 8, .* 16\."),
        (replace(CONFIG, loss=replace(CONFIG.loss, kind="l2")), r"loss\.kind = 'l1', .* 'l2'"),
        (replace(CONFIG, optimizer=replace(CONFIG.optimizer, kind="muon")), r"optimizer\.kind = 'adam', .* 'muon'"),
    ],
)
def test_another_configuration_is_refused(changed: TrainConfig, words: str) -> None:
    with pytest.raises(InputError, match=words):
        require_same(json.dumps(CONFIG.to_dict()), changed.to_dict(), FREE_TO_CHANGE)


def test_a_checkpoint_with_former_names_of_options_resumes_and_still_notices_changes() -> None:
    stored = CONFIG.to_dict()
    stored["licence"] = stored.pop("license")
    stored["optimizer"]["final_lr"] = stored["optimizer"].pop("min_lr")
    stored["optimizer"]["plan"] = {"step": "halved"}[stored["optimizer"].pop("schedule")]
    require_same(json.dumps(stored), CONFIG.to_dict(), FREE_TO_CHANGE)
    changed = replace(CONFIG, optimizer=replace(CONFIG.optimizer, schedule="cosine"))
    with pytest.raises(InputError, match=r"optimizer\.schedule = 'step', the configuration now says 'cosine'"):
        require_same(json.dumps(stored), changed.to_dict(), ())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    (folder / "cases").mkdir(parents=True)
    for name in "abc":
        (folder / "cases" / f"{name}.safetensors").write_bytes(name.encode() * 100)
    cases = (PreparedCase("a", "train"), PreparedCase("b", "validation"), PreparedCase("c", "test"))
    grid = GridConfig((8, 16, 8), (16.0, 12.0, 20.0), "LPS")
    DatasetConfig(load_scheme("whole-head"), grid, ("T1",), cases).save(folder)
    return folder


def changed_dataset(folder: Path, **changes: Any) -> None:
    from medddpm.dataset import read_dataset_config

    replace(read_dataset_config(folder), **changes).save(folder)


def test_a_moved_dataset_with_other_remarks_is_the_same(dataset: Path, tmp_path: Path) -> None:
    before = json.loads(json.dumps(dataset_identity(dataset)))
    moved = dataset.rename(tmp_path / "moved")
    changed_dataset(moved, provenance={"made": "later"})
    (moved / "cases" / "c.safetensors").write_bytes(b"another test case")
    require_same_dataset(before, moved, dataset_identity(moved))


def test_another_dataset_is_refused_with_the_field_and_both_values(dataset: Path) -> None:
    before = dataset_identity(dataset)
    changed_dataset(dataset, modalities=("T2",))
    with pytest.raises(InputError, match=r"modalities was \['T1'\], and is \['T2'\] in .*dataset"):
        require_same_dataset(before, dataset, dataset_identity(dataset))
    changed_dataset(dataset, modalities=("T1",), cases=(PreparedCase("a", "train"),))
    with pytest.raises(InputError, match="the split of the case 'b' was 'validation', and is not there"):
        require_same_dataset(before, dataset, dataset_identity(dataset))


def test_other_images_under_the_same_names_are_refused(dataset: Path) -> None:
    before = dataset_identity(dataset)
    (dataset / "cases" / "a.safetensors").write_bytes(b"a" * 99 + b"b")
    with pytest.raises(
        InputError, match=r"content \(SHA-256\) of the case 'a' was '[0-9a-f]{64}', and is '[0-9a-f]{64}'"
    ):
        require_same_dataset(before, dataset, dataset_identity(dataset))
    (dataset / "cases" / "a.safetensors").unlink()
    with pytest.raises(InputError, match=r"a\.safetensors cannot be read"):
        dataset_identity(dataset)


def test_the_identity_is_plain_data(dataset: Path) -> None:
    identity = dataset_identity(dataset)
    assert json.loads(json.dumps(identity)) == identity
