"""Augmentation: image and mask stay together, the same numbers give the same result, nothing leaves its range."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.labels.scheme import load_scheme
from medddpm.training.augment import (
    FIELD_POINTS,
    Augmentation,
    Warp,
    _resampled,
    _smoothed,
    bias_field,
    box_at,
    change_intensities,
    flip_left_right,
    shift,
)
from medddpm.training.config import AugmentConfig
from monai.networks.layers import GaussianFilter
from monai.transforms import RandBiasField, Resample
from torch import Tensor

SHAPE = (12, 16, 10)  # D, H, W
WHOLE = tuple(slice(0, side) for side in SHAPE)
PLAIN = {"flip": False}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(orientation: str = "LPS", spacing: tuple[float, float, float] = (2.0, 2.0, 2.0)) -> ModelConfig:
    network = NetworkConfig(2, 2, 8, (1, 2), groups=4)
    grid = GridConfig((SHAPE[2], SHAPE[1], SHAPE[0]), spacing, orientation)
    return ModelConfig("m", ("T1", "T2"), network, ScheduleConfig(), load_scheme("whole-head"), grid)


def pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A smooth head with a tumor, whose first image is twice the head's fraction less 1, the second the tumor's."""
    z, y, x = torch.meshgrid(*(torch.arange(side) - (side - 1) / 2 for side in SHAPE), indexing="ij")
    center = torch.randint(-2, 3, (3,), generator=seeded(seed))
    tumor = ((4 - ((z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2).sqrt()) / 2).clamp(0, 1)
    whole = ((4.5 - (z**2 * 0.9 + y**2 * 0.6 + x**2).sqrt()) / 1.5).clamp(0, 1)
    tumor = tumor * whole
    fractions = torch.stack([whole - tumor, tumor])
    return torch.stack([2 * whole - 1, 2 * tumor - 1]), fractions


def together(images: Tensor, fractions: Tensor) -> float:
    """How far the images are from what the mask says they are."""
    told = torch.stack([2 * fractions.sum(0) - 1, 2 * fractions[1] - 1])
    return float((images - told).abs().max())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 4, 8]), st.sampled_from([0.0, 0.5, 1.0]))
def test_image_and_mask_stay_together(seed: int, crop: int, intensity: float) -> None:
    config = AugmentConfig(
        shift_voxels=2, crop_voxels=crop, affine=0.7, elastic=0.7, elastic_mm=3, elastic_smoothness_mm=14
    )
    images, fractions = Augmentation(config, model())(*pair(seed), seeded(seed))
    assert images.shape[1:] == fractions.shape[1:] == tuple(min(crop or side, side) for side in SHAPE)
    assert together(images, fractions) < 2 / 255
    assert float(images.min()) >= -1 and float(images.max()) <= 1 + 1e-6
    assert float(fractions.min()) >= 0 and float(fractions.sum(0).max()) <= 1 + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_the_same_generator_gives_the_same_bits(seed: int) -> None:
    config = AugmentConfig(
        shift_voxels=2, crop_voxels=8, affine=1.0, elastic=1.0, elastic_smoothness_mm=20, intensity=1.0
    )
    augmentation, again = Augmentation(config, model()), Augmentation(config, model())
    augmentation(*pair(9), seeded(77))  # what went before does not matter
    one, other = augmentation(*pair(), seeded(seed)), again(*pair(), seeded(seed))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert type(one[0]) is Tensor and type(one[1]) is Tensor
    different = again(*pair(), seeded(seed + 100))
    assert not torch.equal(one[0], different[0])


def test_the_originals_are_left_as_they_are() -> None:
    images, fractions = pair()
    before = images.clone(), fractions.clone()
    config = AugmentConfig(shift_voxels=2, affine=1.0, elastic=1.0, elastic_smoothness_mm=20, intensity=1.0)
    for seed in range(4):
        Augmentation(config, model())(images, fractions, seeded(seed))
    assert torch.equal(images, before[0]) and torch.equal(fractions, before[1])


@pytest.mark.parametrize(("orientation", "axis"), [("LPS", -1), ("RAS", -1), ("PLS", -2), ("SPR", -3)])
def test_flips_are_left_right_whatever_the_orientation(orientation: str, axis: int) -> None:
    augmentation = Augmentation(AugmentConfig(), model(orientation))
    images, fractions = torch.rand(2, *SHAPE), torch.rand(2, *SHAPE)
    seen = set()
    for seed in range(12):
        flipped, mask = augmentation(images, fractions, seeded(seed))
        expected = images.flip(axis)
        mirrored = torch.equal(flipped, expected)
        assert mirrored or torch.equal(flipped, images)
        assert torch.equal(mask, fractions.flip(axis) if mirrored else fractions)
        seen.add(mirrored)
    assert seen == {True, False}


