"""The residual network: the appearance of a scan, what it computes in, its way through training and sampling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.errors import InputError
from medddpm.labels.scheme import load_scheme
from medddpm.models.frame import MARGIN, ResidualFrame, box_around, cut
from medddpm.models.model import Model
from medddpm.models.registry import load_model
from medddpm.network.appearance import Appearance, Look, best_softness, label_means
from medddpm.network.build import build_network
from medddpm.network.residual import ResidualUNet
from medddpm.network.spectrum import BINS, RadialPower
from medddpm.network.wavelet import from_bands
from medddpm.progress import SilentReporter
from medddpm.sampling.sample import Known, sample
from medddpm.sampling.schedule import Schedule
from medddpm.sampling.solvers import SOLVERS, Trajectory, solver
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import AugmentConfig, MonitorConfig
from medddpm.training.trainer import Trainer
from safetensors.torch import save_file
from training_runs import tiny_config

NETWORK = NetworkConfig(2, 2, 8, (1, 2), groups=4, domain="residual")
FLOW = ScheduleConfig(20, kind="flow", prediction="x0")
BRIDGE = replace(FLOW, kind="bridge", noise=0.5)
SHAPE = (16, 32, 16)


def scan(seed: int, contrast: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of a head with a tumor, (2, D, H, W) in [-1, 1], and label fractions with a blurred border."""
    generator = torch.Generator().manual_seed(seed)
    head, tumor = torch.zeros(SHAPE), torch.zeros(SHAPE)
    head[2:14, 4:28, 2:14] = 1
    tumor[3 * seed % 6 + 3 :, 8:13, 5:10] = 1
    tumor[2] = 0.5
    tumor = tumor * head
    fractions = torch.stack([head - tumor, tumor])
    means = torch.tensor([[-0.2 + contrast, 0.1], [0.6, -0.5]])
    texture = 0.05 * torch.randn((2, *SHAPE), generator=generator)
    images = (torch.einsum("l...,lc->c...", fractions, means + 1) - 1 + texture * head).clamp(-1, 1)
    return images, fractions


def model(seed: int = 0, schedule: ScheduleConfig = FLOW) -> Model:
    """A model with random weights, also at the end of the network, where it begins with zeros."""
    torch.manual_seed(seed)
    network = build_network(NETWORK)
    assert isinstance(network, ResidualUNet)
    for parameter in network.body.last.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    network.appearance.fit([scan(i, 0.1 * i) for i in range(3)])
    grid = GridConfig((SHAPE[2], SHAPE[1], SHAPE[0]), (2.0, 2.0, 2.0))
    config = ModelConfig("tiny", ("T1", "T2"), NETWORK, schedule, load_scheme("whole-head"), grid)
    return Model(config, network, torch.device("cpu"), torch.float32, "")


# --- appearance -----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-0.9, 0.9), min_size=4, max_size=4), st.integers(0, 99))
def test_means_are_those_of_the_labels_though_borders_mix_them(values: list[float], seed: int) -> None:
    fractions = torch.rand((2, 16, 16, 16), generator=torch.Generator().manual_seed(seed))
    fractions = fractions / fractions.sum(0)
    means = torch.tensor(values).reshape(2, 2)
    found = label_means(Look.plain(means).source(fractions[None])[0], fractions)
    assert torch.allclose(found, means, atol=0.05)  # the plain average of each label is far from them


def test_borders_between_labels_are_as_soft_as_in_the_scans_and_the_outline_is_sharp() -> None:
    fractions = torch.zeros(1, 2, 16, 16, 16)
    fractions[:, 0, :, :, 2:8], fractions[:, 1, :, :, 8:14] = 1, 1
    means = torch.tensor([[0.0, 0.2], [0.5, 0.2]])
    source = Look.plain(means, 0.8).source(fractions)
    row = source[0, 0, 8, 8]
    assert row[:2].eq(-1).all() and row[14:].eq(-1).all()
    assert row[2:5].eq(0).all() and torch.allclose(row[11:14], torch.tensor(0.5))
    assert [float(v) for v in row[7:9]] == pytest.approx([0.126, 0.374], abs=0.01)  # a Gaussian's integral
    assert torch.allclose(source[0, 1, :, :, 2:14], torch.tensor(0.2))  # labels alike have no border
    hard = Look.plain(means).source(fractions)[0]
    assert best_softness([(source[0], fractions[0])]) == 0.8
    assert best_softness([(hard, fractions[0])]) == 0.0


