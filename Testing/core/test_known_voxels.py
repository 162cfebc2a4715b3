"""Voxels that are known: the weight of the seam, what samplers make of them, and their intensities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm import sample
from medddpm.errors import InputError
from medddpm.geometry.intensity import IntensityRange
from medddpm.models.model import Model
from medddpm.sampling.sample import Known
from medddpm.sampling.solvers import SOLVERS, Trajectory
from medddpm.synthesis.local_edit import seam_weight
from small_models import reference_network
from synthesis_phantoms import tiny_config


# The weight of the seam
def oracle(region: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance of every voxel center to the nearest one of the region, by comparing with all of them."""
    points = np.indices(region.shape).reshape(3, -1).T * spacing
    inside = points[region.ravel()]
    return np.sqrt(((points[:, None] - inside[None]) ** 2).sum(axis=2)).min(axis=1).reshape(region.shape)


REGIONS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(REGIONS, st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3), st.sampled_from([0.0, 0.4, 1.0, 3.0, 7.5]))
def test_the_weight_falls_smoothly_with_the_distance(
    spots: set[tuple[int, int, int]], spacing: tuple[float, float, float], seam: float
) -> None:
    region = np.zeros((7, 8, 6), bool)
    for spot in spots:
        region[spot] = True
    weight, distance = seam_weight(region, spacing, seam), oracle(region, spacing)
    assert weight.dtype == np.float32 and (weight[region] == 1).all()
    assert (weight[distance >= seam + 1e-4] == 0)[~region[distance >= seam + 1e-4]].all()
    between = ~region & (distance < seam - 1e-4)
    assert ((weight[between] > 0) & (weight[between] < 1)).all()
    order = np.argsort(distance.ravel(), kind="stable")
    assert (np.diff(weight.ravel()[order]) <= 1e-5).all()
    if seam:
        share = np.clip(1 - distance / seam, 0, 1)
        np.testing.assert_allclose(weight, share**2 * (3 - 2 * share), atol=1e-4)