def test_shifts_move_whole_voxels_and_bring_in_empty_space() -> None:
    images = torch.arange(48.0).reshape(1, 2, 4, 6) + 1
    for seed in range(8):
        moved, mask = shift(images, images, 9, -5.0, seeded(seed))
        inside = moved > 0
        assert torch.equal(moved[inside], mask[inside])
        assert set(moved[~inside].tolist()) <= {-5.0} and set(mask[~inside].tolist()) <= {0.0}
        assert set(moved[inside].tolist()) <= set(images.flatten().tolist())


def test_boxes_are_anywhere_around_their_voxel() -> None:
    voxel = (2, SHAPE[1] // 2, SHAPE[2] - 1)
    boxes = [box_at(torch.Size(SHAPE), 8, voxel, seeded(seed)) for seed in range(200)]
    for axis, (side, at) in enumerate(zip(SHAPE, voxel, strict=True)):
        starts = {start for start in range(side - 8 + 1) if start <= at < start + 8}
        assert {box[axis].start for box in boxes} == starts
        assert all(box[axis].stop - box[axis].start == 8 for box in boxes)
    assert box_at(torch.Size(SHAPE), 99, voxel, seeded(0)) == WHOLE


def test_cubes_hold_labels_and_as_often_as_asked_the_tumor() -> None:
    labels = model().scheme.labels
    fractions = torch.zeros(len(labels), 40, 40, 40, dtype=torch.uint8)
    tumor = next(i for i, label in enumerate(labels) if label.tumor)
    surround = next(i for i, label in enumerate(labels) if not label.tumor)
    fractions[surround, 4:20, 4:20, 4:20] = 255
    fractions[tumor, 8:9, 8:9, 8:9] = 255
    images = torch.zeros(1, 40, 40, 40, dtype=torch.float16)
    for probability, least in ((0.0, 0), (1.0, 20)):
        augmentation = Augmentation(AugmentConfig(crop_voxels=8, crop_tumor=probability), model())
        cubes = [augmentation(images, fractions, seeded(seed))[1] for seed in range(20)]
        assert all(float(cube.amax()) == 1.0 for cube in cubes)
        assert sum(float(cube[tumor].amax()) == 1.0 for cube in cubes) >= least
    empty = Augmentation(AugmentConfig(crop_voxels=8, crop_tumor=1.0), model())(images, fractions * 0, seeded(0))
    assert empty[0].shape[1:] == (8, 8, 8)


def test_cubes_give_way_to_whole_volumes() -> None:
    augmentation = Augmentation(AugmentConfig(crop_voxels=8, crop_until=0.75), model())
    shapes = [augmentation(*pair(), seeded(0), progress)[0].shape[1:] for progress in (0.0, 0.74, 0.75, 1.0)]
    assert shapes == [(8, 8, 8), (8, 8, 8), SHAPE, SHAPE]


def test_a_crop_of_a_deformed_volume_is_a_part_of_it() -> None:
    warp = Warp(AugmentConfig(affine=1.0, elastic=1.0, elastic_smoothness_mm=16), (2.0, 2.0, 2.0), -1.0)
    box = (slice(2, 8), slice(5, 11), slice(1, 7))
    whole, part = warp(*pair(), WHOLE, seeded(4)), warp(*pair(), box, seeded(4))
    for one, other in zip(whole, part, strict=True):
        assert torch.allclose(one[:, *box], other, atol=1e-5)


def test_a_deformation_of_nothing_changes_nothing() -> None:
    still = AugmentConfig(affine=1.0, rotation_degrees=0, scaling=0, elastic=1.0, elastic_mm=0, **PLAIN)
    images, fractions = pair()
    found = Warp(still, (1.0, 2.0, 3.0), -1.0)(images, fractions, WHOLE, seeded(0))
    assert torch.allclose(found[0], images, atol=1e-4)
    assert torch.allclose(found[1], fractions, atol=1 / 500)


def test_rotations_keep_shapes_in_mm_on_anisotropic_grids() -> None:
    """A ball in mm stays one: on a grid of 1 x 3 x 1 mm a rotation in voxels would shear it."""
    spacing = (1.0, 3.0, 1.0)
    sides = (33, 11, 33)
    axes = [s * (torch.arange(n) - (n - 1) / 2) for n, s in zip(sides, spacing, strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    ball = ((11 - (z**2 + y**2 + x**2).sqrt()) / 3).clamp(0, 1)[None]
    warp = Warp(AugmentConfig(affine=1.0, rotation_degrees=60, scaling=0), spacing, 0.0)
    box = tuple(slice(0, n) for n in sides)
    for seed in range(4):
        moved = warp(ball, ball, box, seeded(seed))[1]
        assert float((moved - ball).abs().max()) < 0.3  # interpolation of the edge, 3 mm apart
        assert float(moved.sum() / ball.sum()) == pytest.approx(1, abs=0.03)


def test_scaling_changes_size_as_told() -> None:
    images, fractions = pair()
    warp = Warp(AugmentConfig(affine=1.0, rotation_degrees=0, scaling=0.2), (2.0, 2.0, 2.0), -1.0)
    ratios = [float(warp(images, fractions, WHOLE, seeded(s))[1].sum() / fractions.sum()) for s in range(12)]
    assert min(ratios) > 0.8**3 * 0.95 and max(ratios) < 1.2**3 * 1.05
    assert max(ratios) - min(ratios) > 0.2


@pytest.mark.parametrize("seed", range(5))
def test_the_steepest_deformation_folds_no_tissue(seed: int) -> None:
    config = AugmentConfig(elastic=1.0, elastic_mm=4, elastic_smoothness_mm=16)
    bumps = Warp(config, (1.0, 1.0, 1.0), -1.0)._elastic(torch.Size((48, 40, 48)), seeded(seed))
    assert bumps is not None
    assert 0 < float(bumps.abs().max()) <= 4
    slopes = torch.stack(torch.gradient(bumps, dim=(1, 2, 3)), 1)
    jacobian = (torch.eye(3)[:, :, None, None, None] + slopes).permute(2, 3, 4, 0, 1)
    assert float(torch.linalg.det(jacobian).min()) > 0.1


def test_intensities_change_images_within_their_range_and_leave_empty_space() -> None:
    images, _ = pair()
    images = images.half().float()
    config = AugmentConfig(intensity=1.0, bias_field=0.5, gamma=1, noise=0.2)
    for seed in range(6):
        changed = change_intensities(images, config, -1.0, seeded(seed))
        assert torch.equal(changed[images == -1], images[images == -1])
        assert float(changed.abs().max()) <= 1
        assert float((changed - images).abs()[images > -0.9].mean()) > 0.005


@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_empty_space_is_what_the_model_says(background: float) -> None:
    images = torch.full((1, 8, 8, 8), background)
    images[:, 2:6, 2:6, 2:6] = 0.5
    changed = change_intensities(images, AugmentConfig(intensity=1.0, noise=0.3), background, seeded(0))
    assert torch.equal(changed == background, images == background)


def test_modalities_change_on_their_own() -> None:
    same = torch.rand(1, 8, 8, 8, generator=seeded(1)).expand(2, -1, -1, -1) - 0.5
    changed = change_intensities(same, AugmentConfig(intensity=1.0), -1.0, seeded(2))
    assert float((changed[0] - changed[1]).abs().mean()) > 1e-3


def test_the_bias_field_is_smooth_and_as_strong_as_told() -> None:
    field = bias_field(torch.Size((20, 24, 16)), 0.3, seeded(3))
    assert field.shape == (20, 24, 16)
    assert float(field.log().abs().max()) == pytest.approx(0.3, rel=0.15)
    assert max(float(step.abs().max()) for step in torch.gradient(field)) < 0.15
    assert math.isclose(float(bias_field(torch.Size((4, 4, 4)), 0.0, seeded(0)).max()), 1.0)


def test_resampling_and_smoothing_are_those_of_monai() -> None:
    """Bit for bit: runs that began with MONAI's transforms go on as they would have."""
    volume, points = torch.rand(2, *SHAPE, generator=seeded(1)), 6 * torch.randn(3, *SHAPE, generator=seeded(2))
    resample = Resample(mode="bilinear", padding_mode="zeros", norm_coords=True)
    assert torch.equal(_resampled(volume, points), resample(volume, points).as_tensor())
    noise = torch.randn((1, 3, *SHAPE), generator=seeded(3))
    assert torch.equal(_smoothed(noise), GaussianFilter(3, sigma=1.0)(noise))
    transform = RandBiasField(degree=3, coeff_range=(-1.0, 1.0), prob=1.0)
    transform.set_random_state(seed=int(torch.randint(2**31, (), generator=seeded(4))))
    expected = transform(torch.ones(1, *(FIELD_POINTS,) * 3)).as_tensor()[0].log()
    expected = expected - expected.mean()
    found = bias_field(expected.shape, 0.3, seeded(4)).log()
    assert torch.allclose(found, expected * (0.3 / expected.abs().amax()), atol=1e-6)


def test_flip_probability_is_one_half() -> None:
    x = torch.arange(3.0)[None]
    flips = sum(torch.equal(flip_left_right(x, x, -1, seeded(s))[0], x.flip(-1)) for s in range(200))
    assert 75 < flips < 125
