"""Time, memory and disk of a training, told before it starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from medddpm.config import GridConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, PreparedCase, read_dataset_config
from medddpm.errors import InputError
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.handlers import default_handlers
from medddpm.jobs.runner import run_job
from medddpm.jobs.stop import Stop
from medddpm.labels.scheme import load_scheme
from medddpm.models.model import Model
from medddpm.network.cost import network_cost
from medddpm.progress import duration
from medddpm.training import estimate as module
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import AugmentConfig, CheckpointConfig, MonitorConfig, ScaleConfig, TrainConfig
from medddpm.training.estimate import (
    GIB,
    disk_bytes,
    estimate_training,
    fitting_cubes,
    monitor_passes,
    phases,
    remedies,
    shapes,
)
from medddpm.training.objective import Objective
from medddpm.training.probe import Line, Probe, _Step, kept_bytes, pace, probe, probe_shape
from medddpm.training.run import RunFolder
from medddpm.training.runner import run_training
from medddpm.training.start import model_config
from training_runs import make_dataset, tiny_config

CPU = torch.device("cpu")
COMPACT = NetworkConfig(
    1, 2, base_channels=8, multipliers=(1, 2), groups=4, blocks_per_level=1, attention_factors=(2,), domain="wavelet"
)
RESIDUAL = replace(COMPACT, domain="residual", attention_factors=())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("training") / "dataset")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of a dataset with volumes of 192x192x144; its cases are not needed."""
    folder = tmp_path_factory.mktemp("large")
    grid = GridConfig((192, 192, 144), (1.0, 1.0, 1.0), "LPS")
    DatasetConfig(load_scheme("whole-head"), grid, ("T1",), (PreparedCase("a", "train"),)).save(folder)
    return folder


def kept_by(
    network: NetworkConfig, dataset: Path, shape: tuple[int, int, int], **changes: object
) -> tuple[float, float]:
    schedule = ScheduleConfig(steps=20, prediction="noise" if network.domain == "voxels" else "x0")
    config = tiny_config(dataset, network=network, schedule=schedule, **changes)
    return _Step(config, model_config(config, read_dataset_config(dataset)), CPU).kept(shape)


# What is measured


@pytest.mark.parametrize(
    "network", [tiny_config(Path("d")).network, COMPACT, RESIDUAL], ids=["voxels", "compact", "residual"]
)
def test_what_is_kept_grows_with_the_volume(dataset: Path, network: NetworkConfig) -> None:
    """The line through two volumes tells what a third one keeps."""
    sides = (16, 24, 48)
    small, middle, large = (kept_by(network, dataset, (16, 16, side)) for side in sides)
    for first, second, third in zip(small, middle, large, strict=True):
        slope = (second - first) / (sides[1] - sides[0])
        assert second + slope * (sides[2] - sides[1]) == pytest.approx(third, rel=0.02)
    assert middle[1] < 0.8 * middle[0]


def test_kept_memory_is_what_autograd_really_holds() -> None:
    """Counted by hand for one layer: the input of a convolution and its weight, of which the weight is not counted."""
    layer = torch.nn.Conv3d(3, 5, 3, padding=1)
    x = torch.randn(1, 3, 8, 8, 8, requires_grad=True)
    kept, _ = kept_bytes(layer, lambda: layer(x).square().sum())
    assert kept == 4 * (3 + 5) * 8**3  # x, and the output for its square


def test_half_the_precision_keeps_less(dataset: Path) -> None:
    network = tiny_config(dataset).network
    full, half = (kept_by(network, dataset, (16, 16, 16), precision=p) for p in ("fp32", "bf16"))
    assert 0.4 * full[0] < half[0] < 0.75 * full[0]


def test_a_probe_is_small_and_fits_the_strides() -> None:
    published = NetworkConfig(1, 2, base_channels=64, multipliers=(1, 1, 2, 3, 4))
    assert probe_shape(published, CPU, 192) == (32, 32, 32)
    assert probe_shape(published, torch.device("cuda"), 192) == (64, 64, 64)
    small = tiny_config(Path("d")).network
    assert probe_shape(small, CPU, 22) == (20, 20, 20)
    assert probe_shape(small, CPU, 2) == (4, 4, 4)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((1.5, 2.5), 4.5), ((2.5, 2.5), 3.25 + 0.25), ((0.5, 2.5), 5.0)],
    ids=["a fixed part", "no growth measured", "more growth than there can be"],
)
def test_time_is_told_from_two_volumes(seconds: tuple[float, float], expected: float) -> None:
    assert pace((1.0, 2.0), seconds).at(4.0) == pytest.approx(expected, rel=0.1)


# What is made of it