def test_a_label_that_is_not_there_has_no_mean_and_takes_that_of_the_training_cases() -> None:
    images, fractions = scan(0)
    fractions[0] += fractions[1]
    fractions[1] = 0
    means = label_means(images, fractions)
    assert means[1].isnan().all() and means[0].isfinite().all()
    appearance = Appearance(NETWORK)
    appearance.fit([(images, fractions), scan(1)])
    assert torch.equal(appearance.completed(Look.plain(means)).means[1], label_means(*scan(1))[1])


def test_detail_is_as_strong_in_each_label_as_in_the_scan() -> None:
    """Without any training, noise becomes texture of the right strength."""
    generator = torch.Generator().manual_seed(0)
    fractions = torch.zeros(2, 32, 32, 32)
    fractions[0, :, :16], fractions[1, :, 16:] = 1, 1
    texture = torch.randn((2, 32, 32, 32), generator=generator) * (0.02 * fractions[0] + 0.2 * fractions[1])
    appearance = Appearance(NETWORK)
    appearance.fit([(texture, fractions)])
    look = appearance.look()
    assert torch.allclose(look.spreads, torch.tensor([[0.02, 0.02], [0.2, 0.2]]), rtol=0.05)
    frame = ResidualFrame(fractions[None], appearance.coder(), look, NETWORK.divisor)
    made = frame.decode(frame.noise(torch.randn((1, 2, 32, 32, 32), generator=generator)))[0]
    assert [float(made[:, fractions[i] == 1].std()) for i in (0, 1)] == pytest.approx([0.02, 0.2], rel=0.15)


def test_drawn_appearances_vary_as_the_training_cases_do() -> None:
    appearance = Appearance(NETWORK)
    appearance.fit([scan(i, 0.1 * i) for i in range(4)])
    drawn = [appearance.look(torch.Generator().manual_seed(i)).means for i in range(200)]
    spread = torch.stack(drawn).std(0)
    expected = torch.tensor([0.0, 0.1, 0.2, 0.3]).std()
    assert float(spread[0, 0]) == pytest.approx(float(expected), rel=0.25)  # the contrast that differs
    assert float(spread[1, 1]) < 0.02  # one that does not
    assert torch.equal(drawn[0], appearance.look(torch.Generator().manual_seed(0)).means)


def test_what_is_encoded_has_unit_variance_in_every_band_and_at_every_frequency() -> None:
    """Smooth texture as well as fine: the spectrum of the training cases is divided out."""
    cases = []
    for seed in range(3):
        coarse = torch.randn((1, 2, 8, 8, 8), generator=torch.Generator().manual_seed(seed))
        shading = torch.nn.functional.interpolate(coarse, size=(32, 32, 32), mode="trilinear")[0]
        fine = torch.randn((2, 32, 32, 32), generator=torch.Generator().manual_seed(seed + 10))
        cases.append(((0.3 * shading + 0.02 * fine).clamp(-1, 1), torch.ones(1, 32, 32, 32)))
    appearance = Appearance(replace(NETWORK, mask_channels=1))
    appearance.fit(cases)
    look = appearance.coder().measure(*cases[0])
    white = appearance.coder().encode(look, look.left(cases[0][0][None], cases[0][1][None]))
    assert torch.allclose(white[0].square().mean((1, 2, 3)), torch.ones(16), atol=0.01)
    spectrum = RadialPower(2)
    spectrum.add(from_bands(white)[0], torch.tensor(32.0**3))
    found = spectrum.result()[:, BINS // 2 :]
    assert float(found.amax() / found.amin()) < 6
    plain = RadialPower(2)
    plain.add(cases[0][0], torch.tensor(32.0**3))
    found = plain.result()
    assert float(found.amax() / found.amin()) > 1000


# --- the frame ------------------------------------------------------------------------------------------------------


def test_images_return_from_the_frame_exactly_inside_and_as_background_outside() -> None:
    images, fractions = scan(1)
    coder = Appearance(NETWORK).coder()
    frame = ResidualFrame(fractions[None], coder, coder.measure(images, fractions), NETWORK.divisor)
    again = frame.decode(frame.encode(images[None] + 0.01))[0]
    inside = fractions.sum(0) > 0
    assert torch.allclose(again[:, inside], images[:, inside] + 0.01, atol=1e-5)
    assert torch.equal(again[:, ~inside], torch.full_like(again[:, ~inside], -1.0))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 15), st.integers(0, 2**30), st.sampled_from([4, 8]))
