"""The benchmarks run, at tiny sizes, and their figures are what they say; no test looks at how long anything takes."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from medddpm.config import GridConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.errors import InputError, MedDDPMError
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.jobs.events import Event
from medddpm.labels.check import check_mask
from medddpm.models.registry import save_model_folder
from medddpm.network.unet import UNet3D
from PIL import Image
from safetensors.torch import save_file
from small_models import SMALL, reference_network, reference_weights, small_config

sys.path.insert(0, str(Path(__file__).parents[2]))  # the benchmarks are no part of the installed package

from benchmarks import __main__ as command
from benchmarks import anatomy, common, cpu, gpu, inpainting, networks, render, strip, sweep, training, volumes, worker
from benchmarks.phantom import write_phantom

TINY = replace(cpu.QUICK, repeats=1)
CPU = torch.device("cpu")
GRID = GridConfig((16, 16, 24), (15.0, 15.0, 10.0), "LPS")
TRAINING_GRID = replace(small_config(), grid=GRID)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """The reference's small network as a model folder on a tiny grid."""
    folder = tmp_path / "tiny model"
    save_model_folder(folder, TRAINING_GRID, reference_weights(UNet3D(SMALL)))
    return folder


@pytest.fixture
def dataset_folder(tmp_path: Path) -> Path:
    """A prepared dataset of one made-up test case on that grid."""
    folder = tmp_path / "dataset"
    (folder / "cases").mkdir(parents=True)
    config = TRAINING_GRID
    cases = (PreparedCase("held-out", "test"),)
    DatasetConfig(config.scheme, config.grid, config.modalities, cases, config.mask_values).save(folder)
    shape = tuple(reversed(GRID.shape))
    fractions = ((networks.condition(config, shape)[0] > 0) * 255).to(torch.uint8)
    images = (networks.draw("real", (1, *shape)).clamp(-1, 1)).half()
    save_file({"images": images, "fractions": fractions}, folder / "cases" / "held-out.safetensors")
    return folder


def sweep_settings(tmp_path: Path, model: Path, dataset: Path) -> sweep.SweepSettings:
    return sweep.SweepSettings(
        folder=str(tmp_path / "sweep"),
        model=str(model),
        dataset=str(dataset),
        samplers=("ddim", "dpm++2m", "ddpm"),
        steps=(2,),
        reference_steps=3,
        precision="fp32",
    )


def test_weights_are_the_references() -> None:
    own, expected = networks.reference_network(SMALL).state_dict(), reference_network(SMALL).state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["whole-head", "brats"])
def test_conditions_are_masks(name: str) -> None:
    config = networks.config_named(name)
    mask = networks.condition(config, (16, 24, 16))
    assert mask.shape == (1, config.network.mask_channels, 16, 24, 16)
    assert set(mask.unique().tolist()) == set(config.mask_values)
    inside = mask == config.mask_values[1]
    assert inside.sum(1).max() == 1
    assert all(channel.any() for channel in inside[0])


@pytest.mark.slow
def test_plain_and_fast_path_in_processes_of_their_own() -> None:
    suite = cpu.run(TINY, (networks.PLAIN, networks.FAST), training=False)
    table = suite.tables[0]
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    plain, fast = rows[networks.PLAIN.name], rows[networks.FAST.name]
    assert plain["error %"] == 0
    assert 0 < fast["error %"] < 100 * cpu.MAX_ERROR
    assert fast["CPU s: times fewer"] == pytest.approx(plain["CPU s"] / fast["CPU s"])
    assert 0.1 < plain["peak memory GB"] < 4
    assert [r.measured for r in suite.requirements] == pytest.approx([fast["CPU s: times fewer"], fast["error %"]])
    shares = suite.tables[1]
    for row in shares.rows:
        found = dict(zip(shares.columns, row, strict=True))
        assert 0 < found["CPU s in convolutions"] < found["CPU s"]
        assert found["share %"] == pytest.approx(100 * found["CPU s in convolutions"] / found["CPU s"])