PROBE = Probe(
    Line(0.5, 1e-12), Line(0.2, 4e-13), Line(0.1, 2e-13), 0.25, kept=Line(0, 2000.0), kept_checkpointing=Line(0, 500.0)
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of known speed with 8 GB."""
    monkeypatch.setattr(module, "probe", lambda *_, **__: PROBE)
    monkeypatch.setattr(module, "available_memory", lambda *_: 8.0 * GIB)


def big(large: Path, **changes: object) -> TrainConfig:
    network = NetworkConfig(1, 2, base_channels=16, multipliers=(1, 2, 4), groups=8)
    return tiny_config(large, network=network, **{"iterations": 1000, **changes})


def test_time_counts_volumes_parts_recomputation_and_cubes(large: Path, measured: None) -> None:
    plain = estimate_training(big(large)).seconds_per_iteration or 0
    assert estimate_training(big(large)).seconds == pytest.approx(1000 * plain)
    fourfold = estimate_training(big(large, batch_size=2, accumulate=2)).seconds_per_iteration
    assert fourfold == pytest.approx(4 * (plain - 0.25) + 0.25)
    again = estimate_training(big(large, activation_checkpointing=True)).seconds_per_iteration
    assert again == pytest.approx(plain + 0.4 * (plain - 0.75) + 0.2)
    cubes = AugmentConfig(crop_voxels=96, crop_until=0.75)
    mixed = estimate_training(big(large, augment=cubes)).seconds_per_iteration or 0
    assert 0.25 * plain < mixed < 0.6 * plain
    processes = ScaleConfig(devices=2, strategy="ddp")
    assert estimate_training(big(large, batch_size=2, scale=processes)).seconds_per_iteration == pytest.approx(plain)


def test_time_counts_the_passes_of_the_monitor(large: Path, tmp_path: Path, measured: None) -> None:
    """Validation in the pace of training's forward pass, samples in that of sampling; both on whole volumes."""
    options = MonitorConfig(validate_every=300, bands=5, sample_every=400, sample_steps=10)
    plain = estimate_training(big(large))
    assert (plain.monitor_seconds, "validation" in plain.sentence()) == (0, False)
    unheld = estimate_training(big(large, monitor=options))
    assert unheld.seconds == plain.seconds  # the dataset has no held-out case
    held_out = tuple(PreparedCase(str(i), "validation") for i in range(3))
    replace(read_dataset_config(large), cases=held_out).save(tmp_path)
    watched = estimate_training(big(tmp_path, monitor=options))
    flops = network_cost(big(large).network, (144, 192, 192)).flops
    validation = 4 * 3 * 10 * (0.2 + 4e-13 * flops)
    samples = 3 * 2 * 10 * (0.1 + 2e-13 * flops)
    assert watched.monitor_seconds == pytest.approx(validation + samples)
    assert watched.seconds == pytest.approx(plain.seconds + validation + samples)
    assert watched.seconds_per_iteration == plain.seconds_per_iteration
    assert f" min ({duration(validation + samples)} for validation and samples), " in watched.sentence()
    cubes = big(tmp_path, monitor=options, augment=AugmentConfig(crop_voxels=96))
    assert estimate_training(cubes).monitor_seconds == watched.monitor_seconds


@pytest.mark.parametrize(
    "changes",
    [
        {"validate_every": 2, "bands": 3, "sample_every": 3, "sample_steps": 4},
        {"validate_every": 4, "bands": 50, "sample_every": 0, "split": "test"},
        {"validate_every": 0, "sample_every": 5, "samples": 7, "sample_steps": 3, "sampler": "ddim"},
    ],
)
def test_the_passes_told_are_those_of_a_training(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    config = tiny_config(dataset, iterations=5, monitor=MonitorConfig(tensorboard=False, **changes))
    made = {"validation": 0, "samples": 0}
    losses, evaluate = Objective.losses, Model._evaluate

    def counted_losses(*arguments: Any) -> torch.Tensor:
        made["validation"] += not torch.is_grad_enabled()
        return losses(*arguments)

    def counted_evaluate(*arguments: Any) -> torch.Tensor:
        made["samples"] += 1
        return evaluate(*arguments)

    monkeypatch.setattr(Objective, "losses", counted_losses)
    monkeypatch.setattr(Model, "_evaluate", counted_evaluate)
    run = RunFolder(tmp_path / "run")
    run.create(config)
    assert run_training(run, Stop()) == 0
    told = monitor_passes(config, read_dataset_config(dataset))
    assert made == told
    assert sum(made.values()) > 0


def test_what_does_not_fit_comes_with_what_helps(large: Path, measured: None) -> None:
    found = estimate_training(big(large, batch_size=2))
    assert not found.fits
    assert found.memory_bytes > 2 * 2000 * 192 * 192 * 144
    for remedy in ("batch_size = 1 with accumulate = 2", 'precision = "bf16"', "activation_checkpointing = true"):
        assert remedy in found.advice
    assert "augment.crop_voxels = 96 with crop_until = 1" in found.advice
    assert "compact network" in found.advice
    assert "8.0 GB are free" in found.sentence()


@pytest.mark.slow
def test_cubes_are_as_large_as_the_memory_allows(large: Path, measured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    config, data = big(large), read_dataset_config(large)
    whole, side, needed, _ = fitting_cubes(config, data)
    larger = replace(config, augment=AugmentConfig(crop_voxels=side + config.network.divisor, crop_until=1.0))
    assert whole > 8 * GIB >= needed and module.training_memory(larger, data, PROBE, CPU) > 8 * GIB
    monkeypatch.setattr(module, "available_memory", lambda *_: None)
    assert fitting_cubes(config, data) == (whole, 0, whole, None)
    monkeypatch.setattr(module, "available_memory", lambda *_: 1.0)
    assert fitting_cubes(config, data)[1] == 2 * config.network.divisor, "the smallest, where there is room for none"


def test_each_remedy_needs_less_than_the_one_before(large: Path) -> None:
    config = big(large, batch_size=2)
    data = read_dataset_config(large)
    needed = [module.training_memory(c, data, PROBE, CPU) for c in (config, *(c for _, c in remedies(config, data)))]
    assert len(needed) == 5
    assert needed == sorted(needed, reverse=True)


def test_a_network_whose_weights_alone_do_not_fit_is_not_tried(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda *_: 0.5 * GIB)
    found = estimate_training(big(large))
    assert (found.fits, found.seconds) == (False, None)
    assert "Not even the weights" in found.advice


def test_cubes_come_first_and_whole_volumes_at_the_end(large: Path) -> None:
    data = read_dataset_config(large)
    config = big(large, augment=AugmentConfig(crop_voxels=160, crop_until=0.8))
    assert phases(config, data) == [(0.8, (144, 160, 160)), (pytest.approx(0.2), (144, 192, 192))]
    assert shapes(config, data)[0] == (144, 192, 192)
    only = big(large, augment=AugmentConfig(crop_voxels=96))
    assert phases(only, data) == [(1.0, (96, 96, 96))]


def test_the_disk_is_what_the_run_folder_takes(dataset: Path, tmp_path: Path) -> None:
    rule = CheckpointConfig(every=1, newest=2, keep_every=2, best=False)
    config = tiny_config(dataset, iterations=6, checkpoint=rule)
    run = RunFolder(tmp_path / "run")
    run.create(config)
    assert run_training(run, Stop()) == 0
    assert Checkpoints(run.checkpoints).steps() == [2, 4, 5, 6]
    told = disk_bytes(config, read_dataset_config(dataset))
    needed = sum(path.stat().st_size for path in run.checkpoints.glob("*.pt"))
    assert 0.9 * needed < told < 2.5 * needed  # with one more checkpoint while it is written, and the model twice
    often = replace(config, monitor=MonitorConfig(sample_every=1, samples=2, validate_every=0))
    assert disk_bytes(often, read_dataset_config(dataset)) == told + 3 * 2 * (8 * 16 * 8) * 2 * 2


# The real thing


def test_an_estimate_as_a_job(dataset: Path, tmp_path: Path) -> None:
    config = tiny_config(dataset, iterations=50, precision="bf16")
    folder = JobFolder(tmp_path / "job")
    folder.create(config.to_dict(), "train_estimate")
    assert run_job(folder, default_handlers()) == 0
    data = json.loads((folder.outputs / "estimate.json").read_text())
    assert data["seconds"] == pytest.approx(50 * data["seconds_per_iteration"])
    assert data["monitor_seconds"] == 0
    assert 0 < data["seconds_per_iteration"] < 60
    assert 0.5 * GIB < data["memory_bytes"] < 2 * GIB
    assert data["disk_bytes"] > 0
    assert (data["fits"], data["advice"], data["device"], data["precision"]) == (True, "", "cpu", "bf16")
    assert data["sentence"].startswith("This training takes about")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": "/nowhere"}, "nowhere.* cannot be read"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"iterations": -1}, "iterations is -1"),
        ({"network": {**tiny_config(Path("d")).to_dict()["network"], "image_channels": 3}}, "3"),
    ],
)
def test_what_cannot_be_estimated_is_explained(
    dataset: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.create({**tiny_config(dataset).to_dict(), **changes}, "train_estimate")
    assert run_job(folder, default_handlers()) == 2
    assert folder.state() is State.FAILED
    with pytest.raises(InputError, match=words):
        raise InputError(folder.events()[0][-1].message or "")


@pytest.mark.parametrize("network", [COMPACT, RESIDUAL], ids=["compact", "residual"])
def test_the_probe_of_a_real_configuration(dataset: Path, network: NetworkConfig) -> None:
    config = tiny_config(dataset, network=network, schedule=ScheduleConfig(steps=20, prediction="x0"))
    unsampled = probe(config, model_config(config, read_dataset_config(dataset)), CPU)
    assert unsampled.evaluation.at(1e9) == 0
    config = replace(config, monitor=MonitorConfig())
    found = probe(config, model_config(config, read_dataset_config(dataset)), CPU)
    assert found.both.at(1e9) > found.forward.at(1e9) > 0
    assert found.both.at(1e9) > found.evaluation.at(1e9) > 0
    assert found.update_seconds > 0
    assert found.kept_checkpointing.at(1000.0) < found.kept.at(1000.0)
