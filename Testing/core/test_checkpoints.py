"""Published checkpoints in all their variants, and model folders: what is loaded predicts what was saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medddpm.config import ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.errors import InputError
from medddpm.files import sha256
from medddpm.models import registry as folder_module
from medddpm.models.config_file import CONFIG_NAME, WEIGHTS_NAME, read_config
from medddpm.models.published import SCHEDULE_BUFFERS, brats_config, read_published, whole_head_config
from medddpm.models.registry import convert_model, load_model, read_model_folder, save_model_folder
from medddpm.network.layout import network_config
from medddpm.network.unet import UNet3D
from medddpm.sampling.schedule import cosine_betas
from small_models import REFERENCE, SMALL, draw, reference_network, reference_weights, small_config

State = dict[str, torch.Tensor]
TINY = NetworkConfig(1, 2, 32, (1,), 1)


def buffers(betas: np.ndarray) -> State:
    """The 13 schedule buffers of a published checkpoint, float32."""
    betas = np.asarray(betas, dtype=np.float64)
    bar = np.cumprod(1 - betas)
    before = np.append(1.0, bar[:-1])
    variance = betas * (1 - before) / (1 - bar)
    values = [
        betas,
        bar,
        before,
        np.sqrt(bar),
        np.sqrt(1 - bar),
        np.log(1 - bar),
        np.sqrt(1 / bar),
        np.sqrt(1 / bar - 1),
        variance,
        np.log(np.maximum(variance, 1e-20)),
        betas * np.sqrt(before) / (1 - bar),
        (1 - before) * np.sqrt(1 - betas) / (1 - bar),
        (1 - before) * np.sqrt(1 - betas) / (1 - bar),
    ]
    named = zip(SCHEDULE_BUFFERS, values, strict=True)
    return {name: torch.from_numpy(np.asarray(value, dtype=np.float32)) for name, value in named}


def wrapped(weights: State, steps: int = 12, network: str = "denoise_fn.", everything: str = "") -> State:
    """A published state dict: the network's tensors under ``network``, the buffers, all under ``everything``."""
    state = {f"{network}{name}": tensor for name, tensor in weights.items()} | buffers(cosine_betas(steps))
    return {f"{everything}{name}": tensor for name, tensor in state.items()}


def tiny_weights(seed: int = 0) -> State:
    """Weights of the smallest network with the published names."""
    torch.manual_seed(seed)
    return UNet3D(TINY).state_dict()


@pytest.fixture(scope="module")
def weights() -> State:
    """The weights that the reference numbers were computed with."""
    with torch.device("meta"):
        network = UNet3D(SMALL)
    return reference_weights(network)


def _zeros(state: State) -> State:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


VARIANTS: dict[str, Any] = {
    "as published": lambda w: {"step": 7, "model": _zeros(wrapped(w)), "ema": wrapped(w)},
    "only ema": lambda w: {"ema": wrapped(w)},
    "only model": lambda w: {"step": 7, "model": wrapped(w)},
    "bare state dict": lambda w: wrapped(w),
    "no prefix": lambda w: {"ema": wrapped(w, network="")},
    "bare, no prefix, no buffers": lambda w: w,
    "module. outside": lambda w: {"ema": wrapped(w, everything="module.")},
    "module. inside": lambda w: {"ema": wrapped(w, network="denoise_fn.module.")},
    "module. on both sides": lambda w: {"ema": wrapped(w, network="denoise_fn.module.", everything="module.")},
    "module. alone": lambda w: {"model": wrapped(w, network="module.")},
    "torch.compile": lambda w: {"model": wrapped(w, network="denoise_fn._orig_mod.")},
    "torch.compile around all": lambda w: {"state_dict": wrapped(w, everything="_orig_mod.module.")},
    "state_dict": lambda w: {"epoch": 3, "state_dict": wrapped(w, everything="model.")},
    "model_state_dict": lambda w: {"optimizer_state_dict": {}, "model_state_dict": wrapped(w)},
    "one in another": lambda w: {"model": {"state_dict": wrapped(w), "step": 3}},
    "ema-pytorch": lambda w: {
        "model": _zeros(wrapped(w)),
        "ema": wrapped(w, everything="ema_model.")
        | wrapped(_zeros(w), everything="online_model.")
        | {"initted": torch.tensor([True]), "step": torch.tensor([7])},
    },
    "numbers of numpy": lambda w: {
        "step": np.int64(3),
        "loss": np.float32(0.5),
        "best": np.bool_(1),
        "model": wrapped(w),
    },
    "more entries": lambda w: {"epoch": 3, "ema": wrapped(w), "opt": {"state": {}}, "loss": [0.5]},
}