def test_the_box_holds_the_mask(x: int, y: int, z: int, seed: int, divisor: int) -> None:
    mask = torch.zeros(16, 16, 16)
    mask[x, y, z] = 1
    mask[tuple(torch.randint(16, (3,), generator=torch.Generator().manual_seed(seed)).tolist())] = 1
    starts, sides = box_around(mask, divisor)
    inner = cut(mask, tuple(s + MARGIN for s in starts), tuple(n - 2 * MARGIN for n in sides))
    assert float(inner.sum()) == float(mask.sum())
    assert all(side % divisor == 0 for side in sides)
    back = cut(cut(mask, starts, sides), tuple(-s for s in starts), (16, 16, 16))
    assert torch.equal(back, mask)


def test_an_empty_mask_becomes_empty_space() -> None:
    made = sample(model(), torch.zeros(1, 2, *SHAPE), "ddpm", steps=2)
    assert torch.equal(made, torch.full_like(made, -1.0))


# --- network and samplers -------------------------------------------------------------------------------------------


def test_the_untrained_network_is_the_best_linear_guess() -> None:
    network = build_network(NETWORK)
    schedule = Schedule.from_config(FLOW)
    network.use_schedule(torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma))
    clean, generator = torch.randn(1, 16, 8, 8, 8), torch.Generator().manual_seed(0)
    rest = torch.rand(1, 18, 8, 8, 8)
    for t in (0, 9, 19):
        alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
        noisy = alpha * clean + sigma * torch.randn(clean.shape, generator=generator)
        x, level = torch.cat([noisy, rest], 1), torch.tensor([t])
        guess = network(x, level)
        assert torch.allclose(guess, alpha / (alpha**2 + sigma**2) * noisy, atol=1e-5)
        assert float(network.loss(guess, clean, x, level)) == pytest.approx(1, abs=0.1)  # at every noise level


@pytest.mark.parametrize("schedule", [FLOW, BRIDGE, ScheduleConfig(20, prediction="x0")])
@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"ddpm-paper"}))
def test_every_sampler_arrives_at_a_known_image(schedule: ScheduleConfig, name: str) -> None:
    truth = torch.randn(1, 1, 4, 4, 4).clamp(-1, 1)

    class Knowing:
        def x0(self, x: torch.Tensor, t: int) -> torch.Tensor:
            return truth

        def noise(self, x: torch.Tensor, t: int) -> torch.Tensor:
            raise AssertionError

    noise = iter([torch.randn(truth.shape) for _ in range(9)])
    found = solver(name)(Knowing(), Trajectory.of(Schedule.from_config(schedule), 6), noise, lambda i, x0: None)
    assert torch.allclose(found, truth, atol=1e-5)


@pytest.mark.parametrize("schedule", [FLOW, BRIDGE])
def test_the_stochastic_sampler_keeps_the_noise_of_every_level(schedule: ScheduleConfig) -> None:
    """From alpha x0 + sigma eps to the same at the next level: mean and variance of the posterior fit together."""
    path = Trajectory.of(Schedule.from_config(schedule), 7)
    for i in range(6):
        of_x0, of_x, variance = path.posterior(i)
        assert of_x0 + of_x * path.alpha[i] == pytest.approx(path.alpha[i + 1])
        assert (of_x * path.sigma[i]) ** 2 + variance == pytest.approx(path.sigma[i + 1] ** 2)


def test_few_steps_of_a_flow_are_spent_where_there_is_noise() -> None:
    times = Trajectory.of(Schedule.from_config(replace(FLOW, steps=1000)), 8).timesteps
    assert times == (999, 874, 749, 624, 499, 374, 249, 124)
    assert Trajectory.of(Schedule.from_config(FLOW), 20).timesteps == tuple(range(19, -1, -1))


