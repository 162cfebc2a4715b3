"""What a training minimizes: targets, losses and their weights, masks left out."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.network.build import build_network
from medddpm.network.compact import CompactUNet
from medddpm.sampling.schedule import Schedule, target
from medddpm.training.config import LossConfig, OptimizerConfig, learning_rate
from medddpm.training.objective import NoisyBatch, Objective, level_weights
from synthesis_phantoms import tiny_config
from torch import Tensor

STEPS = 50
SCHEDULE = Schedule.from_config(ScheduleConfig(STEPS))


def model(prediction: str = "noise", **changes: object) -> ModelConfig:
    return replace(tiny_config(), schedule=ScheduleConfig(STEPS, prediction=prediction), **changes)


def volume(seed: int, config: ModelConfig) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(config.network.image_channels, 4, 6, 4, generator=generator) * 2 - 1
    fractions = torch.rand(config.network.mask_channels, 4, 6, 4, generator=generator)
    return images, fractions / fractions.sum(0).clamp_min(1)


def test_the_input_is_the_noisy_image_and_the_mask_in_the_values_of_the_model() -> None:
    config = model(mask_values=(-1.0, 1.0))
    images, fractions = volume(0, config)
    noise, t = torch.randn(images.shape), torch.tensor([20])
    batch = Objective(config, SCHEDULE).noisy(images[None], fractions[None], t, noise[None])
    alpha, sigma = SCHEDULE.alpha[20], SCHEDULE.sigma[20]
    channels = config.network.image_channels
    assert torch.allclose(batch.x[0, :channels], alpha * images + sigma * noise, atol=1e-6)
    assert torch.allclose(batch.x[0, channels:], 2 * fractions - 1)
    assert torch.equal(batch.wanted[0], noise)


def test_noise_levels_are_uniform_and_noise_is_normal() -> None:
    config = model()
    images, fractions = volume(0, config)
    objective, generator = Objective(config, SCHEDULE), torch.Generator().manual_seed(1)
    batches = [objective.draw(images, fractions, generator) for _ in range(1500)]
    levels = torch.cat([batch.t for batch in batches])
    counts = torch.bincount(levels, minlength=STEPS)
    assert len(counts) == STEPS
    assert int(counts.min()) > 15 and int(counts.max()) < 50
    noise = torch.stack([batch.wanted for batch in batches[:200]])
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)


def test_a_joined_batch_has_all_its_volumes() -> None:
    config = model("v")
    one, other = (
        Objective(config, SCHEDULE).draw(*volume(s, config), torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    both = NoisyBatch.joined([one, other])
    assert torch.equal(both.x[1:], other.x) and torch.equal(both.wanted[:1], one.wanted)
    assert both.t.tolist() == [*one.t.tolist(), *other.t.tolist()]


@pytest.mark.parametrize(("kind", "expected"), [("l1", 0.5), ("l2", 0.25)])
def test_losses_are_per_volume(kind: str, expected: float) -> None:
    config = model()
    batch = Objective(config, SCHEDULE).draw(*volume(1, config), torch.Generator().manual_seed(0))
    batch = NoisyBatch.joined([batch, batch])

    def network(x: Tensor, t: Tensor) -> Tensor:
        return batch.wanted + torch.tensor([0.5, 0.0])[:, None, None, None, None]

    losses = Objective(config, SCHEDULE, LossConfig(kind)).losses(network, batch)
    assert losses.tolist() == pytest.approx([expected, 0.0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, STEPS - 1), st.sampled_from(["l1", "l2"]), st.sampled_from([1.0, 5.0, 20.0]), st.integers(0, 99))
def test_with_min_snr_weights_the_loss_does_not_depend_on_what_is_predicted(
    t: int, kind: str, gamma: float, seed: int
) -> None:
    """The same wrong x0, told as noise, x0 or v, costs the same: the weights belong to the prediction."""
    config = model()
    images, _ = volume(seed, config)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    wrong = images.double() + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed + 1))
    alpha, sigma = float(SCHEDULE.alpha[t]), float(SCHEDULE.sigma[t])
    x_t = alpha * images.double() + sigma * noise
    implied = (x_t - alpha * wrong) / sigma
    costs = []
    for prediction in ("x0", "noise", "v"):
        told = target(prediction, wrong, implied, alpha, sigma)
        right = target(prediction, images.double(), noise, alpha, sigma)
        distance = (told - right).abs() if kind == "l1" else (told - right).square()
        weight = level_weights(SCHEDULE, prediction, LossConfig(kind, gamma))[t]
        costs.append(float(distance.mean()) * float(weight))
    assert costs == pytest.approx([costs[0]] * 3, rel=1e-4)
    snr = (alpha / sigma) ** 2
    squared = min(snr, gamma) * float((wrong - images).square().mean())
    assert kind == "l1" or costs[0] == pytest.approx(squared, rel=1e-4)


def test_min_snr_weights_are_those_of_the_paper() -> None:
    """Hang et al. 2023: min(SNR, 5) for x0, min(SNR, 5) / SNR for the noise, min(SNR, 5) / (SNR + 1) for v; L2."""
    snr = (SCHEDULE.alpha / SCHEDULE.sigma) ** 2
    clipped = np.minimum(snr, 5)
    for prediction, expected in (("x0", clipped), ("noise", clipped / snr), ("v", clipped / (snr + 1))):
        found = level_weights(SCHEDULE, prediction, LossConfig("l2", 5.0))
        assert found.numpy() == pytest.approx(expected, rel=1e-5)
    assert level_weights(SCHEDULE, "noise", LossConfig()).tolist() == [1.0] * STEPS


def test_the_loss_weighs_every_volume_by_its_noise_level() -> None:
    config = model()
    objective = Objective(config, SCHEDULE, LossConfig("l2", 5.0))
    draws = [objective.draw(*volume(s, config), torch.Generator().manual_seed(s)) for s in range(3)]
    batch = NoisyBatch.joined(draws)
    network = lambda x, t: torch.zeros_like(batch.wanted)  # noqa: E731
    weights = level_weights(SCHEDULE, "noise", LossConfig("l2", 5.0))[batch.t]
    expected = (weights * batch.wanted.square().mean((1, 2, 3, 4))).mean()
    assert float(objective.loss(network, batch)) == pytest.approx(float(expected), rel=1e-5)


def test_noise_levels_are_drawn_evenly_or_mostly_from_the_middle() -> None:
    config = model()
    images, fractions = volume(0, config)

    def counts(levels: str) -> np.ndarray:
        objective = Objective(config, SCHEDULE, LossConfig(levels=levels))
        generator = torch.Generator().manual_seed(0)
        drawn = [int(objective.draw(images, fractions, generator).t) for _ in range(1000)]
        assert min(drawn) >= 0 and max(drawn) < STEPS
        return np.histogram(drawn, 5, (0, STEPS))[0]

    assert counts("uniform").min() > 150
    middle = counts("middle")
    assert middle[2] > 1.4 * middle[0] and middle[3] > 1.4 * middle[0] and middle[0] < 160


def test_the_compact_network_has_its_own_loss_per_volume() -> None:
    network_config = NetworkConfig(2, 3, 8, (1, 2), groups=4, domain="wavelet")
    network = build_network(network_config)
    assert isinstance(network, CompactUNet)
    network.use_schedule(torch.from_numpy(SCHEDULE.alpha), torch.from_numpy(SCHEDULE.sigma))
    x0, t = torch.rand(2, 2, 8, 8, 8), torch.tensor([10, 30])
    mask = torch.zeros(2, 3, 8, 8, 8)
    mask[0, :, 2:6, 2:6, 2:6] = 1 / 3
    mask[1, 0] = 1
    together = network.loss(x0 + 0.1, x0, mask, t)
    alone = [network.loss(x0[i : i + 1] + 0.1, x0[i : i + 1], mask[i : i + 1], t[i : i + 1]) for i in range(2)]
    assert together.tolist() == pytest.approx([float(a) for a in alone], rel=1e-5)
    assert network.loss(x0 + 0.2, x0, mask, t, "l2").tolist() == pytest.approx(
        (4 * network.loss(x0 + 0.1, x0, mask, t, "l2")).tolist(), rel=1e-3
    )


def test_masks_are_left_out_as_often_as_asked() -> None:
    config = model()
    config = replace(config, dropped_mask=(0.0,) * config.network.mask_channels)
    objective = Objective(config, SCHEDULE, mask_dropout=0.25)
    images, fractions = volume(0, config)
    generator = torch.Generator().manual_seed(5)
    masks = [objective.draw(images, fractions, generator).x[0, config.network.image_channels :] for _ in range(800)]
    dropped = sum(not mask.any() for mask in masks)
    assert 160 < dropped < 240
    off, on = config.mask_values
    assert all(torch.allclose(mask, off + (on - off) * fractions) for mask in masks if mask.any())


@pytest.mark.parametrize(
    ("plan", "step", "expected"),
    [
        ("constant", 50, 1e-3),
        ("step", 49, 1e-3),
        ("step", 50, 1e-4),
        ("cosine", 55, 5.5e-4),
        ("cosine", 99, 1e-4),
        ("warmup-stable-decay", 79, 1e-3),
        ("warmup-stable-decay", 90, 5.5e-4),
        ("cosine", 4, 5e-4),
    ],
)
def test_learning_rate_plans(plan: str, step: int, expected: float) -> None:
    decay = 20 if plan == "warmup-stable-decay" else 0
    settings = OptimizerConfig(lr=1e-3, min_lr=1e-4, schedule=plan, warmup_steps=10, decay_steps=decay)
    assert learning_rate(settings, step, 100) == pytest.approx(expected, rel=0.02)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["constant", "step", "cosine", "warmup-stable-decay"]), st.integers(0, 30), st.integers(60, 200))
def test_learning_rates_stay_between_their_ends_and_never_rise_after_the_warm_up(
    plan: str, warmup: int, total: int
) -> None:
    decay = 25 if plan == "warmup-stable-decay" else 0
    config = OptimizerConfig(lr=1e-3, min_lr=1e-5, schedule=plan, warmup_steps=warmup, decay_steps=decay)
    rates = [learning_rate(config, step, total) for step in range(total)]
    assert all(0 < rate <= 1e-3 * (1 + 1e-9) for rate in rates)
    after = rates[warmup:]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(after))
    assert min(after) >= 1e-5 * (1 - 1e-9)