def test_a_checkpoint_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: dict[str, Any] = {"step": 1}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pt")
    with pytest.raises(InputError, match="holds no tensors"):
        read_published(tmp_path / "endless.pt")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_published_variant_is_read(tmp_path: Path, variant: str, zipped: bool) -> None:
    path = tmp_path / "checkpoint.pt"
    expected = tiny_weights()
    torch.save(VARIANTS[variant](expected), path, _use_new_zipfile_serialization=zipped)
    config, state = read_published(path)
    assert config.network == TINY
    assert config.schedule == ScheduleConfig(250 if variant == "bare, no prefix, no buffers" else 12)
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize(("variant", "zipped"), [("as published", True), ("module. outside", False)])
def test_predictions_equal_the_published_code(tmp_path: Path, weights: State, variant: str, zipped: bool) -> None:
    path = tmp_path / "Modell mit Lücke 模型.pt"
    torch.save(VARIANTS[variant](weights), path, _use_new_zipfile_serialization=zipped)
    model = load_model(path)
    path.unlink()  # nothing is read from the file any more
    x, t = draw("small/x", (2, 3, 16, 16, 16)), torch.tensor([0, 7])
    result = model.predict_noise(x[:, :1], x[:, 1:], t)
    assert np.abs(result.numpy() - np.load(REFERENCE / "unet_small.npz")["forward"]).max() < 1e-4
    assert (model.schedule.steps, model.config.modalities) == (12, ("T1ce",))


def test_conversion_changes_no_prediction(tmp_path: Path, weights: State) -> None:
    source, target = tmp_path / "a.pt", tmp_path / "mein Modell ä"
    torch.save({"ema": wrapped(weights)}, source)
    converted = convert_model(source, target)
    before, after = load_model(source), load_model(target)
    x = draw("convert/x", (1, 3, 16, 16, 16))
    predictions = [model.predict_noise(x[:, :1], x[:, 1:], torch.tensor([5])) for model in (before, after)]
    assert torch.equal(*predictions)
    assert replace(after.config, weights_sha256=None) == before.config == converted
    assert after.weights_hash == after.config.weights_sha256 == sha256(target / WEIGHTS_NAME)
    assert before.weights_hash == sha256(source)


@pytest.mark.parametrize("steps", [1, 12, 250, 1000])
def test_t_is_the_length_of_betas(tmp_path: Path, steps: int) -> None:
    torch.save({"ema": wrapped(tiny_weights(), steps)}, tmp_path / "a.pt")
    config, _ = read_published(tmp_path / "a.pt")
    assert config.schedule == ScheduleConfig(steps)


