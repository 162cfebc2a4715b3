"""Training from another model: matched by name, new channels at zero, the same output where channels are the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import read_dataset_config
from medddpm.errors import InputError
from medddpm.labels.scheme import Label, LabelScheme
from medddpm.models.registry import load_model, save_model_folder
from medddpm.network.build import Network, build_network
from medddpm.network.compact import CompactUNet
from medddpm.network.residual import ResidualUNet
from medddpm.progress import SilentReporter
from medddpm.sampling.schedule import Schedule
from medddpm.training.start import Match, require_same_architecture, transplanted
from medddpm.training.trainer import Trainer
from torch import Tensor
from training_runs import make_dataset, tiny_config

STEPS = 12
SCHEDULE = Schedule.from_config(ScheduleConfig(STEPS))


def scheme(*names: str) -> LabelScheme:
    labels = tuple(Label(i + 1, name, (9, 9, 9), "", tumor=name != "Brain") for i, name in enumerate(names))
    return LabelScheme("test", labels, 1, "")


def config(
    modalities: tuple[str, ...],
    labels: tuple[str, ...],
    domain: str = "voxels",
    mask_values: tuple[float, float] = (0.0, 1.0),
) -> ModelConfig:
    return ModelConfig(
        name="m",
        modalities=modalities,
        network=NetworkConfig(len(modalities), len(labels), 8, (1, 2), groups=4, domain=domain),
        schedule=ScheduleConfig(STEPS, prediction="noise" if domain == "voxels" else "x0"),
        scheme=scheme(*labels),
        grid=GridConfig((8, 16, 8), (2.0, 2.0, 2.0)),
        mask_values=mask_values,
    )


def positioned(*labels: str) -> ModelConfig:
    model = config(("T1",), labels, "wavelet")
    return replace(model, network=replace(model.network, position=True))


def network_of(model: ModelConfig, seed: int) -> Network:
    """A network with random weights and moments."""
    torch.manual_seed(seed)
    network = build_network(model.network)
    if isinstance(network, CompactUNet):
        network.use_schedule(torch.from_numpy(SCHEDULE.alpha), torch.from_numpy(SCHEDULE.sigma))
        network.label_means.uniform_(-1, 1)
        network.power.uniform_(0.01, 0.1)
        if model.network.position:
            network.atlas.uniform_(-0.5, 0.5)
            network.atlas_share[0 if model.scheme.labels[0].name == "Brain" else 1] = 1
        torch.nn.init.normal_(network.body.out[2].weight, std=0.1)
    if isinstance(network, ResidualUNet):
        network.use_schedule(torch.from_numpy(SCHEDULE.alpha), torch.from_numpy(SCHEDULE.sigma))
        network.appearance.mean.uniform_(-1, 1)
        for parameter in (*network.body.last.parameters(), *network.body.gain.parameters()):
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


def moved(former: ModelConfig, new: ModelConfig) -> tuple[Network, Network]:
    """A network of the former model, and that of the new one with its weights."""
    old, fresh = network_of(former, 1), network_of(new, 2)
    fresh.load_state_dict(transplanted(old.state_dict(), fresh.state_dict(), former, new))
    return old, fresh


def volume(channels: int, seed: int) -> Tensor:
    return torch.randn(1, channels, 8, 16, 8, generator=torch.Generator().manual_seed(seed))


def masks(labels: int, seed: int = 0) -> Tensor:
    """Fractions of a block with each label somewhere in it."""
    mask = torch.zeros(1, labels, 8, 16, 8)
    chosen = torch.randint(labels, (4, 10, 4), generator=torch.Generator().manual_seed(seed))
    for i in range(labels):
        mask[0, i, 2:6, 3:13, 2:6] = (chosen == i).float()
    return mask


T = torch.tensor([5])


@torch.no_grad()
@pytest.mark.parametrize("domain", ["voxels", "wavelet"])
def test_with_further_channels_the_former_ones_come_out_the_same(domain: str) -> None:
    """What a new modality holds is not looked at, and its own output is zero where the mean does not tell it."""
    former = config(("T1", "FLAIR"), ("Brain", "Tumor"), domain)
    new = config(("FLAIR", "PD", "T1"), ("Cyst", "Tumor", "Brain"), domain)
    old, fresh = moved(former, new)
    t1, flair, pd, mask = volume(1, 1), volume(1, 2), volume(1, 3), masks(2)
    before = old(torch.cat([t1, flair, mask], 1), T)
    reordered = torch.cat([torch.zeros_like(mask[:, :1]), mask[:, 1:], mask[:, :1]], 1)
    after = fresh(torch.cat([flair, pd, t1, reordered], 1), T)
    assert torch.allclose(after[:, [2, 0]], before, atol=1e-5)
    if domain == "voxels":
        assert not after[:, 1].any()


@torch.no_grad()
def test_a_residual_network_keeps_what_it_knows_and_takes_the_appearance_of_the_new_scans() -> None:
    former = config(("T1", "FLAIR"), ("Brain", "Tumor"), "residual")
    new = config(("PD", "FLAIR"), ("Tumor", "Brain", "Cyst"), "residual")
    old, fresh = moved(former, new)
    x, t = torch.randn(1, 34, 8, 8, 8), torch.tensor([5])
    noisy, means, masks = x.split([16, 16, 2], dim=1)
    noisy[:, :8], means[:, :8] = 0, 0  # T1, which is left behind
    other = torch.cat([noisy, means, masks[:, 1:], masks[:, :1], torch.rand(1, 1, 8, 8, 8)], dim=1)
    expected, found = old(torch.cat([noisy, means, masks], dim=1), t), fresh(other, t)
    assert torch.allclose(found[:, 8:], expected[:, 8:], atol=1e-5)
    assert torch.equal(found[:, :8], torch.zeros_like(found[:, :8]))
    assert torch.equal(fresh.appearance.mean, network_of(new, 2).appearance.mean)


@pytest.mark.parametrize("mask_values", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_new_label_is_not_looked_at(mask_values: tuple[float, float]) -> None:
    former = config(("T1",), ("Brain",), mask_values=mask_values)
    new = config(("T1",), ("Brain", "Cyst"), mask_values=mask_values)
    old, fresh = moved(former, new)
    x, mask = volume(1, 1), masks(2)
    assert torch.allclose(fresh(torch.cat([x, mask], 1), T), old(torch.cat([x, mask[:, :1]], 1), T), atol=1e-5)


@torch.no_grad()
def test_a_label_left_behind_counts_as_nowhere() -> None:
    """Also where "nowhere" is -1: the inner voxels are as if the former network saw an empty mask for it."""
    former = config(("T1",), ("Brain", "Tumor"), mask_values=(-1.0, 1.0))
    new = config(("T1",), ("Brain",), mask_values=(-1.0, 1.0))
    old, fresh = moved(former, new)
    first_old, first_new = (n.get_submodule("input_blocks.0.0") for n in (old, fresh))
    x, mask = volume(1, 1), 2 * masks(1) - 1
    before = first_old(torch.cat([x, mask, torch.full_like(mask, -1.0)], 1))
    after = first_new(torch.cat([x, mask], 1))
    assert torch.allclose(after[..., 1:-1, 1:-1, 1:-1], before[..., 1:-1, 1:-1, 1:-1], atol=1e-5)


@torch.no_grad()
def test_the_position_is_taken_over() -> None:
    former, new = (positioned(*labels) for labels in (("Brain", "Tumor"), ("Tumor", "Brain", "Cyst")))
    require_same_architecture("it", former, new)
    old, fresh = moved(former, new)
    x, mask = volume(1, 1), masks(2)
    reordered = torch.cat([mask.flip(1), torch.zeros_like(mask[:, :1])], 1)
    assert torch.allclose(fresh(torch.cat([x, reordered], 1), T), old(torch.cat([x, mask], 1), T), atol=1e-5)
    with pytest.raises(InputError, match=r"network\.position"):
        require_same_architecture("it", new, config(("T1",), ("Brain",), "wavelet"))


def test_a_position_that_was_not_told_before_begins_at_zero() -> None:
    former, new = config(("T1",), ("Brain", "Tumor"), "wavelet"), positioned("Brain", "Tumor")
    require_same_architecture("it", former, new)
    old, fresh = moved(former, new)
    before, after = (n.get_parameter("body.input_blocks.0.0.weight") for n in (old, fresh))
    assert torch.equal(after[:, : before.shape[1]], before)
    assert not after[:, before.shape[1] :].any()
    start = network_of(new, 2).state_dict()  # what the mean leaves open changes with the atlas
    assert all(torch.equal(fresh.state_dict()[name], start[name]) for name in ("atlas", "atlas_share", "power"))


def test_gradients_reach_new_channels() -> None:
    former, new = config(("T1",), ("Brain",)), config(("T1", "PD"), ("Brain", "Cyst"))
    _, fresh = moved(former, new)
    fresh(torch.cat([volume(2, 1), masks(2)], 1), T).square().sum().backward()
    assert fresh.get_parameter("input_blocks.0.0.weight").grad[:, 1].abs().max() > 0  # type: ignore[index]
    fresh.zero_grad()
    (fresh(torch.cat([volume(2, 1), masks(2)], 1), T) - 1).square().sum().backward()
    assert fresh.get_parameter("out.2.weight").grad[1].abs().max() > 0  # type: ignore[index]


def test_moments_of_known_labels_stay_and_new_ones_are_those_of_the_data() -> None:
    former = config(("T1", "FLAIR"), ("Brain", "Tumor"), "wavelet")
    new = config(("PD", "T1"), ("Brain", "Cyst"), "wavelet")
    old, fresh = network_of(former, 1), network_of(new, 2)
    state = transplanted(old.state_dict(), fresh.state_dict(), former, new)
    before, own, found = old.label_means, fresh.label_means, state["label_means"]
    assert found[0, 1] == before[0, 0]  # brain in T1
    assert torch.equal(found[:, 0], own[:, 0])  # PD is new
    assert torch.equal(found[1], own[1])  # so is the cyst
    assert found[2, 1] == before[2, 0]  # background
    assert torch.equal(state["power"][1], old.power[0]) and torch.equal(state["power"][0], fresh.power[0])


def test_the_spectrum_is_that_of_the_new_voxels() -> None:
    """Its frequencies are per voxel: detail of a 2 mm model is coarse structure at 1 mm."""
    former = config(("T1",), ("Brain",), "wavelet")
    new = replace(former, grid=replace(former.grid, spacing=(1.0, 1.0, 1.0)))
    old, fresh = moved(former, new)
    assert torch.equal(fresh.state_dict()["power"], network_of(new, 2).state_dict()["power"])
    assert torch.equal(fresh.state_dict()["label_means"], old.state_dict()["label_means"])


def test_names_are_matched_without_regard_to_capitals_and_told() -> None:
    former, new = config(("T1", "T2"), ("Brain", "Tumor")), config(("t1", "PD"), ("Cyst", "brain"))
    match = Match.of(former, new)
    assert match.images == (0, None) and match.masks == (None, 0)
    assert match.sentence == (
        "Its modalities: t1 taken over; PD new; T2 left behind. Its labels: brain taken over; Cyst new; Tumor left "
        "behind."
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"base_channels": 16},
            r"network\.base_channels = 8, but this training has 16.*Set network\.base_channels",
        ),
        ({"multipliers": (1, 1)}, r"network\.multipliers = \(1, 2\), but this training has \(1, 1\)"),
        ({"attention_factors": (2,)}, r"network\.attention_factors"),
    ],
)
def test_another_architecture_is_a_sentence(change: dict[str, object], words: str) -> None:
    former = config(("T1",), ("Brain",))
    new = replace(former, network=replace(former.network, **change))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=words):
        require_same_architecture("start", former, new)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (ScheduleConfig(STEPS, prediction="v"), r"schedule\.prediction = 'noise', but this training has 'v'"),
        (ScheduleConfig(20), r"schedule\.steps = 12, but this training has 20"),
        (ScheduleConfig(STEPS, s=0.1), "another noise schedule"),
    ],
)
def test_another_noise_schedule_is_a_sentence(schedule: ScheduleConfig, words: str) -> None:
    former = config(("T1",), ("Brain",))
    with pytest.raises(InputError, match=words):
        require_same_architecture("start", former, replace(former, schedule=schedule))


class Warnings(SilentReporter):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def warning(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.mark.parametrize("domain", ["voxels", "wavelet"])
def test_a_training_starts_from_a_model_folder(tmp_path: Path, domain: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    former = replace(config(("T1", "FLAIR"), ("Tumor", "Head"), domain), mask_values=(0.0, 1.0))
    if domain == "voxels":
        former = replace(former, mask_values=(-1.0, 1.0))
    old = network_of(former, 1)
    save_model_folder(tmp_path / "start", former, old.state_dict())
    training = tiny_config(
        dataset,
        network=replace(former.network, image_channels=1),
        schedule=former.schedule,
        start_from=str(tmp_path / "start"),
        iterations=2,
    )
    reporter = Warnings()
    trainer = Trainer(training, tmp_path / "run", reporter)
    assert trainer.context.model.mask_values == former.mask_values
    assert any("starts from" in s and "T1 taken over; FLAIR left behind" in s for s in reporter.sentences)
    weight = trainer.state.network.module.state_dict()
    name = ("body." if domain == "wavelet" else "") + "middle_block.0.out_layers.3.weight"
    assert torch.equal(weight[name], old.state_dict()[name])
    model = load_model(trainer.run())
    assert model.config.training["config"]["start_from"] == "start"
    (tmp_path / "start" / "model.safetensors").unlink()  # no longer needed
    again = Trainer(replace(training, iterations=3), tmp_path / "run", SilentReporter())
    assert again.state.iteration == 2 and again.context.model.mask_values == former.mask_values
    again.run()


def test_a_training_starts_from_a_published_checkpoint(tmp_path: Path) -> None:
    """With its own labels it predicts at once what the published model does."""
    dataset = make_dataset(tmp_path / "data")
    replace(read_dataset_config(dataset), modalities=("T1ce",)).save(dataset)
    network = NetworkConfig(1, 2, 32, (1, 2), groups=32)
    torch.manual_seed(3)
    published = build_network(network)
    state = {f"denoise_fn.{name}": tensor for name, tensor in published.state_dict().items()}
    torch.save({"step": 7, "model": state, "ema": state}, tmp_path / "published.pt")
    training = tiny_config(
        dataset, network=network, schedule=ScheduleConfig(), start_from=str(tmp_path / "published.pt"), iterations=1
    )
    trainer = Trainer(training, tmp_path / "run", SilentReporter())
    assert trainer.context.model.mask_values == (-1.0, 1.0)
    x = torch.cat([volume(1, 4), 2 * masks(2) - 1], 1)
    with torch.no_grad():
        assert torch.allclose(trainer.state.network(x, T), published(x, T), atol=1e-5)


def test_a_start_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    with pytest.raises(InputError, match=r"The model demo has network\.base_channels"):
        Trainer(tiny_config(dataset, start_from="demo"), tmp_path / "run", SilentReporter())
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(InputError, match="The model 'nowhere' does not exist"):
        Trainer(tiny_config(dataset, start_from="nowhere"), tmp_path / "run", SilentReporter())