# What samplers make of known voxels
class Watched(Model):
    """A model that averages over neighbors, so that what is known is seen around it, and mixes the channels.

    It remembers every noisy image that it was asked about.
    """

    def __init__(self, steps: int = 6) -> None:
        config = tiny_config(steps)
        super().__init__(config, reference_network(config.network), torch.device("cpu"), torch.float32, "0" * 64)
        self.seen: dict[int, torch.Tensor] = {}

    def predict_x0(self, x_t: torch.Tensor, condition: torch.Tensor, t: int) -> torch.Tensor:
        self.seen[t] = x_t[0].clone()
        near = sum(x_t.roll(step, axis) for step in (-1, 0, 1) for axis in (2, 3, 4)) / 9
        return 1.1 * torch.tanh(near + 0.3 * near.flip(1) + 0.5 * condition[:, 3:])

    def predict_noise(self, x_t: torch.Tensor, condition: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = int(t[0])
        alpha, sigma = float(self.schedule.alpha[level]), float(self.schedule.sigma[level])
        return (x_t - alpha * self.predict_x0(x_t, condition, level)) / sigma


GRID = (16, 24, 16)


def half_known() -> Known:
    """Both channels known in one half of the grid, the second with a seam, where the weight is 0.5."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((2, *GRID), generator=generator) * 2 - 1
    weight = torch.ones((2, *GRID))
    weight[:, :, :12] = 0
    weight[1, :, 11] = 0.5
    return Known(images, weight)


def condition() -> torch.Tensor:
    labels = torch.zeros((1, 4, *GRID))
    labels[:, 3, 2:14, 2:22, 2:14] = 1
    return labels


@pytest.mark.parametrize("name", SOLVERS)
def test_known_voxels_come_out_as_they_are(name: str) -> None:
    model, known = Watched(), half_known()
    result = sample(model, condition(), name, steps=5, seed=3, known=known)[0]
    free = sample(model, condition(), name, steps=5, seed=3)[0]
    kept, made = known.weight == 0, known.weight == 1
    torch.testing.assert_close(result[kept], known.images[kept], rtol=0, atol=1e-4 if name == "ddpm-paper" else 1e-6)
    assert (result[made] != free[made]).any(), "the model sees what is known around the region"
    assert (result[made] != known.images[made]).all()


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "dpm++3m", "unipc"])
def test_known_voxels_are_the_noised_real_ones_at_every_step(name: str) -> None:
    """x_t = alpha_t x0 + sigma_t eps with one eps, also for samplers with a history of former predictions."""
    model, known = Watched(60), half_known()
    path = Trajectory.of(model.schedule, 12)
    sample(model, condition(), name, steps=12, seed=3, known=known)
    kept = known.weight == 0
    start = model.seen[path.timesteps[0]]
    eps = (start - path.alpha[0] * known.images) / path.sigma[0]
    for i, t in enumerate(path.timesteps):
        expected = path.alpha[i] * known.images + path.sigma[i] * eps
        torch.testing.assert_close(model.seen[t][kept], expected[kept].float(), rtol=1e-4, atol=2e-5)


def variance(name: str, path: Trajectory) -> Iterator[float]:
    """Of the noise in known voxels at every level: sigma_t^2 (DDPM, eq. 4).

    "ddpm-paper" adds beta_t at each step where DDPM adds the posterior's variance, and so has a little more.
    """
    found = 1.0
    for i in range(len(path.timesteps)):
        yield path.sigma[i] ** 2 if name == "ddpm" else found
        kept = (path.alpha[i] / path.alpha[i + 1]) ** 2
        found = found * (1 - (1 - kept) / path.sigma[i] ** 2) ** 2 / kept + 1 - kept


@pytest.mark.parametrize(("name", "steps"), [("ddpm", 60), ("ddpm", 9), ("ddpm-paper", 60)])
def test_known_voxels_have_the_distribution_of_the_noised_real_ones(name: str, steps: int) -> None:
    """x_t - alpha_t x0 is normal with the variance of the noise, and without a trace of x0."""
    model, known = Watched(60), half_known()
    path = Trajectory.of(model.schedule, steps)
    sample(model, condition(), name, steps=steps, seed=3, known=known)
    kept = known.weight == 0
    real = known.images[kept].double()
    for (i, t), expected in zip(enumerate(path.timesteps), variance(name, path), strict=True):
        noise = (model.seen[t][kept].double() - path.alpha[i] * real) / expected**0.5
        count = noise.numel()
        assert abs(float(noise.mean())) < 4 / count**0.5
        assert abs(float(noise.var()) - 1) < 4 * (2 / count) ** 0.5
        assert abs(float((noise.abs() < 1).double().mean()) - 0.6827) < 0.02
        assert abs(float(torch.corrcoef(torch.stack([noise, real]))[0, 1])) < 5 / count**0.5


def test_it_equals_replacing_known_voxels_at_every_step() -> None:
    """DDIM written out, with the known voxels of x_t overwritten by the noised real ones before every evaluation."""
    model, images = Watched(60), half_known().images
    kept = half_known().weight[0].expand(2, *GRID) == 0
    known = Known(images, (~kept).float())
    result = sample(model, condition(), "ddim", steps=10, seed=5, known=known)[0]
    path = Trajectory.of(model.schedule, 10)
    x = model.seen[path.timesteps[0]]
    eps = (x - path.alpha[0] * images) / path.sigma[0]
    for i, t in enumerate(path.timesteps):
        x = torch.where(kept, path.alpha[i] * images + path.sigma[i] * eps, x)
        x0 = model.predict_x0(x[None].float(), condition(), t)[0].clamp(-1, 1)
        x = path.alpha[i + 1] * x0 + path.sigma[i + 1] * (x - path.alpha[i] * x0) / path.sigma[i]
    torch.testing.assert_close(result[~kept], x[~kept].float(), rtol=1e-3, atol=1e-4)


def test_known_images_must_fit() -> None:
    good = half_known()
    with pytest.raises(
        InputError, match=r"known images have shape \(2, 8, 24, 16\), but this model and condition need"
    ):
        sample(Watched(), condition(), known=Known(good.images[:, :8], good.weight[:, :8]))
    with pytest.raises(InputError, match=r"both must be \(C, D, H, W\)"):
        Known(good.images, good.weight[0])
    for images, weight in ((good.images * 2, good.weight), (good.images, good.weight - 0.1)):
        with pytest.raises(InputError, match=r"within -1 to 1, and their weights within 0 to 1"):
            Known(images, weight)


# Intensities
@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e5), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_intensities_go_to_the_network_and_back(low: float, width: float, shares: list[float]) -> None:
    there = IntensityRange(low, low + width)
    data = np.array([low + share * width for share in shares])
    image = there.to_network(data)
    assert image.dtype == np.float32 and image.min() >= -1 and image.max() <= 1
    np.testing.assert_allclose(there.from_network(image), data, atol=1e-6 * (abs(low) + width) + 1e-6)
    assert there.to_network(np.array([low - width, low + 2 * width])).tolist() == [-1, 1]
