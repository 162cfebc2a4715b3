"""The compact network: the wavelet transform, the linear denoiser that it begins as, its way through the program."""

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
from medddpm.models.model import Model
from medddpm.models.registry import load_model, save_model_folder
from medddpm.network.build import build_network
from medddpm.network.compact import AXES, BINS, CompactUNet
from medddpm.network.cost import network_cost
from medddpm.network.position import place_in_head
from medddpm.network.unet import UNet3D
from medddpm.network.wavelet import from_bands, to_bands
from medddpm.progress import SilentReporter
from medddpm.sampling.sample import sample
from medddpm.sampling.schedule import Schedule
from medddpm.training.checkpoint import Checkpoints
from medddpm.training.config import AugmentConfig
from medddpm.training.dataset import PreparedDataset
from medddpm.training.trainer import Trainer
from safetensors.torch import save_file
from synthesis_phantoms import tiny_config
from training_runs import tiny_config as tiny_config_of_training

NETWORK = NetworkConfig(2, 3, 8, (1, 2), groups=4, domain="wavelet")
SCHEDULE = Schedule.from_config(ScheduleConfig(50, prediction="x0"))


def compact(seed: int = 0) -> CompactUNet:
    torch.manual_seed(seed)
    network = build_network(NETWORK)
    assert isinstance(network, CompactUNet)
    network.use_schedule(torch.from_numpy(SCHEDULE.alpha), torch.from_numpy(SCHEDULE.sigma))
    return network


def labels(side: int = 32) -> torch.Tensor:
    """Fractions of three labels: two halves of a ball and a core within the first; (3, side, side, side)."""
    z, y, x = np.indices((side,) * 3) - (side - 1) / 2
    ball, core = x**2 + y**2 + z**2 < (0.42 * side) ** 2, (x + 5) ** 2 + y**2 + z**2 < 5**2
    parts = np.stack([ball & (x < 0) & ~core, ball & (x >= 0), core]).astype(np.float32)
    return torch.from_numpy(parts)


def images(mask: torch.Tensor, seed: int) -> torch.Tensor:
    """Two channels with a mean for each label and noise inside; (2, D, H, W)."""
    means = torch.tensor([[0.2, -0.1], [0.5, 0.3], [-0.4, 0.8]])
    noise = 0.1 * torch.randn((2, *mask.shape[1:]), generator=torch.Generator().manual_seed(seed))
    inside = mask.sum(0)
    return torch.einsum("lxyz,lc->cxyz", mask, means) + inside * noise - (1 - inside)