@pytest.mark.slow
def test_every_ablation_computes_the_same() -> None:
    expected = cpu.measure(networks.PLAIN, TINY).prediction
    for variant in cpu.VARIANTS:
        if not variant.keep_memory:  # that would stay with the tests' own process
            limit = 1e-4 if variant.precision == "fp32" else cpu.MAX_ERROR
            assert cpu.relative_error(cpu.measure(variant, TINY).prediction, expected) < limit, variant.name


def test_training_steps_compare_equal_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "keep_freed_memory", lambda: True)
    own, reference = (cpu.measure_training(flag, TINY).prediction for flag in (True, False))
    assert not np.array_equal(own, reference), "the same layer was measured twice"
    assert cpu.relative_error(own, reference) < 0.1


@pytest.mark.slow
def test_all_ways_to_train_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain path and the Trainer compute the same losses; the compact network is another network."""
    monkeypatch.setattr("medddpm.training.trainer.keep_freed_memory", lambda: True)
    monkeypatch.setattr(training, "in_fresh_process", lambda function, *args: function(*args))
    monkeypatch.setitem(networks.NETWORKS, "small", replace(SMALL, base_channels=16, groups=8))
    found = training.compare((training.PLAIN, training.OURS, training.CHECKPOINTING, training.COMPACT), training.QUICK)
    plain, ours, checkpointing, compact = (trainings[0] for trainings in found.values())
    assert len(plain.losses) == training.QUICK.warmup + training.QUICK.iterations
    assert ours.losses == pytest.approx(plain.losses, rel=0.01)
    assert checkpointing.losses == pytest.approx(ours.losses, rel=0.001)
    assert ours.losses != plain.losses
    assert compact.losses != pytest.approx(plain.losses, rel=0.01)
    table = training.training_table(found, training.QUICK)
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[0]["times faster"] == 1
    assert rows[1]["times faster"] == pytest.approx(rows[0]["wall s"] / rows[1]["wall s"])
    assert all(row["CPU s"] > 0 and 0 <= row["waits for batches %"] < 100 for row in rows)


def test_what_does_not_fit_into_a_gpu_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> float:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(training, "_plain", full)
    found = training.measure(training.PLAIN, training.QUICK)
    assert np.isnan([found.peak, found.waiting, found.measured[0].wall]).all()


@pytest.mark.slow
def test_a_killed_process_is_a_sentence() -> None:
    with pytest.raises(MedDDPMError, match="memory"):
        common.in_fresh_process(sys.exit, 9) if sys.platform == "win32" else common.in_fresh_process(_die)


def _die() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def peak_grown_by(size: int) -> int:
    """How much the peak of this process grows when so many bytes more than ever are in use."""
    before = common.peak_memory()
    block = np.ones(before - psutil.Process().memory_info().rss + size, np.uint8)
    grown = common.peak_memory() - before
    del block
    return grown


@pytest.mark.slow
def test_peak_memory_sees_what_was_allocated() -> None:
    """In a process of its own: a large one may have room for the block in what it freed before."""
    assert common.in_fresh_process(peak_grown_by, 50_000_000) == pytest.approx(50_000_000, abs=25_000_000)


def test_a_volume_and_the_labeled_extrapolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(volumes, "in_fresh_process", lambda function, *args: function(*args))
    suite = volumes.run(replace(volumes.QUICK, demo=""))
    fast, plain = suite.tables[0].rows
    assert fast[1] == 2
    assert fast[3] >= fast[2] > 0
    assert "extrapolated" in plain[0]
    assert plain[3] == pytest.approx(250 * plain[2])


def test_a_missing_demo_is_told_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(volumes, "in_fresh_process", lambda function, *args: function(*args))
    suite = volumes.run(replace(volumes.QUICK, demo="no-such-model"))
    assert any("no-such-model" in note for note in suite.notes)
    assert len(suite.tables) == 1


def test_the_phantom_is_a_mask_without_errors(tmp_path: Path) -> None:
    for name in ("whole-head", "brats"):
        config = networks.config_named(name)
        write_phantom(tmp_path / f"{name}.nii.gz", config, shape=(60, 60, 39), spacing=(4.0, 4.0, 4.0))
        mask = read_mask(tmp_path / f"{name}.nii.gz")
        assert set(np.unique(mask.volume.data)) == {0, *config.scheme.values}
        assert not check_mask(mask, config, None, {v: v for v in config.scheme.values}).errors


def test_waits_are_read_off_the_events() -> None:
    events = [
        Event("started", 10.05),
        Event("stage", 10.06, "load"),
        Event("stage", 10.10, "prepare"),
        Event("stage", 10.20, "sample"),
        Event("step", 11.25, "sample", step=1, total=4),
        Event("step", 12.25, "sample", step=2, total=4),
        Event("step", 14.25, "sample", step=4, total=4),
        Event("stage", 14.30, "write"),
    ]
    wait = worker.wait_of(events, submitted=10.0)
    assert (wait.started, wait.loaded, wait.prepared) == pytest.approx((0.05, 0.10, 0.20))
    assert (wait.first_step, wait.finished_step, wait.step) == pytest.approx((0.25, 1.25, 1.0))
    with pytest.raises(MedDDPMError, match="fewer than two"):
        worker.wait_of(events[:5], submitted=10.0)


@pytest.mark.slow
def test_the_worker_is_measured_for_real(model_folder: Path) -> None:
    settings = worker.WorkerSettings(
        str(model_folder), jobs=1, steps=3, precision="fp32", shape=(60, 60, 39), spacing=(4.0, 4.0, 4.0)
    )
    for wait in worker.measure(settings):
        assert 0 < wait.started < wait.loaded < wait.prepared < wait.finished_step
        assert wait.first_step + wait.step == pytest.approx(wait.finished_step)


@pytest.mark.slow
def test_a_sweep_and_its_resumption(
    tmp_path: Path, model_folder: Path, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "keep_freed_memory", lambda: True)
    settings = sweep_settings(tmp_path, model_folder, dataset_folder)
    suite = sweep.run(settings, lambda line: None)
    rows = {(row[0], row[1]): dict(zip(sweep.COLUMNS, row, strict=True)) for row in suite.tables[0].rows}
    assert set(rows) == {("ddim", 3), ("ddpm", 3), ("ddim", 2), ("dpm++2m", 2), ("ddpm", 2)}
    for sampler in ("ddim", "ddpm"):
        assert rows[sampler, 3]["L1 to all steps"] == 0
        assert rows[sampler, 3]["MS-SSIM to all steps"] == pytest.approx(1, abs=1e-5)
    assert rows["dpm++2m", 2]["L1 to all steps"] > 0
    assert all(row["L1 to real"] > 0 and 0 <= row["MS-SSIM to real"] < 1 for row in rows.values())
    with Image.open(Path(settings.folder) / "strips" / "held-out.png") as picture:
        assert min(picture.size) > 200

    monkeypatch.setattr(sweep, "sample", lambda *args, **kwargs: pytest.fail("a finished point was sampled again"))
    assert sweep.run(settings, lambda line: None).tables == suite.tables
    with pytest.raises(InputError, match="another model, seed or precision"):
        sweep.run(replace(settings, seed=1), lambda line: None)


def test_a_sweep_over_mask_files_needs_no_real_image(tmp_path: Path, model_folder: Path, dataset_folder: Path) -> None:
    mask = tmp_path / "hand made.nii.gz"
    write_phantom(mask, TRAINING_GRID, shape=(60, 60, 39), spacing=(4.0, 4.0, 4.0))
    settings = replace(sweep_settings(tmp_path, model_folder, dataset_folder), dataset="", masks=(str(mask),))
    (case,) = sweep.find_cases(settings, TRAINING_GRID)
    assert (case.name, case.real) == ("hand made", None)
    assert case.condition.shape == (1, 2, *reversed(GRID.shape))
    with pytest.raises(InputError, match="nothing to sweep"):
        list(sweep.find_cases(replace(settings, masks=()), TRAINING_GRID))


def test_a_sweep_refuses_a_dataset_of_another_grid(tmp_path: Path, model_folder: Path, dataset_folder: Path) -> None:
    settings = sweep_settings(tmp_path, model_folder, dataset_folder)
    with pytest.raises(InputError, match="another grid"):
        list(sweep.find_cases(settings, small_config()))


@pytest.mark.parametrize("axes", list(itertools.permutations(("LR", "PA", "SI"))))
def test_axial_slices_show_left_on_the_right_and_front_up(axes: tuple[str, ...]) -> None:
    """Whatever the grid's axes, the brightest voxel, left in front, is at the top right."""
    for letters in itertools.product(*axes):
        orientation = "".join(letters)
        volume = np.full((5, 5, 5), -1.0)
        index = {"L": -1, "R": 0, "A": -1, "P": 0, "S": 2, "I": 2}
        xyz = tuple(index[letter] for letter in orientation)
        volume[tuple(reversed(xyz))] = 1
        assert strip.axial_slice(volume, orientation)[0, -1] == 1, orientation