def test_the_rule_of_the_paper_is_for_diffusion_only() -> None:
    with pytest.raises(InputError, match="ddpm-paper"):
        sample(model(), scan(0)[1][None], "ddpm-paper", steps=3)


def test_a_sample_depends_on_its_seed_alone() -> None:
    condition = torch.stack([scan(0)[1], scan(1)[1]])
    both = sample(model(), condition, "ddpm", steps=3, seed=5)
    assert torch.allclose(both[1:], sample(model(), condition[1:], "ddpm", steps=3, seed=6), atol=1e-5)
    other = sample(model(), condition[1:], "ddpm", steps=3, seed=7)
    inside = condition[1].sum(0) > 0
    assert float((both[1] - other[0]).abs()[:, inside].mean()) > 0.01
    assert torch.equal(both[1][:, ~inside], torch.full_like(both[1][:, ~inside], -1.0))


def test_the_contrast_asked_for_is_that_of_the_image() -> None:
    fractions = scan(0)[1]
    drawn = model()
    for mean in (-0.6, 0.4):
        look = replace(Look.plain(torch.tensor([[mean, 0.0], [0.5, 0.5]])), spreads=torch.full((2, 2), 0.01))
        made = sample(drawn, fractions[None], "ddim", steps=3, look=look)[0]
        assert float(made[0][fractions[0] == 1].mean()) == pytest.approx(mean, abs=0.03)


def test_known_voxels_stay() -> None:
    images, fractions = scan(0)
    weight = torch.zeros_like(images)
    weight[:, :, 10:20] = 1
    made = sample(model(), fractions[None], "ddpm", steps=4, known=Known(images, weight))[0]
    inside = fractions.sum(0) > 0
    kept = (weight[0] == 0) & inside
    assert torch.allclose(made[:, kept], images[:, kept], atol=1e-5)
    assert not torch.allclose(made[:, ~kept & inside], images[:, ~kept & inside], atol=1e-2)


def test_what_is_seen_at_once_changes_nothing() -> None:
    """A network on crops is the network on whole volumes: inside, away from its borders, it computes the same."""
    network = model()._network
    x = torch.randn(1, 34, 32, 32, 32)
    t = torch.tensor([9])
    whole, part = network(x, t), network(x[..., 8:24], t)
    assert torch.allclose(whole[..., 15:17], part[..., 7:9], atol=1e-4)


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training cases and one for validation."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "cases").mkdir()
    for i in range(4):
        images, fractions = scan(i, 0.05 * i)
        stored = {"images": images.half(), "fractions": (fractions * 255).round().to(torch.uint8)}
        save_file(stored, folder / "cases" / f"case{i}.safetensors")
    cases = tuple(PreparedCase(f"case{i}", "train" if i < 3 else "validation") for i in range(4))
    grid = GridConfig((SHAPE[2], SHAPE[1], SHAPE[0]), (2.0, 2.0, 2.0))
    DatasetConfig(load_scheme("whole-head"), grid, ("T1", "T2"), cases).save(folder)
    return folder


def trained(dataset: Path, out: Path, iterations: int) -> Path:
    augment = AugmentConfig(crop_voxels=8, crop_tumor=0.5)
    monitor = MonitorConfig(validate_every=3, sample_every=6, samples=1, sampler="ddpm", sample_steps=3)
    config = tiny_config(
        dataset, network=NETWORK, schedule=FLOW, iterations=iterations, augment=augment, monitor=monitor
    )
    return Trainer(config, out, SilentReporter()).run()


@pytest.mark.slow
def test_a_continued_training_equals_the_uninterrupted_one(dataset: Path, tmp_path: Path) -> None:
    trained(dataset, tmp_path / "whole", 6)
    trained(dataset, tmp_path / "parts", 3)
    model = load_model(trained(dataset, tmp_path / "parts", 6))
    whole, parts = (Checkpoints(tmp_path / name / "checkpoints").load_newest() for name in ("whole", "parts"))
    assert whole is not None and parts is not None
    for kind in ("network", "average"):
        assert all(torch.equal(whole[kind][name], parts[kind][name]) for name in whole[kind])
    look = model.look()
    assert look is not None and np.allclose(look.means[1], [0.6, -0.5], atol=0.05)
    means = model.label_means()
    assert means is not None and np.array_equal(means, look.means.T)
