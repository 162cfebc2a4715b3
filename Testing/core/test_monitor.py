"""What watches a training: validation on fixed noise, samples, figures and verdicts, without touching the training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from medddpm.config import ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import read_dataset_config
from medddpm.errors import Cancelled, InputError
from medddpm.geometry.volume import axis_codes, centered_affine
from medddpm.jobs.events import Event
from medddpm.network.unet import UNet3D
from medddpm.progress import SilentReporter
from medddpm.sampling.schedule import Schedule
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import MonitorConfig, TrainConfig
from medddpm.training.dataset import PreparedDataset
from medddpm.training.metrics import MetricsLog
from medddpm.training.monitor import monitor, samples
from medddpm.training.monitor.loss_chart import draw_loss
from medddpm.training.monitor.monitor import Monitor
from medddpm.training.monitor.samples import forget_volumes, frozen_model, round_folder, spread
from medddpm.training.objective import Objective, Validation, bands, levels, mean_loss
from medddpm.training.run import RunFolder
from medddpm.training.runner import RunReporter
from medddpm.training.start import model_config
from medddpm.training.trainer import Trainer
from PIL import Image
from training_runs import make_dataset, tensors, tiny_config

WATCHED = MonitorConfig(
    log_every=1, validate_every=2, bands=3, sample_every=4, samples=1, sampler="ddim", sample_steps=2, tensorboard=False
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "set", cases=5)


class Listener(SilentReporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.verdicts: list[str] = []
        self.stages: list[str] = []

    def stage(self, name: str, message: str = "") -> None:
        self.stages.append(name)

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def verdict(self, kind: str, sentence: str) -> None:
        self.verdicts.append(kind)


def watched(dataset: Path, **changes: object) -> TrainConfig:
    return tiny_config(dataset, monitor=replace(WATCHED, **changes), iterations=4)


def run(config: TrainConfig, folder: Path) -> Listener:
    listener = Listener()
    Trainer(config, folder, listener).run()
    return listener


def metrics(folder: Path, kind: str) -> list[dict]:
    return [metric for metric in MetricsLog(folder).read()[0] if metric["kind"] == kind]


def last_state(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = Checkpoints(folder / "checkpoints").load_newest()
    assert checkpoint is not None
    return tensors({name: checkpoint[name] for name in ("network", "average", "optimizer", "random")})


def losses(kind: str, values: list[float | None], step: int = 50) -> list[dict]:
    return [{"kind": kind, "iteration": step * i, "loss": value} for i, value in enumerate(values, 1)]


def colors(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        return {color for _, color in picture.getcolors(1 << 20)}


def test_the_loss_chart(tmp_path: Path) -> None:
    path, blue, orange = tmp_path / "loss.png", (8, 81, 156), (217, 72, 1)
    draw_loss([{"kind": "verdict", "iteration": 1}, *losses("train", [None, math.nan])], path, "x")
    assert not path.exists()
    draw_loss(losses("train", [0.5]), path, "a name\n\x1b " + 30 * "that is long ")
    assert blue in colors(path) and orange not in colors(path)
    falling = [0.9 * math.exp(-i / 20) + 0.02 for i in range(200)]
    for train in (falling, [0.0] * 3, [1.0, None, 1e30, -2.0]):
        draw_loss([*losses("train", train), *losses("validation", train[::10], 500)], path, "x")
        assert {blue, orange} <= colors(path)


# --- in a training --------------------------------------------------------------------------------------------------


def test_a_watched_training_leaves_its_figures_and_samples(dataset: Path, tmp_path: Path) -> None:
    listener = run(watched(dataset), tmp_path)
    found = metrics(tmp_path, "validation")
    assert [line["iteration"] for line in found] == [2, 4]
    assert [(b["low"], b["high"]) for b in found[0]["bands"]] == [(0, 6), (7, 12), (13, 19)]
    assert found[0]["loss"] == pytest.approx(np.mean([band["loss"] for band in found[0]["bands"]]))
    (quality,) = metrics(tmp_path, "quality")
    assert (quality["case"], quality["iteration"], quality["ms_ssim"]) == ("case3", 4, None)
    assert quality["nearest_training"]["case"] in {"case0", "case1", "case2"}
    assert set(quality) >= {"psnr", "l1", "sharpness", "label_error", "nearest_of_real", "copy"}
    assert [line["verdict"] for line in metrics(tmp_path, "verdict")] == ["early", "early"]
    assert listener.verdicts == ["early"]
    assert listener.stages == ["validate", "train", "validate", "sample", "train"]
    with Image.open(tmp_path / "loss.png") as chart:
        assert (chart.format, chart.size) == ("PNG", (900, 500))
    case = tmp_path / "samples" / "iteration-00000004" / "case3"
    assert {path.name for path in case.iterdir()} == {
        *("mask.nii.gz", "real-T1.nii.gz", "sheet.png", "synthetic-T1.nii.gz"),
    }


COMPACT = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="wavelet")


@pytest.mark.parametrize("changes", [{"network": COMPACT, "precision": "fp32"}, {"precision": "bf16"}])
def test_other_networks_and_precisions_are_watched_alike(dataset: Path, tmp_path: Path, changes: dict) -> None:
    schedule = ScheduleConfig(steps=20, prediction="x0")
    listener = run(replace(watched(dataset), schedule=schedule, **changes), tmp_path)
    assert listener.warnings == []
    assert all(math.isfinite(line["loss"]) for line in metrics(tmp_path, "validation"))
    assert len(metrics(tmp_path, "quality")) == 1


@pytest.mark.slow
def test_samples_lie_on_the_grid_and_say_what_they_are(dataset: Path, tmp_path: Path) -> None:
    run(watched(dataset, validate_every=0), tmp_path)
    with Image.open(tmp_path / "loss.png") as chart:
        assert (chart.format, chart.size) == ("PNG", (900, 500))
    case = tmp_path / "samples" / "iteration-00000004" / "case3"
    synthetic, real, mask = (nib.load(case / f"{name}.nii.gz") for name in ("synthetic-T1", "real-T1", "mask"))
    assert synthetic.shape == (8, 16, 8)
    assert nib.aff2axcodes(synthetic.affine) == ("L", "P", "S")
    assert np.allclose(synthetic.header.get_zooms(), (16, 12, 20))
    assert synthetic.affine @ [3.5, 7.5, 3.5, 1] == pytest.approx([0, 0, 0, 1])
    assert bytes(synthetic.header["descrip"]).startswith(b"SYNTHETIC")
    assert bytes(real.header["descrip"]).startswith(b"REAL")
    images, fractions = PreparedDataset(dataset, "validation")[0]
    assert np.abs(np.asarray(real.dataobj).T / 500 - 1 - images[0].numpy()).max() < 0.002
    assert (np.asarray(mask.dataobj).T == 2).sum() == int((fractions[1] > 0.5).sum())
    assert Image.open(case / "sheet.png").info["Description"].startswith("Rows marked SYNTHETIC")


def test_watching_changes_nothing_of_the_training(dataset: Path, tmp_path: Path) -> None:
    config = watched(dataset, validate_every=1, sample_every=2)
    run(config, tmp_path / "watched")
    Trainer(config, tmp_path / "alone", SilentReporter(), hooks=lambda context: ()).run()
    one, other = last_state(tmp_path / "watched"), last_state(tmp_path / "alone")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_continued_run_finds_the_same_figures(dataset: Path, tmp_path: Path) -> None:
    config = watched(dataset)
    run(config, tmp_path / "whole")
    run(replace(config, iterations=2), tmp_path / "parts")
    listener = run(config, tmp_path / "parts")
    for kind in ("validation", "quality"):
        whole, parts = ({m["iteration"]: m for m in metrics(tmp_path / name, kind)} for name in ("whole", "parts"))
        assert {k: v for k, v in whole[4].items() if k != "time"} == {k: v for k, v in parts[4].items() if k != "time"}
    assert listener.verdicts == []  # still early, as told before


def test_the_validation_loss_reaches_the_checkpoints(dataset: Path, tmp_path: Path) -> None:
    run(watched(dataset, sample_every=0), tmp_path)
    checkpoint = Checkpoints(tmp_path / "checkpoints").load_newest()
    assert checkpoint is not None
    assert checkpoint["validation"] == metrics(tmp_path, "validation")[-1]["loss"]


def test_a_dataset_without_validation_cases_gives_one_warning(dataset: Path, tmp_path: Path) -> None:
    only_train = make_dataset(tmp_path / "set", cases=3)
    text = (only_train / "dataset.json").read_text().replace('"validation"', '"train"')
    (only_train / "dataset.json").write_text(text)
    listener = run(watched(only_train), tmp_path / "run")
    assert len(listener.warnings) == 1
    assert "no case in the split 'validation'" in listener.warnings[0]
    assert metrics(tmp_path / "run", "validation") == []
    assert metrics(tmp_path / "run", "verdict")


def test_another_split_can_be_watched(dataset: Path, tmp_path: Path) -> None:
    run(watched(dataset, split="test", validate_every=0, neighbors=False), tmp_path)
    (quality,) = metrics(tmp_path, "quality")
    assert quality["case"] == "case4"
    assert "nearest_training" not in quality


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), InputError("The disk is full."), ValueError()])
def test_a_failing_sample_never_ends_a_training(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(samples, "draw_sample", fail)
    listener = run(watched(dataset, sample_every=1), tmp_path)
    assert len(listener.warnings) == 1  # though it failed four times
    assert "sampling of held-out masks failed; the training continues" in listener.warnings[0]
    assert len(metrics(tmp_path, "validation")) == 2
    assert (tmp_path / "outputs" / "model" / "config.json").is_file()


def test_a_chart_that_cannot_be_written_never_ends_a_training(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "loss.png" / "taken").mkdir(parents=True)
    (warning,) = run(watched(dataset), tmp_path).warnings
    assert "The loss chart failed; the training continues" in warning and "loss.png could not be written" in warning
    assert not list(tmp_path.glob(".part-*"))


class Stopping(Listener):
    """Asks to stop once a sample is being made."""

    def check_cancelled(self) -> None:
        if "sample" in self.stages:
            raise Cancelled("stop")


def test_a_sampling_can_be_cancelled(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        Trainer(watched(dataset, sample_every=2), tmp_path, Stopping()).run()
    assert not list(tmp_path.glob("samples/*/*"))
    checkpoint = Checkpoints(tmp_path / "checkpoints").load_newest()
    assert checkpoint is not None
    assert checkpoint["step"] == 2


def test_a_verdict_is_an_event_of_the_run(tmp_path: Path, dataset: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create(watched(dataset))
    RunReporter(folder).verdict("flat", "It stands still.")
    events, _ = folder.events()
    assert [(e.event, e.stage, e.message) for e in events if e.event == "verdict"] == [
        ("verdict", "flat", "It stands still.")
    ]
    assert Event.from_line(events[-1].to_line()) == events[-1]


def test_tensorboard_gets_figures_and_pictures(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(watched(dataset, tensorboard=True), tmp_path)
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert {"loss/train", "loss/validation", "quality/psnr/case3"} <= set(found.Tags()["scalars"])
    assert found.Tags()["images"] == ["samples/case3"]
    assert [event.step for event in found.Scalars("loss/validation")] == [2, 4]


# --- parts ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(dataset: Path) -> ModelConfig:
    return model_config(tiny_config(dataset), read_dataset_config(dataset))


def validation(dataset: Path, model: ModelConfig, seed: int = 0) -> Validation:
    cases = PreparedDataset(dataset, "train")
    objective = Objective(model, Schedule.from_config(model.schedule))
    return Validation(len(cases), cases.__getitem__, objective, 4, seed)


def test_validation_repeats_itself_and_leaves_no_trace(dataset: Path, model: ModelConfig) -> None:
    torch.manual_seed(1)
    network = UNet3D(model.network).train()
    measure = validation(dataset, model)
    before = torch.get_rng_state()
    first, again = (measure(network, torch.device("cpu")) for _ in range(2))
    assert first == again
    assert validation(dataset, model, seed=1)(network, torch.device("cpu")) != first
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in network.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_a_band_that_is_not_finite_stays_visible(dataset: Path, model: ModelConfig, tmp_path: Path) -> None:
    network = UNet3D(model.network)
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    found = validation(dataset, model)(network, torch.device("cpu"))
    assert math.isnan(mean_loss(found))
    MetricsLog(tmp_path).append("validation", 1, loss=mean_loss(found))
    assert metrics(tmp_path, "validation")[0]["loss"] is None


@pytest.mark.parametrize(("steps", "count"), [(250, 5), (20, 3), (7, 7), (3, 5), (1, 5)])
def test_bands_cover_all_noise_levels_once(steps: int, count: int) -> None:
    found = bands(steps, count)
    assert [t for low, high in found for t in range(low, high + 1)] == list(range(steps))
    assert len(found) == min(steps, count)
    assert all(low <= t <= high for low, high in found for t in levels(low, high))


def test_a_frozen_model_is_a_copy(model: ModelConfig) -> None:
    network = UNet3D(model.network)
    before = torch.get_rng_state()
    frozen = frozen_model(model, network, torch.device("cpu"), torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.dtype == torch.float32 and p.requires_grad for p in network.parameters())
    assert all(p.dtype == torch.bfloat16 for p in frozen._network.parameters())


def test_old_rounds_keep_their_sheets_only(tmp_path: Path) -> None:
    for iteration in (100, 200, 300, 1000):
        case = round_folder(tmp_path, iteration) / "case"
        case.mkdir(parents=True)
        for name in ("synthetic-T1.nii.gz", "sheet.png"):
            (case / name).touch()
    forget_volumes(tmp_path, keep=2)
    left = {path.parts[-3] for path in tmp_path.glob("*/*/*.nii.gz")}
    assert left == {"iteration-00000300", "iteration-00001000"}
    assert len(list(tmp_path.glob("*/*/sheet.png"))) == 4


@pytest.mark.parametrize(("count", "wanted", "expected"), [(5, 0, 5), (5, 9, 5), (10, 2, 2), (3, 3, 3), (7, 1, 1)])
def test_cases_are_chosen_evenly(count: int, wanted: int, expected: int) -> None:
    chosen = list(spread(count, wanted))
    assert len(set(chosen)) == len(chosen) == expected
    assert all(0 <= i < count for i in chosen)
    assert list(spread(10, 2)) == [2, 7]


def test_too_much_watching_is_told_once_and_not_at_first(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(folder: str) -> list[str]:
        return [w for w in run(watched(dataset, max_share=0.0), tmp_path / folder).warnings if "of the time" in w]

    assert told("early") == []
    monkeypatch.setattr(monitor, "PATIENCE_SECONDS", 0.0)
    (sentence,) = told("late")
    assert "at most 0%" in sentence


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SAR", "PIL"])
def test_a_centered_grid(orientation: str) -> None:
    affine = centered_affine((4, 5, 6), (1.0, 2.0, 3.0), orientation)
    assert axis_codes(affine) == orientation
    assert affine @ [1.5, 2, 2.5, 1] == pytest.approx([0, 0, 0, 1])
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx([1, 2, 3])


def test_a_line_of_the_log_comes_before_what_else_is_told_of_its_iteration(dataset: Path, tmp_path: Path) -> None:
    trainer = Trainer(watched(dataset), tmp_path, SilentReporter())
    assert [type(hook) for hook in trainer.hooks] == [Monitor]
    trainer.run()
    kinds = [m["kind"] for m in MetricsLog(tmp_path).read()[0] if m["iteration"] == 2]
    assert kinds == ["train", "validation", "verdict"]
