"""The training loop: it learns, resumes exactly, stops in good order, and says what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from medddpm import load_model
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, read_dataset_config
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.network.appearance import Appearance
from medddpm.network.build import build_network
from medddpm.network.compact import CompactUNet
from medddpm.progress import SilentReporter
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import AugmentConfig, CheckpointConfig, EmaConfig, LossConfig, TrainConfig
from medddpm.training.dataset import PreparedDataset
from medddpm.training.hooks import Context, Hook, Iteration
from medddpm.training.loader import case_at, volume_generator
from medddpm.training.metrics import MetricsLog, valid
from medddpm.training.sections import OPTIMIZERS
from medddpm.training.start import use_activation_checkpointing
from medddpm.training.trainer import Trainer
from training_runs import make_dataset, tensors, tiny_config

EVERYTHING = AugmentConfig(shift_voxels=1, affine=0.6, elastic=0.6, elastic_smoothness_mm=40, intensity=0.5)
COMPACT = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="wavelet")
RESIDUAL = replace(COMPACT, domain="residual")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "set", cases=5)


def train(config: TrainConfig, folder: Path, hooks: Sequence[Hook] | None = None) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint of the run."""
    Trainer(config, folder, SilentReporter(), hooks=lambda context: hooks or ()).run()
    checkpoint = Checkpoints(folder / "checkpoints").load_newest()
    assert checkpoint is not None
    return {name: x for name, x in tensors(checkpoint).items() if not name.startswith("/random")}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow(but="network1-adam")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", [None, COMPACT])
def test_a_continued_run_equals_the_uninterrupted_one_bit_for_bit(
    dataset: Path, tmp_path: Path, network: NetworkConfig | None, optimizer: str
) -> None:
    config = tiny_config(dataset, augment=EVERYTHING, mask_dropout=0.4, accumulate=2, iterations=4)
    config = replace(config, optimizer=replace(config.optimizer, kind=optimizer))
    if network is not None:
        config = replace(config, network=network, schedule=ScheduleConfig(steps=20, prediction="x0"))
    whole = train(config, tmp_path / "whole")
    train(replace(config, iterations=2), tmp_path / "parts")
    assert same(whole, train(config, tmp_path / "parts"))
    assert not same(whole, train(replace(config, seed=1), tmp_path / "other"))


@pytest.mark.parametrize("network", [COMPACT, RESIDUAL])
def test_a_continued_run_does_not_measure_the_dataset_again(
    dataset: Path, tmp_path: Path, network: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(dataset, network=network, schedule=ScheduleConfig(steps=20, prediction="x0"), iterations=1)
    whole = train(replace(config, iterations=2), tmp_path / "whole")
    train(config, tmp_path / "parts")
    for measured in (CompactUNet, Appearance):
        monkeypatch.setattr(measured, "fit", lambda network, cases: pytest.fail("measured again"))
    assert same(whole, train(replace(config, iterations=2), tmp_path / "parts"))


@pytest.mark.slow
def test_training_lowers_the_loss_and_gives_a_usable_model(dataset: Path, tmp_path: Path) -> None:
    schedule, monitor = ScheduleConfig(steps=20, prediction="x0"), replace(tiny_config(dataset).monitor, log_every=20)
    config = tiny_config(dataset, iterations=120, schedule=schedule, batch_size=2, monitor=monitor)
    folder = Trainer(config, tmp_path, SilentReporter()).run()
    losses = [line["loss"] for line in MetricsLog(tmp_path).read()[0] if line["kind"] == "train"]
    assert len(losses) == 6
    assert losses[-1] < 0.6 * losses[0]
    model = load_model(folder)
    assert model.config.modalities == ("T1",)
    assert model.config.training["iterations"] == 120
    assert model.config.training["training_cases"] == ["case0", "case1", "case2"]
    assert "dataset" not in model.config.training["config"]
    images, fractions = PreparedDataset(dataset, "test")[0]
    x0 = model.predict_x0(torch.randn(1, 1, 8, 16, 8), fractions[None], 19)
    assert float((x0[0] - images).abs().mean()) < float(images.abs().mean()) / 2


def test_bf16_trains_and_keeps_fp32_weights(dataset: Path, tmp_path: Path) -> None:
    train(tiny_config(dataset, precision="bf16", iterations=2), tmp_path)
    assert all(p.dtype == torch.float32 for p in load_model(tmp_path / "outputs/model")._network.parameters())


def test_fp16_on_a_processor_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"precision is 'fp16', but only NVIDIA GPUs .* Use bf16 or fp32"):
        Trainer(tiny_config(dataset, precision="fp16"), tmp_path, SilentReporter())