def test_another_schedule_is_kept_as_it_is(tmp_path: Path) -> None:
    linear = np.linspace(1e-4, 0.05, 40)
    torch.save({"ema": tiny_weights() | buffers(linear)}, tmp_path / "a.pt")
    convert_model(tmp_path / "a.pt", tmp_path / "folder")
    for model in (load_model(tmp_path / "a.pt"), load_model(tmp_path / "folder")):
        assert model.config.schedule.kind == "explicit"
        np.testing.assert_array_equal(model.schedule.betas, linear.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("betas", [[], [2.0], [0.0, 0.1], [float("nan")], [0.9] * 50, [0.001] * 10_001])
def test_impossible_schedules_are_refused(tmp_path: Path, betas: list[float]) -> None:
    torch.save({"ema": tiny_weights() | {"betas": torch.tensor(betas)}}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: .*schedule"):
        read_published(tmp_path / "a.pt")


PUBLISHED = {
    "whole_head_128": (NetworkConfig(1, 2, 64, (1, 1, 2, 3, 4), 1, (8,)), whole_head_config, (128, 128, 128)),
    "brats_192x192x144": (NetworkConfig(4, 4, 64, (1, 1, 2, 3, 4), 2, ()), brats_config, (192, 192, 144)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layouts_are_recognized_by_shape(name: str) -> None:
    expected, describe, grid = PUBLISHED[name]
    layout = json.loads((REFERENCE / "checkpoint_layout.json").read_text())[name]
    assert {key for key in layout if not key.startswith("denoise_fn.")} == set(SCHEDULE_BUFFERS)
    zero = torch.zeros(())
    state = {key.removeprefix("denoise_fn."): zero.expand(shape) for key, shape in layout.items()}
    found = network_config({key: tensor for key, tensor in state.items() if key not in SCHEDULE_BUFFERS})
    config = describe(found, ScheduleConfig())
    assert found == expected
    assert config.grid.shape == grid and config.schedule.steps == layout["betas"][0] == 250


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("whole_head_128", (32, 16, 16)), ("brats_192x192x144", (16, 16, 16))])
def test_published_sizes_run_at_a_reduced_grid(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    network = PUBLISHED[name][0]
    with torch.device("meta"):
        empty = UNet3D(network).state_dict()
    generator = torch.Generator().manual_seed(0)

    def random(tensor: torch.Tensor) -> torch.Tensor:
        scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.05
        values = torch.empty(tensor.shape, dtype=torch.float16).uniform_(-scale, scale, generator=generator)
        return values + 1 if tensor.ndim == 1 else values

    state = {name: random(tensor) for name, tensor in empty.items()}
    torch.save({"step": 1, "ema": wrapped(state, 250)}, tmp_path / "model.pt")
    predictions = []
    for precision in ("fp32", "bf16"):
        model = load_model(tmp_path / "model.pt", precision=precision)
        assert model.config.network == network and model.schedule.steps == 250
        x = draw("published/x", (1, network.image_channels, *shape))
        condition = draw("published/mask", (1, network.mask_channels, *shape))
        predictions.append(model.predict_noise(x, condition, torch.tensor([249])))
        assert predictions[-1].shape == x.shape and predictions[-1].dtype == torch.float32
    exact, rounded = predictions
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.02


def _beside(path: Path, config: ModelConfig) -> None:
    path.with_name(f"{path.stem}.config.json").write_text(config.to_json(), encoding="utf-8")


def test_other_channels_need_a_configuration_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lung.pt"
    network = NetworkConfig(1, 4, 32, (1,), 1, heads=4)
    torch.save({"ema": UNet3D(network).state_dict() | buffers(cosine_betas(30))}, path)
    with pytest.raises(InputError, match=r"1 images from 4 mask channels.*Put a lung\.config\.json beside the file"):
        load_model(path)
    given = replace(brats_config(NetworkConfig(4, 4, 32, (1,)), ScheduleConfig(prediction="v")), name="Lung")
    given = replace(given, network=network, modalities=("CT",))
    _beside(path, given)
    model = load_model(path)
    assert (model.config.name, model.config.network) == ("Lung", network)
    assert model.config.schedule == ScheduleConfig(30, prediction="v")  # T of the file, the prediction of the text
    _beside(path, replace(given, network=replace(network, blocks_per_level=2)))
    with pytest.raises(InputError, match=r"lung\.pt: The weights do not fit the network"):
        load_model(path)


# Model folders


def _save(folder: Path, seed: int = 0, **options: Any) -> None:
    save_model_folder(folder, whole_head_config(TINY, ScheduleConfig(10)), tiny_weights(seed), **options)


def test_a_folder_holds_two_files_tied_by_a_checksum(tmp_path: Path) -> None:
    _save(tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]
    config, state, digest = read_model_folder(tmp_path / "m")
    assert config.weights_sha256 == digest == sha256(tmp_path / "m" / WEIGHTS_NAME)
    assert all(torch.equal(state[name], tensor) for name, tensor in tiny_weights().items())
    assert replace(config, weights_sha256=None) == whole_head_config(TINY, ScheduleConfig(10))


def test_weights_can_be_stored_smaller(tmp_path: Path) -> None:
    _save(tmp_path / "full")
    _save(tmp_path / "half", dtype=torch.float16)
    sizes = [(tmp_path / name / WEIGHTS_NAME).stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    x = draw("half/x", (1, 3, 8, 8, 8))
    full, half = (
        load_model(tmp_path / name).predict_noise(x[:, :1], x[:, 1:], torch.tensor([3])) for name in ("full", "half")
    )
    assert half.dtype == torch.float32
    assert float((half - full).norm() / full.norm()) < 2e-3


def test_a_folder_without_a_checksum_still_loads(tmp_path: Path) -> None:
    _save(tmp_path)
    data = json.loads((tmp_path / CONFIG_NAME).read_text())
    del data["weights_sha256"]
    (tmp_path / CONFIG_NAME).write_text(json.dumps(data))
    model = load_model(tmp_path)
    assert model.config.weights_sha256 is None and model.weights_hash == sha256(tmp_path / WEIGHTS_NAME)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _save(tmp_path / "a")
    _save(tmp_path / "b", seed=1)
    (tmp_path / "a" / WEIGHTS_NAME).write_bytes((tmp_path / "b" / WEIGHTS_NAME).read_bytes())
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "a")
    for word in (str(tmp_path / "a" / WEIGHTS_NAME), "damaged or belong to another config.json", "SHA-256", "Copy"):
        assert word in str(caught.value)


class _Killed(BaseException):
    """The writer's process ends here."""


def _kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Let the ``moment``-th rename or unlink in a folder be the end: it does not happen, nor does anything after it."""
    count = 0
    for name in ("replace", "unlink"):
        original = getattr(Path, name)

        def counted(path: Path, *args: Any, original: Any = original, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= moment:
                raise _Killed
            return original(path, *args, **options)

        monkeypatch.setattr(Path, name, counted)


@pytest.mark.parametrize("leftover", [False, True], ids=["clean", "after another kill"])
def test_a_killed_writer_leaves_a_whole_model_at_every_moment(tmp_path: Path, leftover: bool) -> None:
    seen = set()
    for moment in range(1, 12):
        folder = tmp_path / str(moment)
        _save(folder)
        first = 0
        if leftover:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(_Killed):
                _kill_at(patch, 5)  # the new pair is in place, the weights still under their first name
                _save(folder, seed=2)
            assert len(list(folder.glob("*.safetensors"))) == 2
            first = 2
        finished = True
        with pytest.MonkeyPatch.context() as patch:
            _kill_at(patch, moment)
            try:
                _save(folder, seed=1)
            except _Killed:
                finished = False
        _, state, digest = read_model_folder(folder)
        found = next(seed for seed in (0, 1, 2) if all(torch.equal(state[k], v) for k, v in tiny_weights(seed).items()))
        assert found in (first, 1) and (found == 1 or not finished)
        assert load_model(folder).weights_hash == digest == read_config(folder).weights_sha256
        seen.add((found, finished))
        _save(folder, seed=1)  # the next writer puts everything right
        assert sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) == [CONFIG_NAME, WEIGHTS_NAME]
        if finished:
            break
    assert seen == {(first, False), (1, False), (1, True)}


def test_weights_that_cannot_be_replaced_are_reported_and_the_new_model_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path)
    original = Path.replace

    def held_open(path: Path, target: Path) -> Path:
        if Path(target).name == WEIGHTS_NAME:
            raise PermissionError(13, "The file is in use")
        return original(path, target)

    monkeypatch.setattr(Path, "replace", held_open)
    with pytest.raises(InputError, match=r"model\.safetensors could not be replaced: The file is in use"):
        _save(tmp_path, seed=1)
    assert torch.equal(read_model_folder(tmp_path)[1]["out.2.weight"], tiny_weights(1)["out.2.weight"])


def test_only_leftovers_of_writers_are_removed(tmp_path: Path) -> None:
    kept = ["model-best.safetensors", "model-0123456789ABCDEF.safetensors", "notes.txt", "model-0.safetensors"]
    for name in [*kept, "model-0123456789abcdef.safetensors"]:
        (tmp_path / name).write_bytes(b"x")
    _save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, CONFIG_NAME, WEIGHTS_NAME])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"file.* could not be written"):
        _save(tmp_path / "file")


def test_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path)

    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module.Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"could not be written: No space left on device\. Free space"):
        _save(tmp_path, seed=1)
    monkeypatch.undo()
    assert torch.equal(read_model_folder(tmp_path)[1]["out.2.weight"], tiny_weights()["out.2.weight"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG_NAME, WEIGHTS_NAME]


def test_heads_and_prediction_survive_the_folder(tmp_path: Path) -> None:
    network = NetworkConfig(1, 2, 16, (1, 2), 1, (2,), heads=4, groups=8)
    config = replace(small_config(prediction="v"), network=network)
    save_model_folder(tmp_path, config, reference_network(network).state_dict())
    model = load_model(tmp_path)
    assert replace(model.config, weights_sha256=None) == config
    x = draw("heads/x", (1, 3, 8, 8, 8))
    with torch.no_grad():
        expected = reference_network(network)(x, torch.tensor([3]))
    alpha, sigma = float(model.schedule.alpha[3]), float(model.schedule.sigma[3])
    predicted = model.predict_noise(x[:, :1], x[:, 1:], torch.tensor([3]))
    torch.testing.assert_close(predicted, alpha * expected + sigma * x[:, :1], rtol=1e-4, atol=1e-4)
