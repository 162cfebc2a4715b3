"""A training's configuration: files, presets, run folders; what does not fit is told in a sentence."""

from __future__ import annotations

import inspect
import json
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from medddpm.cli import train as cli
from medddpm.cli.commands import app
from medddpm.cli.train import train_command
from medddpm.config import NetworkConfig, ScheduleConfig, from_dict
from medddpm.dataset import read_dataset_config
from medddpm.errors import InputError
from medddpm.models.places import find_config
from medddpm.options import options_of, options_table
from medddpm.training import estimate
from medddpm.training.config import (
    AugmentConfig,
    CheckpointConfig,
    EmaConfig,
    LossConfig,
    MonitorConfig,
    OptimizerConfig,
    ScaleConfig,
    TrainConfig,
)
from medddpm.training.presets import PRESETS, preset_config, preset_data, read_train_file
from medddpm.training.resume import open_run
from medddpm.training.run import RunFolder
from medddpm.training.start import model_config
from training_runs import make_dataset, tiny_config
from typer.testing import CliRunner

NETWORK = NetworkConfig(1, 2, 8, (1, 2), groups=4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "set")


def written(folder: Path, text: str) -> Path:
    (folder / "training.toml").write_text(text, encoding="utf-8")
    return folder / "training.toml"


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        (
            OptimizerConfig,
            {"schedule": "stepwise"},
            r"optimizer\.schedule is 'stepwise', but must be one of constant, step",
        ),
        (OptimizerConfig, {"lr": 0.0}, r"optimizer\.lr is 0, but must be above 0 and below 1"),
        (OptimizerConfig, {"lr": 1e-4, "min_lr": 1e-3}, r"optimizer\.min_lr is 0\.001, .* 0 to optimizer\.lr"),
        (OptimizerConfig, {"beta2": 1.0}, r"optimizer\.beta2 is 1, but must be at least 0 and below 1"),
        (OptimizerConfig, {"clip_norm": -1.0}, r"optimizer\.clip_norm is -1, but must be 0 or more"),
        (
            OptimizerConfig,
            {"schedule": "warmup-stable-decay"},
            r"decay_steps is 0, .* 'warmup-stable-decay'",
        ),
        (
            OptimizerConfig,
            {"schedule": "cosine", "decay_steps": 5},
            r"decay_steps is 5, .*schedule is 'cosine'",
        ),
        (EmaConfig, {"decay": 1.0}, r"ema\.decay is 1,"),
        (EmaConfig, {"every": 0}, r"ema\.every is 0, but must be 1 or more"),
        (LossConfig, {"kind": "huber"}, r"loss\.kind is 'huber', but must be one of l1, l2"),
        (LossConfig, {"min_snr_gamma": -1.0}, r"loss\.min_snr_gamma is -1, but must be 0 to 1000"),
        (AugmentConfig, {"affine": 1.5}, r"augment\.affine is 1\.5, but must be 0 to 1"),
        (AugmentConfig, {"elastic_mm": 10.0}, r"elastic_smoothness_mm is 24\.0, .* 40 to 500 mm.* fold tissue"),
        (AugmentConfig, {"shift_voxels": -1}, r"augment\.shift_voxels is -1"),
        (MonitorConfig, {"samples": 0}, r"monitor\.samples is 0, but monitor\.sample_every is 5000\. Set"),
        (MonitorConfig, {"split": "train"}, r"monitor\.split is 'train', but must be one of validation, test"),
        (
            CheckpointConfig,
            {"every": 100, "keep_every": 250},
            r"keep_every is 250, .* of checkpoint\.every = 100",
        ),
        (CheckpointConfig, {"newest": 0}, r"checkpoint\.newest is 0"),
    ],
)
def test_values_that_do_not_fit_are_named(section: type, values: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        section(**values)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iterations": 0}, "iterations is 0, but must be 1 or more"),
        ({"precision": "fp8"}, "precision is 'fp8', but must be one of fp32, bf16, fp16"),
        ({"mask_dropout": 1.0}, "mask_dropout is 1, but must be at least 0 and below 1"),
        ({"seed": -1}, "seed is -1"),
        ({"augment": AugmentConfig(crop_voxels=9)}, r"augment\.crop_voxels is 9, but must be 0 or a multiple of 2"),
        ({"optimizer": OptimizerConfig(warmup_steps=99)}, r"warmup_steps = 99 .* more than iterations = 6"),
        (
            {"optimizer": OptimizerConfig(kind="muon"), "scale": ScaleConfig(strategy="fsdp")},
            r"strategy is 'fsdp', but optimizer\.kind is 'muon', which needs whole kernels\. Set",
        ),
    ],
)
def test_trainings_that_do_not_fit_are_explained(dataset: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny_config(dataset, **changes)


def test_what_contradicts_the_compact_network_is_explained(dataset: Path) -> None:
    wavelet = replace(NETWORK, domain="wavelet")
    with pytest.raises(
        InputError, match=r"prediction is 'noise', but a network with .*'wavelet' .* Set schedule\.prediction"
    ):
        tiny_config(dataset, network=wavelet)
    with pytest.raises(InputError, match=r"min_snr_gamma is 5, but a network with .* Set loss\.min_snr_gamma = 0"):
        tiny_config(
            dataset, network=wavelet, schedule=ScheduleConfig(20, prediction="x0"), loss=LossConfig(min_snr_gamma=5)
        )
    with pytest.raises(InputError, match=r"mask_dropout is 0\.1, but network\.position is true and .*crop_voxels is 8"):
        tiny_config(
            dataset,
            network=replace(wavelet, position=True),
            schedule=ScheduleConfig(20, prediction="x0"),
            augment=AugmentConfig(crop_voxels=8),
            mask_dropout=0.1,
        )
    with pytest.raises(InputError, match=r"augment\.affine, elastic and intensity are not for .*'residual'"):
        tiny_config(
            dataset,
            network=replace(NETWORK, domain="residual"),
            schedule=ScheduleConfig(20, kind="flow", prediction="x0"),
            augment=AugmentConfig(affine=0.5),
        )


def test_the_documents_have_every_option() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert "<!-- options: medddpm.training.config.TrainConfig -->" in text and "`--mask-dropout`" in options_table(
        TrainConfig
    )
    for section in (
        OptimizerConfig,
        EmaConfig,
        LossConfig,
        AugmentConfig,
        MonitorConfig,
        CheckpointConfig,
        ScaleConfig,
    ):
        assert f"<!-- fields: medddpm.training.sections.{section.__name__} -->" in text


def test_an_option_is_one_of_the_command_too() -> None:
    names = {told.name for told in options_of(TrainConfig)}
    parameters = inspect.signature(train_command).parameters
    assert names <= parameters.keys() and all(parameters[name].default is None for name in names)
    assert names == {f.name for f in fields(TrainConfig) if f.type in ("str", "int", "float", "bool", "str | None")} - {
        "dataset"
    }


def test_a_configuration_survives_json(dataset: Path) -> None:
    config = tiny_config(dataset, augment=AugmentConfig(affine=0.5), start_from="demo", loss=LossConfig("l2", 5.0))
    assert from_dict(TrainConfig, json.loads(json.dumps(config.to_dict())), "it") == config


# --- files ------------------------------------------------------------------------------------------------------------

BASE = "dataset = 'd'\n"
NET = "[network]\nimage_channels = 1\nmask_channels = 1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE + "colour = 1\n" + NET, r"unknown field 'colour'\. Leave it out"),
        (BASE + "flip = true\n" + NET, r"unknown field 'flip'\. Perhaps augment\.flip is meant"),
        (BASE + "checkpoint_every = 5\n" + NET, r"unknown field 'checkpoint_every'"),
        (BASE + NET + "[optimizer]\nlrr = 1\n", r"unknown field 'optimizer\.lrr'\. Perhaps optimizer\.lr is meant"),
        (BASE + NET + "[optimiser]\nlr = 1\n", r"unknown field 'optimiser\.lr'\. Perhaps optimizer\.lr is meant"),
        (BASE + NET + "[loss]\nkind = 3\n", r"training\.toml: loss: kind must be text, not 3"),
        (BASE + "[network]\nmask_channels = 1\nimage_channels = 'four'", "image_channels must be a whole number"),
        (BASE, r"describes no network\. Add the section \[network\], a preset"),
        (BASE + "preset = 'big'", "The preset 'big' does not exist. Choose one of whole-head, brats, demo, compact"),
        (BASE + "preset = 'demo'", r"dataset\.json cannot be read"),
        (BASE + "output = 3\n" + NET, "output must be text, not 3"),
        (NET, "lacks the field 'dataset'"),
        ("= 3", "is not valid TOML"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_train_file(written(tmp_path, text))


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read: No such file"):
        read_train_file(tmp_path / "none.toml")


def test_paths_count_from_the_file_and_the_dataset_knows_the_channels(dataset: Path, tmp_path: Path) -> None:
    text = f"dataset = '{dataset}'\noutput = 'runs/mine'\npreset = 'demo'\niterations = 300\n[optimizer]\nlr = 1e-4\n"
    config, output = read_train_file(written(tmp_path, text))
    assert output == (tmp_path / "runs" / "mine").resolve()
    network, optimizer = config.network, config.optimizer
    assert (network.image_channels, network.mask_channels, network.base_channels) == (1, 2, 32)
    assert (optimizer.lr, optimizer.warmup_steps, optimizer.decay_steps) == (1e-4, 1, 120)
    assert config.iterations == 300
    (tmp_path / "d").symlink_to(dataset, target_is_directory=True)
    assert read_train_file(written(tmp_path, "dataset = 'd'\npreset = 'demo'"))[0].dataset == str(dataset.resolve())


def test_network_and_schedule_may_be_those_of_the_starting_model(dataset: Path, tmp_path: Path) -> None:
    demo = find_config("demo")
    config, _ = read_train_file(written(tmp_path, f"dataset = '{dataset}'\nstart_from = 'demo'\npreset = 'brats'\n"))
    assert config.network == replace(demo.network, image_channels=1, mask_channels=2)
    assert config.schedule == demo.schedule
    assert config.optimizer.schedule == "step"


def test_former_names_of_options_are_read(dataset: Path, tmp_path: Path) -> None:
    lines = "licence = 'mine'\n[optimizer]\nfinal_lr = 3e-6\nplan = 'halved'"
    config = read_train_file(written(tmp_path, f"dataset = '{dataset}'\npreset = 'compact'\n{lines}"))[0]
    assert (config.license, config.optimizer.min_lr, config.optimizer.schedule) == ("mine", 3e-6, "step")


def test_the_sampler_of_the_samples_is_the_models_own(dataset: Path) -> None:
    config = tiny_config(dataset, monitor=MonitorConfig(sampler="ddim", sample_steps=7))
    made = model_config(config, read_dataset_config(dataset))
    assert (made.sampler, made.sampler_steps) == ("ddim", 7)


# --- presets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_for_any_dataset(dataset: Path, name: str) -> None:
    config = preset_config(name, dataset, name="mine")
    assert (config.network.image_channels, config.network.mask_channels, config.name) == (1, 2, "mine")
    assert config.dataset == str(dataset.resolve())
    short = preset_config(name, dataset, iterations=10)
    assert short.iterations == 10
    assert short.optimizer.schedule == config.optimizer.schedule


def test_every_preset_has_its_file() -> None:
    import medddpm.training.presets as presets

    files = {path.stem for path in (Path(presets.__file__).parent / "presets").glob("*.toml")}
    assert files == set(PRESETS)
    assert all(set(preset_data(name)) <= {"name", *asdict(tiny_config(Path("d")))} for name in PRESETS)


def test_the_published_presets_are_those_of_the_paper(dataset: Path) -> None:
    for name, blocks, attention, iterations in (("whole-head", 1, (8,), 100_000), ("brats", 2, (), 200_000)):
        config = preset_config(name, dataset)
        assert config.network == NetworkConfig(1, 2, 64, (1, 1, 2, 3, 4), blocks, attention, 1, 32)
        assert config.schedule == ScheduleConfig(250, prediction="noise")
        assert config.loss == LossConfig("l1", 0.0)
        assert (config.iterations, config.batch_size, config.accumulate) == (iterations, 1, 2)
        assert (config.optimizer.lr, config.optimizer.min_lr, config.optimizer.schedule) == (1e-5, 1e-6, "step")
        assert config.ema == EmaConfig(0.995, 10, 2000)
        assert config.mask_dropout == 0


def test_a_preset_that_is_not_there_is_explained(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The preset 'huge' does not exist"):
        preset_config("huge", dataset)
    with pytest.raises(InputError, match=r"dataset\.json cannot be read"):
        preset_config("demo", tmp_path)
    with pytest.raises(InputError, match="The preset 'demo': iterations must be a whole number, not 'ten'"):
        preset_config("demo", dataset, iterations="ten")


# --- run folders and the command --------------------------------------------------------------------------------------


def small_file(folder: Path, dataset: Path, more: str = "") -> Path:
    text = (
        f"dataset = '{dataset}'\noutput = 'run'\niterations = 2\nprecision = 'fp32'\ndevice = 'cpu'\nthreads = 1\n"
        f"{more}\n[network]\nbase_channels = 8\nmultipliers = [1, 2]\ngroups = 4\n[schedule]\nsteps = 20\n"
        "[monitor]\nvalidate_every = 0\nsample_every = 0\ntensorboard = false\n[scale]\nworkers = 0\n"
    )
    return written(folder, text)


def test_the_same_file_again_goes_on_and_takes_what_is_free_to_change(dataset: Path, tmp_path: Path) -> None:
    run = open_run(small_file(tmp_path, dataset))
    assert run.path == (tmp_path / "run").resolve()
    assert run.config().iterations == 2
    again = open_run(small_file(tmp_path, dataset), changes={"iterations": 5})
    assert again.config().iterations == 5
    with pytest.raises(InputError, match=r"already holds another training\. .*seed = 0, the configuration now says 3"):
        open_run(small_file(tmp_path, dataset, "seed = 3"))
    elsewhere = open_run(small_file(tmp_path, dataset, "seed = 3"), out=tmp_path / "other")
    assert elsewhere.config().seed == 3


def test_a_run_folder_goes_on_with_more_iterations_only(dataset: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(tiny_config(dataset))
    assert open_run(run.path).config().iterations == 6
    assert open_run(run.path, changes={"iterations": 9}).config().iterations == 9
    with pytest.raises(InputError, match="has begun, so its precision cannot be changed"):
        open_run(run.path, changes={"precision": "bf16"})
    with pytest.raises(InputError, match="is the folder of a training"):
        open_run(run.path, preset="demo")
    with pytest.raises(InputError, match=r"is not a training folder"):
        open_run(tmp_path)


@pytest.mark.parametrize("asked", [{}, {"preset": "demo"}, {"dataset": Path("d")}])
def test_nothing_to_train_is_explained(asked: dict) -> None:
    with pytest.raises(InputError, match="There is nothing to train"):
        open_run(**asked)


def test_dataset_and_preset_make_a_run(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = open_run(dataset=dataset, preset="demo", changes={"iterations": 100})
    assert run.path == (tmp_path / "runs" / "demo").resolve()
    assert run.config().optimizer.decay_steps == 40
    assert open_run(run.path).path == run.path


def test_the_command_trains_goes_on_and_tells_where_the_model_is(dataset: Path, tmp_path: Path) -> None:
    file = small_file(tmp_path, dataset)
    first = CliRunner().invoke(app, ["train", str(file)])
    assert first.exit_code == 0, first.output
    assert "The model is in" in first.output
    assert (tmp_path / "run/outputs/model/config.json").is_file()
    more = CliRunner().invoke(app, ["train", str(tmp_path / "run"), "--iterations", "3"])
    assert more.exit_code == 0, more.output
    summary = RunFolder(tmp_path / "run").summary()
    assert (summary.iteration, summary.total) == (3, 3)
    tuned = ["train", "--dataset", str(dataset), "--preset", "brats", "--from", str(tmp_path / "run/outputs/model")]
    options = ["--out", str(tmp_path / "tuned"), "--iterations", "1", "--precision", "fp32", "--device", "cpu"]
    done = CliRunner().invoke(app, [*tuned, *options, "--batch-size", "2"])
    assert done.exit_code == 0, done.output
    config = RunFolder(tmp_path / "tuned").config()
    assert (config.network.base_channels, config.batch_size, config.accumulate) == (8, 2, 2)


@pytest.mark.slow
def test_the_command_ends_with_the_code_and_sentence_of_the_run(dataset: Path, tmp_path: Path) -> None:
    file = small_file(tmp_path, dataset)
    result = CliRunner().invoke(app, ["train", str(file), "--precision", "fp16"])
    assert result.exit_code == 2
    assert "only NVIDIA GPUs train in it" in result.output


def test_a_configuration_of_absurd_length_or_depth_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for text in ("a." * 30_000 + "a=1", "x=" + "[" * 9_000):
        path.write_text(text, encoding="utf-8")
        start = time.monotonic()
        with pytest.raises(InputError, match=r"run.toml (has more than|is not valid TOML)"):
            read_train_file(path)
        assert time.monotonic() - start < 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(dataset: Path, tmp_path: Path) -> None:
    arguments = ["train", "--dataset", str(dataset), "--preset", "brats", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*arguments, "--device", "cuda"])
    assert isinstance(result.exception, InputError) and "The device 'cuda' is not available" in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("seconds", "too_long"), [(3600.0, False), (4e7, True)])
def test_a_new_training_says_what_it_will_take(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, too_long: bool
) -> None:
    found = estimate.TrainEstimate(1.0, seconds, 0.0, 3e9, None, 2e9, "Use smaller cubes.")
    monkeypatch.setattr(estimate, "estimate_training", lambda config: found)
    arguments = ["train", "--dataset", str(dataset), "--preset", "brats", "--out", str(tmp_path / "run"), "--detach"]
    monkeypatch.setattr(cli, "_detach", lambda run: None)
    said = CliRunner().invoke(app, arguments).output
    assert "This training takes about" in said and "Use smaller cubes." in said
    assert ("That is too long on auto" in said) == too_long
    assert "takes" not in CliRunner().invoke(app, ["train", str(tmp_path / "run"), "--detach"]).output