def fitted() -> CompactUNet:
    network, mask = compact(), labels()
    network.fit([(images(mask, seed), mask) for seed in range(4)])
    return network


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.tuples(*[st.sampled_from([2, 4, 6])] * 3), st.integers(0, 99))
def test_bands_are_an_orthonormal_change_of_place(channels: int, shape: tuple[int, int, int], seed: int) -> None:
    x = torch.randn((2, channels, *shape), generator=torch.Generator().manual_seed(seed))
    bands = to_bands(x)
    assert bands.shape == (2, 8 * channels, *[side // 2 for side in shape])
    assert torch.allclose(from_bands(bands), x, atol=1e-5)
    assert float(bands.square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-5)


def test_the_first_band_is_the_mean_of_a_block() -> None:
    x = torch.arange(2 * 8.0).reshape(1, 2, 2, 2, 2)
    bands = to_bands(x)[0, :, 0, 0, 0]
    assert torch.allclose(bands[[0, 8]], x.mean((2, 3, 4))[0] * 8**0.5)


def test_fit_finds_means_and_strength() -> None:
    network = fitted()
    expected = torch.tensor([[0.2, -0.1], [0.5, 0.3], [-0.4, 0.8], [-1, -1]])
    assert torch.allclose(network.label_means, expected, atol=0.01)
    # White noise of 0.1 within the labels has this variance at every frequency.
    assert network.power.mean(1).numpy() == pytest.approx([0.01, 0.01], rel=0.1)
    assert network.power[:, BINS // 2 :].numpy() == pytest.approx(np.full((2, BINS // 2), 0.01), rel=0.25)


def test_fit_finds_what_lies_where_in_the_head() -> None:
    """A bright slab at the same place of heads of different places and sizes, blurred by no more than the atlas is."""
    network = CompactUNet(replace(NETWORK, position=True))

    def head(side: float, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
        z, y, x = (torch.from_numpy(p - 15.5).float() for p in np.indices((32,) * 3))
        inside = ((x - shift) ** 2 + y**2 + z**2 < side**2).float()
        slab = ((x - shift) > 0.2 * side).float() - 0.4 * inside
        return torch.stack([inside * slab, 0 * inside]) - (1 - inside), torch.stack([inside, 0 * inside, 0 * inside])

    cases = [head(10 + k % 3, k % 5 - 2) for k in range(20)]
    network.fit(cases)
    assert network.atlas_share.tolist() == [1, 0, 0]
    image, mask = head(11, 2)
    inside, blurred = mask[0] > 0, 0.2 * 11
    x = torch.arange(32) - 15.5 - 2
    away = inside & ((x - 0.2 * 11).abs() > blurred)
    found = network.expected(mask[None])[0]
    assert float((found - image)[0][away].abs().mean()) < 0.12
    assert float((network.expected(mask.flip(0)[None])[0] - found)[0][inside].std()) > 0.3  # another label has no atlas
    crop = (slice(None), slice(8, 24), slice(8, 24), slice(10, 26))
    place = place_in_head(mask[None])[0]
    part = network.expected(mask[crop][None], place[crop][None])[0]
    assert torch.allclose(part, found[crop], atol=1e-5)


def test_the_spectrum_belongs_to_the_frequencies_of_the_grid() -> None:
    network = compact()
    network.power.copy_(torch.linspace(1, 2, BINS))
    found = network.spectrum(torch.zeros(1, 2, 16, 24, 8))
    assert found.shape == (1, 2, 16, 24, 5)
    assert float(found[0, 0, 0, 0, 0]) == 1.0  # no change over space
    assert float(found[0, 1, 8, 12, 4]) == pytest.approx(2.0)  # a change of sign from voxel to voxel along every axis
    assert torch.allclose(found[0, 0, 3], found[0, 0, -3])
    # Half a cycle per voxel along one axis, whatever the grid's sides: sqrt(0.5 / 0.866) of the way.
    assert float(found[0, 0, 8, 0, 0]) == pytest.approx(1 + (1 / 3) ** 0.25, abs=0.01)
    assert float(found[0, 0, 0, 12, 0]) == pytest.approx(1 + (1 / 3) ** 0.25, abs=0.01)


@pytest.mark.parametrize("t", [0, 10, 25, 49])
def test_untrained_it_is_the_best_linear_denoiser(t: int) -> None:
    network, mask = fitted().eval(), labels()
    x0 = images(mask, 9)[None]
    alpha, sigma = float(SCHEDULE.alpha[t]), float(SCHEDULE.sigma[t])
    x = alpha * x0 + sigma * torch.randn(x0.shape, generator=torch.Generator().manual_seed(t))
    with torch.no_grad():
        found = network(torch.cat([x, mask[None]], dim=1), torch.tensor([t]))
    deep = mask.sum(0) > 0
    error = float((found - x0)[0][:, deep].square().mean())
    best = 0.1**2 * sigma**2 / (alpha**2 * 0.1**2 + sigma**2)  # of noise of 0.1 around a known mean
    assert error == pytest.approx(best, rel=0.15)
    corner = found[0, :, :4, :4, :4]  # nothing is known to vary outside
    assert torch.allclose(corner, torch.full_like(corner, -1.0), atol=0.03)


def test_loss_is_lowest_at_the_truth_and_counts_every_frequency() -> None:
    network, mask = fitted(), labels()[None]
    x0, t = images(mask[0], 3)[None], torch.tensor([20])
    assert float(network.loss(x0, x0, mask, t)) == 0
    place = torch.arange(32.0)
    losses = []
    for cycles in (0, 1, 4, 16):
        wave = 0.1 * torch.cos(2 * torch.pi * cycles * place / 32)
        losses.append(float(network.loss(x0 + wave, x0, mask, t)))
    assert min(losses) > 0.05 * max(losses)
    outside = (mask.sum(1, keepdim=True) == 0).float()
    assert float(network.loss(x0 + outside, x0, mask, t)) == 0  # nothing is known to vary there


def test_detail_is_estimated_from_the_strength_that_training_saw() -> None:
    """With smooth training images, fine noise is taken for noise and coarse structure for structure."""
    network, mask = compact().eval(), torch.ones(3, 32, 32, 32) / 3
    place = torch.arange(32.0)
    smooth = torch.stack([torch.cos(2 * torch.pi * (2 * place / 32 + phase)) for phase in (0.0, 0.3)])
    image = smooth[:, None, None, :].expand(2, 32, 32, 32) * 0.3
    network.fit([(image.roll(k, -1), mask) for k in range(8)])
    t = torch.tensor([25])
    alpha, sigma = float(SCHEDULE.alpha[25]), float(SCHEDULE.sigma[25])
    noise = torch.randn(1, 2, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = network(torch.cat([alpha * image[None] + sigma * noise, mask[None]], dim=1), t)
    kept = torch.fft.rfftn(found[0], dim=AXES).abs()
    assert float((found - image).square().mean()) < 0.05 * float(image.square().mean())
    assert float(kept[:, 16, 16, 16].max()) < 1e-3 * float(kept[:, 0, 0, 2].max())


def wavelet_config(position: bool = False) -> ModelConfig:
    config = tiny_config()
    network = replace(config.network, domain="wavelet", position=position)
    grid = replace(config.grid, shape=(16, 32, 16))
    return replace(config, network=network, grid=grid, schedule=replace(config.schedule, prediction="x0"))


@pytest.mark.parametrize("position", [False, True])
def test_a_compact_model_is_saved_loaded_and_sampled(tmp_path: Path, position: bool) -> None:
    config = wavelet_config(position)
    torch.manual_seed(1)
    network = build_network(config.network)
    assert isinstance(network, CompactUNet)
    network.label_means.uniform_(-1, 1)
    if position:
        network.atlas.uniform_(-0.5, 0.5)
        network.atlas_share[0] = 1
    save_model_folder(tmp_path / "model", config, network.state_dict())
    model = load_model(tmp_path / "model")
    direct = Model(config, network, torch.device("cpu"), torch.float32, "")
    condition = torch.zeros(1, config.network.mask_channels, 16, 32, 16)
    condition[:, 0, 4:12, 8:24, 4:12] = 1
    images = sample(model, condition, sampler="dpm++2m", steps=3, seed=5)
    assert images.shape == (1, config.network.image_channels, 16, 32, 16)
    assert torch.equal(images, sample(direct, condition, sampler="dpm++2m", steps=3, seed=5))
    low = sample(load_model(tmp_path / "model", precision="bf16"), condition, sampler="dpm++2m", steps=3, seed=5)
    assert float((low - images).norm() / images.norm()) < 0.02


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schedule": ScheduleConfig(6)}, "x0 for a network in the wavelet domain"),
        ({"mask_values": (-1.0, 1.0)}, "0 and 1 for the wavelet domain"),
    ],
)
def test_configurations_that_make_no_compact_model_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(wavelet_config(), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="multiples of 4"):
        replace(wavelet_config(), grid=replace(wavelet_config().grid, shape=(10, 32, 16)))


def test_it_costs_a_fraction() -> None:
    full = NetworkConfig(4, 4, 32, (1, 2, 2), groups=8)
    shape = (64, 64, 64)
    ratio = network_cost(full, shape).flops / network_cost(replace(full, domain="wavelet"), shape).flops
    assert 5 < ratio < 8
    assert isinstance(build_network(full), UNet3D)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases with a head and a tumor in it that differs in place, and two modalities."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "cases").mkdir()
    generator = torch.Generator().manual_seed(3)
    for i in range(3):
        head, tumor = torch.zeros(16, 32, 16), torch.zeros(16, 32, 16)
        head[2:14, 4:28, 2:14] = 1
        tumor[3 * i + 3 : 3 * i + 6, 8 * i + 6 : 8 * i + 11, 5:10] = 1
        texture = 0.1 * torch.randn((2, 16, 32, 16), generator=generator)
        image = (torch.stack([tumor, -tumor]) + texture).clamp(-1, 1) * head + (head - 1)
        fractions = (torch.stack([head * (1 - tumor), tumor]) * 255).to(torch.uint8)
        save_file({"images": image.half(), "fractions": fractions}, folder / "cases" / f"case{i}.safetensors")
    cases = tuple(PreparedCase(f"case{i}", "train") for i in range(3))
    grid = GridConfig((16, 32, 16), (2.0, 2.0, 2.0))
    DatasetConfig(load_scheme("whole-head"), grid, ("T1", "T2"), cases).save(folder)
    return folder


def trained(dataset: Path, out: Path, iterations: int, position: bool) -> Path:
    network = NetworkConfig(2, 2, 8, (1, 2), groups=4, domain="wavelet", position=position)
    schedule = ScheduleConfig(20, prediction="x0")
    augment = AugmentConfig(crop_voxels=8 if position else 0, crop_until=1.0)
    config = tiny_config_of_training(
        dataset, network=network, schedule=schedule, iterations=iterations, augment=augment
    )
    return Trainer(config, out, SilentReporter()).run()


@pytest.mark.parametrize("position", [False, True])
def test_a_continued_training_equals_the_uninterrupted_one(dataset: Path, tmp_path: Path, position: bool) -> None:
    trained(dataset, tmp_path / "whole", 6, position)
    trained(dataset, tmp_path / "parts", 3, position)
    model = load_model(trained(dataset, tmp_path / "parts", 6, position))
    whole, parts = (Checkpoints(tmp_path / name / "checkpoints").load_newest() for name in ("whole", "parts"))
    assert whole is not None and parts is not None
    for kind in ("network", "average"):
        assert all(torch.equal(whole[kind][name], parts[kind][name]) for name in whole[kind])
    images, fractions = PreparedDataset(dataset, "train")[0]
    x0 = model.predict_x0(torch.randn(1, 2, 16, 32, 16), fractions[None], 19)
    assert float((x0[0] - images).square().mean()) < 0.02  # the moments alone tell as much as that
