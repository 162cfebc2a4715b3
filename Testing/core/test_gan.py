"""The GAN baselines: generators in one pass, trained, resumed, saved and sampled as any other model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medddpm import load_model, sample
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.dataset import read_dataset_config
from medddpm.errors import InputError
from medddpm.network.build import build_network
from medddpm.network.cost import network_cost
from medddpm.progress import SilentReporter
from medddpm.sampling.names import SAMPLERS
from medddpm.training.adversarial import Adversarial, trained_parameters
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import LossConfig, MonitorConfig, OptimizerConfig, ScaleConfig, TrainConfig
from medddpm.training.dataset import PreparedDataset
from medddpm.training.estimate import estimate_training
from medddpm.training.metrics import MetricsLog
from medddpm.training.presets import preset_config
from medddpm.training.start import model_config
from medddpm.training.trainer import Trainer
from training_runs import make_dataset, tensors, tiny_config

ONE_STEP = ScheduleConfig(1, "one-step", prediction="x0")
GANS = ("pix2pix", "discogan")
both = pytest.mark.parametrize("gan", GANS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data") / "set", cases=5)


def config_of(gan: str, dataset: Path, **changes: object) -> TrainConfig:
    network = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain=gan)
    optimizer = OptimizerConfig(lr=2e-3, min_lr=2e-3, schedule="constant", beta1=0.5)
    loss = LossConfig(adversarial=0.1)
    made = tiny_config(dataset, network=network, schedule=ONE_STEP, optimizer=optimizer, loss=loss)
    return replace(made, **changes)


def adversarial(gan: str, dataset: Path) -> Adversarial:
    config = config_of(gan, dataset)
    torch.manual_seed(0)
    return Adversarial(model_config(config, read_dataset_config(dataset)), config.loss)


def drawn(dataset: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and mask, and the real images."""
    images, fractions = PreparedDataset(dataset, "test")[0]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return torch.cat([noise, fractions])[None], images[None]


def train(config: TrainConfig, folder: Path) -> dict[str, torch.Tensor]:
    Trainer(config, folder, SilentReporter()).run()
    checkpoint = Checkpoints(folder / "checkpoints").load_newest()
    assert checkpoint is not None
    return {name: x for name, x in tensors(checkpoint).items() if not name.startswith("/random")}


@both
def test_discriminators_and_optimizer_resume_bit_for_bit(gan: str, dataset: Path, tmp_path: Path) -> None:
    config = config_of(gan, dataset, iterations=4)
    whole = train(config, tmp_path / "whole")
    train(replace(config, iterations=2), tmp_path / "parts")
    parts = train(config, tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    rivals = [name for name in whole if name.startswith("/network/rivals.")]
    assert {name.split(".")[1] for name in rivals} == (
        {"images"} if gan == "pix2pix" else {"images", "masks", "to_mask"}
    )
    other = train(replace(config, seed=1), tmp_path / "other")
    assert not any(torch.equal(whole[name], other[name]) for name in rivals if name.endswith("0.weight"))


@both
def test_each_side_learns_from_its_own_loss_alone(gan: str, dataset: Path) -> None:
    """The gradients are those of the usual two losses, computed here one after the other."""
    network, (x, real), t = adversarial(gan, dataset), drawn(dataset), torch.zeros(1, dtype=torch.int64)
    value = network(x, t, real).sum()
    value.backward()
    made = network(x, t)
    assert float(value.detach()) == pytest.approx(float((made - real).detach().abs().mean()), rel=1e-5)

    def pair(image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, x[:, 1:]], 1) if gan == "pix2pix" else image

    critic = network.rivals["images"]
    lost = ((critic(pair(real)) - 1).square().mean() + critic(pair(made).detach()).square().mean()) / 2
    for found, wanted in zip(critic.parameters(), torch.autograd.grad(lost, critic.parameters()), strict=True):
        assert torch.allclose(found.grad, wanted, atol=1e-6)
    generator = [p for name, p in network.named_parameters() if name.startswith(("up", "down"))]
    total = (made - real).abs().mean() + 0.1 * (critic(pair(made)) - 1).square().mean()
    if gan == "discogan":
        mask, to_mask = x[:, 1:] * 2 - 1, network.rivals["to_mask"]
        found = to_mask(real, t)
        again = network(torch.cat([x[:, :1], (found + 1) / 2], 1), t)
        total = total + (again - real).abs().mean() + (to_mask(made, t) - mask).abs().mean()
    for one, wanted in zip(generator, torch.autograd.grad(total, generator), strict=True):
        assert one.grad is not None
        assert torch.allclose(one.grad, wanted, atol=1e-6)