def test_without_a_gpu_one_sentence_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    command.gpu_command(tmp_path)
    assert capsys.readouterr().out.count(".\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_gpu_checks_find_the_reference_numbers_on_the_cpu_too() -> None:
    forward, trajectory = gpu.parity(CPU)
    assert 0 <= forward < gpu.MAX_FORWARD
    assert 0 <= trajectory < gpu.MAX_TRAJECTORY
    assert gpu.bf16_right(CPU)


@pytest.mark.slow
def test_gpu_table_compares_the_paths() -> None:
    table, speed = gpu.evaluation_table("small", (16, 16, 16), gpu.GpuSettings(repeats=1, warmup=0), CPU)
    assert table.rows[0][2:4] == (1.0, 0.0)
    assert speed.ratio == pytest.approx(table.rows[-1][2])
    assert 0 < speed.error < gpu.MAX_ERROR


def suite_of(measured: float) -> common.Suite:
    table = common.Table("A table", ("path", "s"), (("plain", 1234.5), ("fast", measured)))
    required = common.Requirement("fast", measured, "at most", 0.5, "s")
    return common.Suite({"side": 16}, (table,), (required,), ("A note.",), command="python -m benchmarks cpu")


def test_results_become_the_page(tmp_path: Path) -> None:
    page, results = tmp_path / "benchmarks.md", tmp_path / "results"
    page.write_text(f"Before\n\n{render.BEGIN}\nold\n{render.END}\n\nAfter\n", encoding="utf-8")
    common.save(results, "Some CPU, 2 cores", "cpu", suite_of(98765.4))
    common.save(results, "Some CPU, 2 cores", "worker", suite_of(0.123456))
    path = common.save(results, "Some CPU, 2 cores", "cpu", suite_of(0.25))
    assert path.name == "some-cpu-2-cores.json"
    assert json.loads(path.read_text())["suites"]["cpu"]["requirements"][0]["met"]
    for _ in range(2):
        render.render(page, results)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("Before\n\n<!-- results:begin -->\n\n## Some CPU, 2 cores\n\n### One evaluation\n")
    assert "\n| plain | 1234 |\n| fast | 0.25 |\n" in text
    assert "| fast | 0.123 |" in text
    assert "| fast | at most 0.5 s | 0.25 s | met |" in text
    assert "old" not in text
    assert "98765" not in text and "9.88e+04" not in text
    assert text.endswith("<!-- results:end -->\n\nAfter\n")


def test_what_did_not_fit_is_null_in_the_file_and_a_dash_on_the_page(tmp_path: Path) -> None:
    path = common.save(tmp_path, "Small GPU", "gpu", suite_of(float("nan")))
    suite = json.loads(path.read_text(), parse_constant=pytest.fail)["suites"]["gpu"]
    assert suite["requirements"][0]["measured"] is None
    assert "| fast | at most 0.5 s | – s | missed |" in render.suite_section("gpu", suite)


def test_damaged_results_and_pages_are_named(tmp_path: Path) -> None:
    (tmp_path / "some-cpu.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match=r"some-cpu\.json"):
        common.save(tmp_path, "Some CPU", "cpu", suite_of(1.0))
    (tmp_path / "page.md").write_text("no markers", encoding="utf-8")
    with pytest.raises(InputError, match=r"page\.md has lost"):
        render.render(tmp_path / "page.md", tmp_path)


def test_the_shipped_page_has_its_markers() -> None:
    text = render.PAGE.read_text(encoding="utf-8")
    assert text.index(render.BEGIN) < text.index(render.END)


def test_requirements() -> None:
    assert common.Requirement("", 6.1, "at least", 6, "").met
    assert not common.Requirement("", 5.9, "at least", 6, "").met
    assert not common.Requirement("", float("nan"), "at most", 6, "").met


def test_commands_are_kept_without_folders() -> None:
    line = common.command_line(
        ["sweep", "--out", "/home/me/a b/", "--dataset=C:\\data\\set", "--steps", "5,10", "x.nii"]
    )
    assert line == "python -m benchmarks sweep --out 'a b' --dataset=set --steps 5,10 x.nii"


@pytest.mark.slow
def test_the_anatomy_is_completed_and_timed() -> None:
    suite = anatomy.run(anatomy.AnatomySettings(seeds=1, threads=1))
    ((seed, seconds, dice, name),) = suite.tables[0].rows
    assert seed == 0 and seconds > 0 and dice > 0.98 and name.startswith("brain_")
    assert suite.requirements[0].measured == seconds and suite.settings["mask"] == "glioma.nii.gz"


def test_a_removed_tumor_is_compared_with_healthy_brain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A brain of 100 with a tumor of 200, which the result (in other units) has at 110; one voxel goes astray."""
    distance = np.sqrt(((np.indices((40, 40, 40)) - 19.5) ** 2).sum(axis=0))
    tumor = np.sqrt(((np.indices((40, 40, 40)) - np.array([12, 19, 19])[:, None, None, None]) ** 2).sum(axis=0)) < 6
    brain = distance < 18
    scan = np.where(tumor, 200, np.where(brain, 100, 0)).astype(np.int16)
    case = tmp_path / "BraTS2021_00001"
    case.mkdir()
    for name, data in (("flair", scan), ("seg", np.where(tumor, 2, 0).astype(np.uint8))):
        write_image(case / f"{case.name}_{name}.nii.gz", data, np.eye(4), "test")
    made = np.where(tumor, 550, scan * 5)
    made[0, 0, 0] = 5
    asked: dict[str, Any] = {}

    def synthesize(mask: Path, **options: Any) -> SimpleNamespace:
        asked.update(options, brain=read_mask(mask).volume.data > 0)
        return SimpleNamespace(images={"FLAIR": SimpleNamespace(dataobj=made)})

    monkeypatch.setattr(inpainting.medddpm, "synthesize", synthesize)
    settings = inpainting.InpaintingSettings(str(tmp_path), "any", (), 1, str(tmp_path / "out"))
    (table,) = inpainting.run(settings).tables
    (row,) = table.rows
    assert row[:2] == (case.name, "FLAIR") and row[2:5] == pytest.approx((100, 200, 110)) and row[6] == 1
    assert np.array_equal(asked["brain"], brain) and asked["before"].name.endswith("_seg.nii.gz")
    assert (tmp_path / "out" / f"{case.name}.png").is_file()
    with pytest.raises(InputError, match="none of the cases"):
        inpainting.run(replace(settings, cases=("other",)))