def half_precision(scale: float) -> tuple[Fabric, torch.amp.GradScaler]:
    """A processor that computes in fp16 as a GPU would: Fabric itself offers that on GPUs only."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler=scaler))
    fabric.launch()
    return fabric, scaler


def test_fp16_skips_steps_of_an_overflow_until_the_scale_fits(dataset: Path, tmp_path: Path) -> None:
    config = tiny_config(dataset, precision="fp16", iterations=3)
    fabric, scaler = half_precision(2.0**50)
    trainer = Trainer(config, tmp_path / "high", SilentReporter(), fabric=fabric)
    before = [p.detach().clone() for p in trainer.state.network.parameters()]
    trainer.run()
    assert scaler.get_scale() == 2.0**47
    assert all(torch.equal(p, q) for p, q in zip(trainer.state.network.parameters(), before, strict=True))
    fabric, scaler = half_precision(1.0)
    again = Trainer(replace(config, iterations=4), tmp_path / "high", SilentReporter(), fabric=fabric)
    assert again.state.iteration == 3 and scaler.get_scale() == 2.0**47  # the scale goes on, too
    fabric, scaler = half_precision(2.0**8)
    trained = Trainer(config, tmp_path / "fits", SilentReporter(), fabric=fabric)
    trained.run()
    assert scaler.get_scale() == 2.0**8
    assert not any(torch.equal(p, q) for p, q in zip(trained.state.network.parameters(), before, strict=True))


@pytest.mark.parametrize("network", [None, COMPACT])
def test_accumulation_equals_a_larger_batch(dataset: Path, tmp_path: Path, network: NetworkConfig | None) -> None:
    config = tiny_config(dataset, iterations=3, augment=EVERYTHING, batch_size=4)
    if network is not None:
        config = replace(config, network=network, schedule=ScheduleConfig(steps=20, prediction="x0"))
    whole = train(config, tmp_path / "whole")
    parts = train(replace(config, batch_size=2, accumulate=2), tmp_path / "parts")
    names = [name for name in whole if name.startswith("/network") and not name.endswith(("power", "label_means"))]
    assert max(float((whole[name] - parts[name]).abs().max()) for name in names) < 1e-4


@pytest.mark.parametrize("domain", ["voxels", "wavelet"])
def test_activation_checkpointing_gives_the_same_gradients(domain: str) -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(2, 2, 8, (1, 2), 1, (2,), groups=4, domain=domain))
    if isinstance(network, CompactUNet):
        network.use_schedule(torch.linspace(0.9, 0.1, 10), torch.linspace(0.1, 0.9, 10))
        torch.nn.init.normal_(network.body.out[2].weight)
    x, t = torch.rand(1, 4, 8, 8, 8) / 4, torch.tensor([5])
    gradients = []
    for _ in range(2):
        network.zero_grad()
        network(x, t).square().mean().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        use_activation_checkpointing(network)
    assert len(gradients[0]) == len(list(network.parameters()))
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_a_run_with_activation_checkpointing_equals_one_without(dataset: Path, tmp_path: Path) -> None:
    config = tiny_config(dataset, iterations=2, precision="bf16")
    plain = train(config, tmp_path / "plain")
    assert same(plain, train(replace(config, activation_checkpointing=True), tmp_path / "again"))


def test_an_epoch_sees_every_case_once_in_a_new_order() -> None:
    epochs = [[case_at(5, 1, 5 * epoch + i) for i in range(5)] for epoch in range(6)]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3


def test_every_volume_of_every_run_has_its_own_random_numbers() -> None:
    drawn = {float(torch.rand((), generator=volume_generator(s, p))) for s in range(4) for p in (*range(50), 2**33)}
    assert len(drawn) == 4 * 51


def test_resume_with_another_configuration_is_refused(dataset: Path, tmp_path: Path) -> None:
    train(tiny_config(dataset, iterations=1), tmp_path)
    with pytest.raises(InputError, match=r"started with seed = 0, .* now says 5"):
        Trainer(tiny_config(dataset, seed=5), tmp_path, SilentReporter())
    with pytest.raises(InputError, match=r"started with loss\.kind = 'l1', .* now says 'l2'"):
        Trainer(tiny_config(dataset, loss=LossConfig("l2")), tmp_path, SilentReporter())
    Trainer(tiny_config(dataset, ema=EmaConfig(0.5), augment=EVERYTHING), tmp_path, SilentReporter())


def test_resume_with_another_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    train(tiny_config(dataset, iterations=1), tmp_path / "run")
    other = make_dataset(tmp_path / "other", cases=6)
    with pytest.raises(InputError, match="started with another dataset"):
        Trainer(tiny_config(other), tmp_path / "run", SilentReporter())


class CancelAt(SilentReporter):
    """Asks to stop once ``at`` iterations are done."""

    def __init__(self, at: int) -> None:
        self.last, self._at = 0, at

    def step(self, done: int, total: int, preview: object = None) -> None:
        self.last = done

    def check_cancelled(self) -> None:
        if self.last >= self._at:
            raise Cancelled("stop")


def test_cancel_writes_a_checkpoint_before_the_next_iteration(dataset: Path, tmp_path: Path) -> None:
    reporter = CancelAt(4)
    with pytest.raises(Cancelled, match="stop"):
        Trainer(tiny_config(dataset), tmp_path, reporter).run()
    assert reporter.last == 4
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4]
    assert load_model(tmp_path / "outputs/model").config.training["iterations"] == 4


def test_a_run_that_is_stopped_at_once_leaves_no_checkpoint(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        Trainer(tiny_config(dataset), tmp_path, CancelAt(0)).run()
    assert Checkpoints(tmp_path / "checkpoints").steps() == []


class Recorder:
    """A hook that keeps what it is told, and may raise at an iteration."""

    def __init__(self, at: int = 0, error: Exception | None = None) -> None:
        self.seen: list[Iteration] = []
        self.closed = 0
        self._at, self._error = at, error

    def after_iteration(self, done: Iteration) -> None:
        self.seen.append(done)
        if done.number == self._at and self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed += 1


def test_figures_of_a_run_that_was_killed_before_its_first_checkpoint_count_once(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for iteration in (1, 2, 3):
        MetricsLog(folder).append("train", iteration, loss=9.0)
    Trainer(tiny_config(dataset), folder, SilentReporter()).run()
    figures = valid(MetricsLog(folder).tail())
    assert [figure["iteration"] for figure in figures if figure["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert all(figure["loss"] < 9 for figure in figures if figure["kind"] == "train")


def test_hooks_learn_of_every_iteration_and_are_closed(dataset: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    train(tiny_config(dataset, iterations=3), tmp_path, [recorder])
    assert [done.number for done in recorder.seen] == [1, 2, 3]
    assert [done.number == done.total for done in recorder.seen] == [False, False, True]
    assert recorder.seen[1].due(2) and recorder.seen[2].due(2) and not recorder.seen[0].due(2)
    assert not recorder.seen[2].due(0)
    assert all(done.seconds > 0 and done.lr == 2e-3 and math.isfinite(done.loss) for done in recorder.seen)
    assert recorder.closed == 1


def test_a_hook_that_is_interrupted_stops_the_run_with_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    recorder = Recorder(2, Cancelled("while sampling"))
    with pytest.raises(Cancelled, match="while sampling"):
        train(tiny_config(dataset), tmp_path, [recorder])
    assert Checkpoints(tmp_path / "checkpoints").steps() == [2]
    assert recorder.closed == 1


def test_a_hook_that_fails_ends_the_run_and_the_others_are_closed(dataset: Path, tmp_path: Path) -> None:
    failing, other = Recorder(2, ValueError("bug")), Recorder()
    with pytest.raises(ValueError, match="bug"):
        train(tiny_config(dataset), tmp_path, [failing, other])
    assert (failing.closed, other.closed, len(other.seen)) == (1, 1, 1)


class Spoil(Recorder):
    """Makes a weight infinite after an iteration."""

    def __init__(self, context: Context, at: int) -> None:
        super().__init__()
        self._context, self._at = context, at

    def after_iteration(self, done: Iteration) -> None:
        if done.number == self._at:
            with torch.no_grad():
                next(self._context.state.network.parameters()).view(-1)[0] = float("nan")


@pytest.mark.parametrize(
    ("spoiled_at", "words"),
    [(4, "The loss became nan at iteration 5"), (6, r"not finite by iteration 6")],
)
def test_numbers_that_are_not_finite_end_with_a_sentence_and_the_last_good_checkpoint(
    dataset: Path, tmp_path: Path, spoiled_at: int, words: str
) -> None:
    config = tiny_config(dataset, checkpoint=CheckpointConfig(every=3))
    trainer = Trainer(config, tmp_path, SilentReporter(), hooks=lambda context: [Spoil(context, spoiled_at)])
    with pytest.raises(MedDDPMError, match=f"{words}.* checkpoint is kept; .*lower optimizer.lr"):
        trainer.run()
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3]
    weights = load_model(tmp_path / "outputs/model")._network.parameters()
    assert all(torch.isfinite(p).all() for p in weights)
    assert load_model(tmp_path / "outputs/model").config.training["iterations"] == 3


def test_the_average_follows_its_rule(dataset: Path, tmp_path: Path) -> None:
    """Before ``start`` a copy; then every ``every`` iterations, with a decay that begins at (1 + n) / (10 + n)."""

    class Average(Recorder):
        def __init__(self, context: Context) -> None:
            super().__init__()
            self.state = context.state
            self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []

        def after_iteration(self, done: Iteration) -> None:
            both = next(self.state.average.module.parameters()), next(self.state.network.module.parameters())
            self.pairs.append(tuple(x.detach().clone() for x in both))  # type: ignore[arg-type]

    config = tiny_config(dataset, iterations=6, ema=EmaConfig(decay=0.4, every=2, start=3))
    trainer = Trainer(config, tmp_path, SilentReporter(), hooks=lambda context: [Average(context)])
    trainer.run()
    pairs = trainer.hooks[0].pairs  # type: ignore[attr-defined]
    assert all(torch.equal(*pair) for pair in pairs[:3])
    mixed = torch.lerp(pairs[2][0], pairs[3][1], 1 - 4 / 13)  # at iteration 4, of which 3 came before
    assert torch.allclose(pairs[3][0], mixed, atol=1e-7)
    assert torch.equal(pairs[4][0], pairs[3][0])
    assert torch.allclose(pairs[5][0], torch.lerp(pairs[3][0], pairs[5][1], 0.6), atol=1e-7)


def test_a_dataset_that_does_not_fit_the_network_is_explained(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"modalities = \['T1'\]; it must be 2 names"):
        Trainer(tiny_config(dataset, network=NetworkConfig(2, 2, 8, (1, 2), groups=4)), tmp_path, SilentReporter())
    deep = NetworkConfig(1, 2, 8, (1, 1, 1, 1, 1), groups=4)
    with pytest.raises(InputError, match=r"multiples of 16"):
        Trainer(tiny_config(dataset, network=deep), tmp_path, SilentReporter())


def test_damaged_datasets_are_explained(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dataset\.json cannot be read"):
        PreparedDataset(tmp_path, "train")
    listed: DatasetConfig = read_dataset_config(dataset)
    replace(listed, cases=listed.cases[:3]).save(tmp_path)
    with pytest.raises(InputError, match="no case in the split 'validation'"):
        PreparedDataset(tmp_path, "validation")
    with pytest.raises(InputError, match=r"case0\.safetensors"):
        PreparedDataset(tmp_path, "train")
    text = (dataset / "dataset.json").read_text().replace('"case0"', '"../case0"')
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"\.\./case0"):
        PreparedDataset(tmp_path, "train")


def test_provenance_is_plain_data(dataset: Path, tmp_path: Path) -> None:
    config = tiny_config(dataset, iterations=1)
    train(config, tmp_path)
    text = (tmp_path / "outputs/model/config.json").read_text()
    assert json.loads(text)["training"]["config"]["optimizer"]["lr"] == 2e-3
    assert str(dataset) not in text
