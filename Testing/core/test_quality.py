"""The figures of synthetic images: what they say of images that are equal, blurred, noisy, or copies."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.training.evaluation.distances import mmd
from medddpm.training.evaluation.realism import neighbor_similarities
from medddpm.training.monitor.neighbors import Nearest, TrainingNeighbors, is_copy, left_right_axis
from medddpm.training.monitor.quality import (
    MAX_PSNR,
    WEIGHTS,
    Quality,
    by_modality,
    dataset_label_means,
    detail_ratios,
    inside,
    label_mean_image,
    ms_ssim,
    overall,
    psnr,
    quality,
    scales,
)
from monai.metrics import MultiScaleSSIMMetric
from torch import Tensor

SHAPE = (16, 20, 14)
LEVELS = ((0.2, -0.3), (0.6, 0.1))  # of the two labels in the two modalities


def mask(at: int = 6) -> Tensor:
    """A head with a tumor in it, fractions (2, D, H, W)."""
    head, tumor = torch.zeros(SHAPE), torch.zeros(SHAPE)
    head[2:-2, 2:-2, 2:-2] = 1
    tumor[at : at + 4, at : at + 4, 5:9] = 1
    return torch.stack([head - tumor, tumor])


def texture(seed: int, smooth: int = 3) -> Tensor:
    """Smooth noise of standard deviation 0.1, (2, D, H, W): the anatomy that a mask does not tell."""
    noise = torch.randn((2, *SHAPE), generator=torch.Generator().manual_seed(seed))
    soft = F.avg_pool3d(noise[None], smooth, 1, smooth // 2)[0]
    return 0.1 * soft / soft.std()


def case(seed: int, at: int = 6) -> tuple[Tensor, Tensor]:
    """Images (2, D, H, W) and fractions of a made-up patient."""
    fractions = mask(at)
    means = torch.tensor(LEVELS).T
    return label_mean_image(means, fractions, -1.0) + texture(seed) * fractions.sum(0), fractions


def test_similarity() -> None:
    a, b = (torch.randn((1, 2, 22, 24, 26), generator=torch.Generator().manual_seed(s)).clamp(-1, 1) for s in (1, 2))
    assert ms_ssim(a, a).value == pytest.approx(1, abs=1e-5)
    assert ms_ssim(a, b).value < ms_ssim(a, 0.9 * a + 0.1 * b).value < 1
    assert [scales((n, 200, 200)) for n in (16, 22, 44, 80, 128, 176)] == [1, 2, 3, 3, 4, 5]
    with pytest.raises(InputError, match="11 voxels"):
        scales((8, 16, 16))
    weights = [weight / sum(WEIGHTS[:2]) for weight in WEIGHTS[:2]]
    monai = MultiScaleSSIMMetric(3, data_range=2.0, kernel_size=11, weights=weights)
    assert ms_ssim(a, b).value == pytest.approx(float(monai(a[0][:, None], b[0][:, None]).mean()), abs=1e-5)


def test_opposite_images_count_as_0_and_tell() -> None:
    noise = texture(1)
    images, opposite = torch.stack([0.5 + noise[0], noise[1]]), torch.stack([0.5 - noise[0], noise[1]])
    first, second = by_modality(opposite, images, mask())
    assert first.ms_ssim == 0 and first.ms_ssim_lowest is not None and first.ms_ssim_lowest < -0.1
    assert second.ms_ssim_lowest is not None and second.ms_ssim_lowest > 0
    both = overall([first, second])
    assert both.ms_ssim == pytest.approx(0.5, abs=1e-4) and both.ms_ssim_lowest == first.ms_ssim_lowest


def test_an_equal_image_is_perfect() -> None:
    images, fractions = case(1)
    found = quality(images, images, fractions)
    assert found.ms_ssim == pytest.approx(1, abs=1e-5)
    assert (found.l1, found.mse, found.mse_volume, found.label_error, found.psnr) == (0, 0, 0, 0, MAX_PSNR)
    assert found.detail == pytest.approx({"fine": 1, "medium": 1, "coarse": 1})


def test_figures_are_those_of_the_inside() -> None:
    images, fractions = case(1)
    changed = images + 0.1
    found = quality(changed, images, fractions)
    assert found.l1 == pytest.approx(0.1, rel=1e-4)
    assert found.psnr == pytest.approx(10 * math.log10(4 / 0.01), rel=1e-4)
    assert found.label_error == pytest.approx(0.1, rel=1e-4)
    assert found.sharpness == pytest.approx(1, rel=1e-4)
    outside = torch.where(inside(fractions), images, images + 0.5)
    assert quality(outside, images, fractions).l1 == 0
    assert quality(outside, images, fractions).mse_volume > 0.05


def detail_ratio(synthetic: Tensor, real: Tensor, within: Tensor) -> dict[str, float]:
    """Mean over modalities."""
    ratios = detail_ratios(synthetic, real, within)
    return {name: sum(ratio[name] for ratio in ratios) / len(ratios) for name in ratios[0]}


def test_blur_and_noise_show_as_sharpness() -> None:
    images, fractions = case(1)
    within = inside(fractions)
    blurred = F.avg_pool3d(images[None], 3, 1, 1)[0]
    assert detail_ratio(blurred, images, within)["fine"] < 0.6
    assert detail_ratio(blurred, images, within)["fine"] < detail_ratio(blurred, images, within)["coarse"]
    assert detail_ratio(images + 0.1 * torch.randn_like(images), images, within)["fine"] > 1.2
    flat = torch.full_like(images, 0.3)
    assert detail_ratio(flat, images, within)["fine"] == pytest.approx(0, abs=1e-3)


def test_the_outline_is_no_detail() -> None:
    """A head of one intensity has no detail, though its edge is sharp."""
    _, fractions = case(1)
    flat = torch.where(inside(fractions), 0.5, -1.0)[None].expand(2, -1, -1, -1)
    textured = case(1)[0]
    assert detail_ratio(flat, textured, inside(fractions))["fine"] < 1e-3


def test_wrong_tumor_contrast_shows_as_label_error() -> None:
    images, fractions = case(1)
    wrong = images - 0.4 * fractions[1]
    found = quality(wrong, images, fractions)
    assert found.label_error == pytest.approx(0.2, rel=1e-3)  # of two labels one is right
    assert [part.label_error for part in by_modality(wrong, images, fractions)] == pytest.approx([0.2, 0.2], rel=1e-3)


def test_a_label_that_is_absent_counts_nowhere() -> None:
    images, fractions = case(1)
    empty = torch.stack([fractions.sum(0), torch.zeros(SHAPE)])
    assert quality(images + 0.1, images, empty).label_error == pytest.approx(0.1, rel=1e-4)
    nothing = torch.zeros_like(fractions)
    assert quality(images, images, nothing).label_error is None
    assert bool(inside(nothing).all())


def test_a_grid_below_the_window_has_no_similarity() -> None:
    images, fractions = case(1)
    small = quality(images[:, :8], images[:, :8], fractions[:, :8])
    assert small.ms_ssim is None
    assert overall([small, small]).ms_ssim is None


def test_means_over_cases() -> None:
    images, fractions = case(1)
    parts = [quality(images + shift, images, fractions) for shift in (0.1, 0.3)]
    both = overall(parts)
    assert both.l1 == pytest.approx(0.2, rel=1e-4)
    assert both.psnr == pytest.approx(psnr((0.01 + 0.09) / 2), rel=1e-4)


def test_label_means_and_their_image() -> None:
    cases = [case(seed, at) for seed, at in ((1, 5), (2, 6), (3, 7))]
    means = dataset_label_means(cases, -1.0)
    assert means.T.numpy() == pytest.approx(torch.tensor(LEVELS).numpy(), abs=0.05)
    image = label_mean_image(means, cases[0][1], -1.0)
    assert quality(image, cases[0][0], cases[0][1]).l1 < 0.12
    assert torch.equal(image[:, 0, 0, 0], torch.tensor([-1.0, -1.0]))
    absent = dataset_label_means([(cases[0][0], torch.stack([mask()[0], torch.zeros(SHAPE)]))], -1.0)
    assert torch.equal(absent[:, 1], torch.tensor([-1.0, -1.0]))


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.1, 2), seed=st.integers(0, 50))
def test_sharpness_is_the_ratio_of_amplitudes(scale: float, seed: int) -> None:
    images, fractions = case(seed)
    within = inside(fractions)
    ratio = detail_ratio(scale * images, images, within)
    assert list(ratio.values()) == pytest.approx([scale] * 3, rel=1e-3)


# --- memorizing -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def neighbors() -> TrainingNeighbors:
    cases = [case(seed, 5 + seed % 4) for seed in range(12)]
    return TrainingNeighbors([f"t{i}" for i in range(12)], cases.__getitem__, -1.0, -1)


def held_out(neighbors: TrainingNeighbors) -> tuple[Nearest, Tensor]:
    images, fractions = case(100, 7)
    return neighbors.nearest(images, fractions), fractions


def test_copies_are_found_also_shifted_noisy_and_mirrored(neighbors: TrainingNeighbors) -> None:
    real, fractions = held_out(neighbors)
    images, own = case(4, 5)
    noisy = images + 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    for copied, its_mask in ((noisy, own), (noisy.flip(-1), own.flip(-1)), (images * 0.8 + 0.1, own)):
        found = neighbors.nearest(copied, its_mask)
        assert (found.case, is_copy(found, real)) == ("t4", True), found
    assert neighbors.nearest(images, own).similarity == pytest.approx(1, abs=1e-3)
    pasted = torch.where(fractions.sum(0) > 0, images, -1.0)  # the training anatomy under another mask
    assert is_copy(neighbors.nearest(pasted, fractions), real)


def test_other_patients_averages_and_noise_are_no_copies(neighbors: TrainingNeighbors) -> None:
    real, fractions = held_out(neighbors)
    other, other_mask = case(200, 6)
    average = torch.stack([case(seed, 7)[0] for seed in range(12)]).mean(0)
    noise = torch.randn(average.shape, generator=torch.Generator().manual_seed(2))
    empty = label_mean_image(neighbors.means, fractions, -1.0)
    for images, its_mask in ((other, other_mask), (average, fractions), (noise, fractions), (empty, fractions)):
        assert not is_copy(neighbors.nearest(images, its_mask), real)


def test_one_training_case_has_no_others() -> None:
    images, fractions = case(1)
    single = TrainingNeighbors(["only"], lambda i: (images, fractions), -1.0, -1)
    other, other_mask = case(2)
    found = single.nearest(images + 0.01 * texture(9), fractions)
    assert (found.case, found.others) == ("only", 0.0)
    assert is_copy(found, single.nearest(other, other_mask))


@pytest.mark.parametrize(("orientation", "axis"), [("LPS", -1), ("RAS", -1), ("PLS", -2), ("SAR", -3)])
def test_the_left_right_axis(orientation: str, axis: int) -> None:
    assert left_right_axis(orientation) == axis


# --- sets -----------------------------------------------------------------------------------------------------------


def test_mmd_tells_sets_apart() -> None:
    def draw(seed: int, shift: float) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(30, generator=generator) + shift for _ in range(20)]

    same, shifted = mmd(draw(1, 0), draw(2, 0)), mmd(draw(1, 0), draw(2, 1))
    assert same is not None and shifted is not None
    assert abs(same) < 0.02 < shifted
    assert mmd(draw(2, 1), draw(1, 0)) == pytest.approx(shifted)
    assert mmd(draw(1, 0)[:1], draw(2, 0)) is None


def test_mmd_of_small_sets_by_hand() -> None:
    """Points 0, 1 against 0, 3: the distances are 1, 0, 3, 1, 2, 3, the lower median 1; eq. 3 with k = e^(-d²/2)."""
    a, b = ([torch.tensor([x]) for x in xs] for xs in ((0.0, 1.0), (0.0, 3.0)))

    def k(distance: float) -> float:
        return math.exp(-(distance**2) / 2)

    expected = k(1) + k(3) - 2 * (k(0) + k(3) + k(1) + k(2)) / 4
    assert mmd(a, b) == pytest.approx(expected, rel=1e-5)


def test_similarity_of_sets() -> None:
    images = [case(seed)[0] for seed in (1, 1, 2)]
    calls: list[int] = []

    def load(i: int) -> Tensor:
        calls.append(i)
        return images[i]

    ((first, alike),) = neighbor_similarities(2, load)
    assert first == 0 and alike.value == pytest.approx(1, abs=1e-5)
    assert calls == [0, 1]
    (_, equal), (_, other), (_, last) = neighbor_similarities(3, load)
    assert equal.value == pytest.approx(1, abs=1e-5) and max(other.value, last.value) < 0.999
    assert neighbor_similarities(1, load) == []


def test_figures_are_plain_numbers() -> None:
    images, fractions = case(1)
    found = quality(images + 0.1, images, fractions)
    assert isinstance(found, Quality)
    assert all(isinstance(value, float | dict) for value in vars(found).values())