@both
def test_a_gan_learns_and_its_model_folder_holds_the_generator_alone(gan: str, dataset: Path, tmp_path: Path) -> None:
    monitor = MonitorConfig(
        log_every=20, validate_every=40, sample_every=80, samples=1, sampler="ddpm", sample_steps=1, tensorboard=False
    )
    train(config_of(gan, dataset, iterations=80, batch_size=2, monitor=monitor), tmp_path)
    lines = MetricsLog(tmp_path).read()[0]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < 0.6 * losses[0]
    assert [line["kind"] for line in lines].count("validation") == 2
    assert [line for line in lines if line["kind"] == "quality"]
    model = load_model(tmp_path / "outputs" / "model")
    images, fractions = PreparedDataset(dataset, "test")[0]
    made = sample(model, fractions[None], "ddpm", seed=3)
    assert float((made[0] - images).abs().mean()) < float(images.abs().mean()) / 2
    assert not torch.equal(made, sample(model, fractions[None], "ddpm", seed=4))
    for name in SAMPLERS:
        if name == "ddpm-paper":
            with pytest.raises(InputError, match="is for diffusion models"):
                sample(model, fractions[None], name, seed=3)
        else:
            assert torch.equal(made, sample(model, fractions[None], name, seed=3)), name
    with pytest.raises(InputError, match="8 sampling steps were asked for; this model allows one only"):
        sample(model, fractions[None], "ddim", steps=8)


@both
def test_a_gan_is_described_without_torch(gan: str, dataset: Path, tmp_path: Path) -> None:
    train(config_of(gan, dataset, iterations=1), tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from medddpm.models.places import find_config\n"
        "config = find_config(sys.argv[1]); print(config.network.domain, config.schedule.steps, config.sampler_steps)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "outputs" / "model")], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [gan, "1", "1"], done.stderr


@both
@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"activation_checkpointing": True}])
def test_gans_train_in_bf16_and_with_checkpointing(gan: str, changes: dict, dataset: Path, tmp_path: Path) -> None:
    plain = train(config_of(gan, dataset, iterations=1), tmp_path / "plain")
    other = train(config_of(gan, dataset, iterations=1, **changes), tmp_path / "other")
    if "precision" not in changes:
        assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert all(bool(x.float().isfinite().all()) for x in other.values())


@both
def test_the_estimate_counts_all_that_is_trained(gan: str, dataset: Path) -> None:
    config = config_of(gan, dataset)
    model = model_config(config, read_dataset_config(dataset))
    whole = sum(p.numel() for p in adversarial(gan, dataset).parameters())
    assert trained_parameters(model, config.loss) == whole > network_cost(config.network, (8, 16, 8)).parameters
    found = estimate_training(config)
    assert found.fits and found.disk_bytes > 16 * whole


def test_the_cost_counts_transposed_convolutions() -> None:
    network = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="discogan")
    voxels = 16**3
    down = 64 * (3 * 8 / 8 + 8 * 16 / 64) * voxels
    up = 64 * (16 * 8 / 64 + 8 * 1 / 8) * voxels
    assert network_cost(network, (16, 16, 16)).flops == 2 * (down + up)


@both
def test_presets_have_the_papers_settings(gan: str, dataset: Path) -> None:
    with pytest.raises(InputError, match=r"multiple|divide"):
        model_config(preset_config(gan, dataset), read_dataset_config(dataset))  # 8 x 16 x 8 voxels do not do
    config = preset_config(gan, dataset)
    assert (config.optimizer.lr, config.optimizer.beta1, config.optimizer.beta2) == (2e-4, 0.5, 0.999)
    assert (config.iterations, config.batch_size, config.loss.kind) == (100_000, 1, "l1")
    images = build_network(config.network)(torch.rand(1, 3, 16, 16, 16), torch.zeros(1))
    assert images.shape == (1, 1, 16, 16, 16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schedule": ScheduleConfig(20, prediction="x0")}, "Set schedule.kind = 'one-step', schedule.steps = 1"),
        ({"start_from": "demo"}, "discriminators .* Leave start_from out"),
        ({"scale": ScaleConfig(strategy="fsdp")}, "can be trained with ddp only"),
        ({"loss": LossConfig(min_snr_gamma=5)}, "Set loss.min_snr_gamma = 0"),
    ],
)
def test_what_a_gan_cannot_do_is_refused(dataset: Path, changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        config_of("pix2pix", dataset, **changes)


def test_impossible_descriptions_are_refused() -> None:
    for network, words in (({"attention_factors": (1,)}, "attention"), ({"blocks_per_level": 2}, "blocks_per_level")):
        with pytest.raises(InputError, match=words):
            NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="pix2pix", **network)
    with pytest.raises(InputError, match="1 to 1 for the kind one-step"):
        ScheduleConfig(2, "one-step", prediction="x0")
