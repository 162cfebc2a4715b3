"""Training on prepared cases: it learns, resumes exactly, survives a kill, and says what is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medddpm import load_model
from medddpm.config import GridConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.geometry.nifti import write_image
from medddpm.labels.scheme import load_scheme
from medddpm.progress import SilentReporter
from medddpm.training.augment import flip_left_right, shift
from medddpm.training.batches import batches
from medddpm.training.checkpoint import load_newest
from medddpm.training.config import OptimizerConfig, TrainConfig, learning_rate
from medddpm.training.dataset import PreparedDataset
from medddpm.training.prepare import CaseSource, prepare_dataset
from medddpm.training.trainer import Trainer
from safetensors.torch import save_file

GRID = GridConfig((8, 16, 8), (16.0, 12.0, 20.0), "LPS")
NETWORK = NetworkConfig(2, 2, base_channels=8, multipliers=(1, 2), groups=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases whose second modality is the negative of the first, both following the mask."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "cases").mkdir()
    generator = torch.Generator().manual_seed(3)
    for i in range(4):
        head = torch.zeros(8, 16, 8)
        head[1:7, 2:14, 1:7] = 1
        tumor = torch.zeros(8, 16, 8)
        z, y, x = (int(torch.randint(2, n - 3, (), generator=generator)) for n in head.shape)
        tumor[z : z + 2, y : y + 2, x : x + 2] = 1
        image = torch.stack([2 * tumor - 1, 1 - 2 * tumor]) * head + (head - 1)
        fractions = (torch.stack([head * (1 - tumor), tumor]) * 255).to(torch.uint8)
        save_file({"images": image.half(), "fractions": fractions}, folder / "cases" / f"case{i}.safetensors")
    cases = tuple(PreparedCase(f"case{i}", "test" if i == 3 else "train") for i in range(4))
    DatasetConfig(load_scheme("whole-head"), GRID, ("T1", "T2"), cases).save(folder)
    return folder


def config(dataset: Path, out: Path, **changes: object) -> TrainConfig:
    settings = {"iterations": 6, "precision": "fp32", "checkpoint_every": 3, "log_every": 2, "threads": 1}
    optimizer = OptimizerConfig(lr=2e-3, plan="constant", clip_norm=1.0)
    base = TrainConfig(str(dataset), str(out), NETWORK, ScheduleConfig(steps=20), optimizer, **settings)
    return replace(base, **changes)


def weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = load_newest(run / "checkpoints")
    assert checkpoint is not None
    return {**checkpoint["network"], **{f"ema.{k}": v for k, v in checkpoint["average"].items()}}


def test_a_continued_run_equals_the_uninterrupted_one_bit_for_bit(dataset: Path, tmp_path: Path) -> None:
    Trainer(config(dataset, tmp_path / "whole", shift_voxels=1), SilentReporter()).run()
    Trainer(config(dataset, tmp_path / "parts", shift_voxels=1, iterations=3), SilentReporter()).run()
    Trainer(config(dataset, tmp_path / "parts", shift_voxels=1), SilentReporter()).run()
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_training_lowers_the_loss_and_gives_a_usable_model(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    schedule = ScheduleConfig(steps=20, prediction="x0")
    settings = config(dataset, out, iterations=120, log_every=20, schedule=schedule, checkpoint_every=120, batch_size=2)
    folder = Trainer(settings, SilentReporter()).run()
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.6 * losses[0]
    model = load_model(folder)
    assert model.config.modalities == ("T1", "T2")
    assert model.config.training["iterations"] == 120
    assert model.config.training["training_cases"] == ["case0", "case1", "case2"]
    images, fractions = PreparedDataset(dataset, "test")[0]
    x0 = model.predict_x0(torch.randn(1, 2, 8, 16, 8), fractions[None], 19)
    assert float((x0[0] - images).abs().mean()) < float((torch.zeros_like(images) - images).abs().mean()) / 2


def test_bf16_trains(dataset: Path, tmp_path: Path) -> None:
    folder = Trainer(config(dataset, tmp_path, precision="bf16", iterations=2), SilentReporter()).run()
    assert all(p.dtype == torch.float32 for p in load_model(folder)._network.parameters())


def test_accumulation_equals_a_larger_batch(dataset: Path, tmp_path: Path) -> None:
    """Two half batches see the cases of one whole batch; their noise differs, so only the order is compared."""
    whole, halves = batches(3, 4, 7, 0), batches(3, 2, 7, 0)
    assert [next(whole) for _ in range(3)] == [next(halves) + next(halves) for _ in range(3)]


def test_batches_resume_anywhere_and_cover_every_case() -> None:
    order = batches(5, 2, 1, 0)
    seen = [next(order) for _ in range(10)]
    later = batches(5, 2, 1, 6)
    assert [next(later) for _ in range(4)] == seen[6:]
    flat = [index for batch in seen for index in batch]
    assert all(sorted(flat[i : i + 5]) == list(range(5)) for i in range(0, 20, 5))


def test_resume_with_another_configuration_is_refused(dataset: Path, tmp_path: Path) -> None:
    Trainer(config(dataset, tmp_path, iterations=1), SilentReporter()).run()
    with pytest.raises(InputError, match=r"started with seed = 0, .* now says 5"):
        Trainer(config(dataset, tmp_path, seed=5), SilentReporter())


class CancelAt(SilentReporter):
    def __init__(self, step: int) -> None:
        self.last, self._at = 0, step

    def step(self, done: int, total: int, preview: object = None) -> None:
        self.last = done

    def check_cancelled(self) -> None:
        if self.last >= self._at:
            raise Cancelled("stop")


def test_cancel_stops_between_iterations_and_keeps_the_checkpoint(dataset: Path, tmp_path: Path) -> None:
    reporter = CancelAt(4)
    with pytest.raises(Cancelled):
        Trainer(config(dataset, tmp_path), reporter).run()
    checkpoint = load_newest(tmp_path / "checkpoints")
    assert reporter.last == 4
    assert checkpoint is not None
    assert checkpoint["step"] == 3


def test_a_loss_that_is_not_finite_ends_with_a_sentence_and_the_checkpoint(dataset: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(dataset, tmp_path, iterations=3), SilentReporter())
    trainer.run()
    trainer = Trainer(config(dataset, tmp_path, iterations=9), SilentReporter())
    with torch.no_grad():
        next(trainer.state.network.parameters()).fill_(float("nan"))
    with pytest.raises(MedDDPMError, match="The loss became nan at iteration 4"):
        trainer.run()
    checkpoint = load_newest(tmp_path / "checkpoints")
    assert checkpoint is not None
    assert checkpoint["step"] == 3


def test_damaged_checkpoints_are_named(dataset: Path, tmp_path: Path) -> None:
    Trainer(config(dataset, tmp_path, iterations=1), SilentReporter()).run()
    newest = next((tmp_path / "checkpoints").glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(InputError, match=newest.name):
        Trainer(config(dataset, tmp_path), SilentReporter())


def test_a_killed_run_goes_on_from_its_last_checkpoint(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    settings = config(dataset, out, iterations=100_000, checkpoint_every=1, log_every=1)
    text = tmp_path / "run.json"
    text.write_text(json.dumps(asdict(settings)))
    code = (
        "import json,sys; from medddpm.config import from_dict; from medddpm.training.config import TrainConfig;"
        "from medddpm.training.trainer import Trainer; from medddpm.progress import SilentReporter;"
        "Trainer(from_dict(TrainConfig, json.load(open(sys.argv[1])), 'c'), SilentReporter()).run()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(text)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.glob("checkpoints/step-0000000[3-9].pt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    checkpoint = load_newest(out / "checkpoints")
    assert checkpoint is not None
    assert checkpoint["step"] >= 3
    Trainer(replace(settings, iterations=checkpoint["step"] + 2), SilentReporter()).run()
    assert load_model(out / "model").config.training["iterations"] == checkpoint["step"] + 2


@pytest.mark.parametrize(
    ("plan", "step", "expected"),
    [
        ("constant", 50, 1e-3),
        ("halved", 49, 1e-3),
        ("halved", 50, 1e-4),
        ("cosine", 55, 5.5e-4),
        ("trapezoid", 79, 1e-3),
        ("trapezoid", 90, 5.5e-4),
        ("cosine", 4, 5e-4),
    ],
)
def test_learning_rate_plans(plan: str, step: int, expected: float) -> None:
    settings = OptimizerConfig(lr=1e-3, final_lr=1e-4, plan=plan, warmup_steps=10, decay_steps=20)
    assert learning_rate(settings, step, 100) == pytest.approx(expected, rel=0.02)


def test_augmentation_moves_image_and_mask_together() -> None:
    images = torch.arange(48.0).reshape(1, 2, 4, 6) + 1
    fractions = images.clone()
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        moved = shift(*flip_left_right(images, fractions, -1, generator), 2, 0.0, generator)
        assert torch.equal(*moved)
        values = moved[0][moved[0] > 0]
        assert set(values.tolist()) <= set(images.flatten().tolist())
    flipped, _ = flip_left_right(images, fractions, -1, _always_flipping())
    assert torch.equal(flipped, images.flip(-1))


def _always_flipping() -> torch.Generator:
    for seed in range(100):
        if torch.rand((), generator=torch.Generator().manual_seed(seed)) < 0.5:
            return torch.Generator().manual_seed(seed)
    raise AssertionError("no seed flips")


def test_prepared_cases_follow_the_geometry_and_normalization(tmp_path: Path) -> None:
    shape, affine = (100, 120, 100), np.diag([-2.0, -2.0, 2.0, 1.0])
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    brain = sum(g**2 for g in grids) < 0.5
    tumor = sum((g - 0.2) ** 2 for g in grids) < 0.02
    seg = np.where(tumor, 2, 0).astype(np.uint8)
    files = []
    for i, level in enumerate((100.0, 200.0)):
        files.append(tmp_path / f"i{i}.nii.gz")
        write_image(files[-1], np.where(brain, level + 50 * tumor, 0).astype(np.float32), affine, "test")
    write_image(tmp_path / "seg.nii.gz", seg, affine, "test")
    grid = GridConfig((40, 48, 40), (4.0, 4.0, 4.0), "LPS")
    source = CaseSource("one", "train", tuple(files), tmp_path / "seg.nii.gz")
    prepared = prepare_dataset([source], tmp_path / "out", load_scheme("brats"), grid, ("T1", "T2"), SilentReporter())
    images, fractions = PreparedDataset(tmp_path / "out", "train")[0]
    assert images.shape == (2, 40, 48, 40)
    assert fractions.shape == (4, 40, 48, 40)
    inside = fractions.sum(0) > 0.99
    assert images[:, fractions.sum(0) == 0].max() < -0.99
    assert float(images[0][inside & (fractions[1] == 1)].mean()) == pytest.approx(1.0, abs=0.01)
    assert float(images[0][inside & (fractions[3] == 1)].mean()) == pytest.approx(2 * 100 / 150 - 1, abs=0.02)
    volume = float(fractions.sum()) * 4**3 / 1000
    assert prepared.prior is not None
    assert prepared.prior.outline_ml[0] < volume < prepared.prior.outline_ml[1]
    assert volume == pytest.approx(brain.sum() * 8 / 1000, rel=0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iterations = 0", "iterations is 0"),
        ("colour = 1", "unknown field 'colour'"),
        ("precision = 'fp8'", "fp32 or bf16"),
        ("[network]\nmask_channels = 1\nimage_channels = 'four'", "image_channels must be a whole number"),
        ("= 3", "not valid TOML"),
        ("", "lacks the field"),
    ],
)
def test_bad_configurations_are_explained(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "train.toml"
    base = "" if not text or "network" in text else "[network]\nimage_channels = 1\nmask_channels = 1\n"
    file.write_text(("dataset = 'd'\noutput = 'o'\n" + text + "\n" + base) if text else "", encoding="utf-8")
    with pytest.raises(InputError, match=words):
        TrainConfig.from_toml(file)


def test_damaged_datasets_are_explained(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json cannot be read"):
        PreparedDataset(tmp_path, "train")
    with pytest.raises(InputError, match="no case in the split 'validation'"):
        PreparedDataset(dataset, "validation")
    text = (dataset / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"case0\.safetensors cannot be read"):
        PreparedDataset(tmp_path, "train")
    (tmp_path / "dataset.json").write_text(text.replace('"case0"', '"../case0"'))
    with pytest.raises(InputError, match=r"\.\./case0"):
        PreparedDataset(tmp_path, "train")
