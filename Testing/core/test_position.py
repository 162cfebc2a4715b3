"""Where in the head a voxel lies, told to the compact network as channels made from the mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import NetworkConfig
from medddpm.errors import InputError
from medddpm.network.build import build_network
from medddpm.network.position import CHANNELS, place_in_head, position_channels
from medddpm.training.augment import Augmentation
from medddpm.training.config import AugmentConfig
from synthesis_phantoms import tiny_config
from torch import Tensor

NETWORK = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="wavelet", position=True)


MODEL = tiny_config()


def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...], side: int = 32) -> Tensor:
    """(1, 1, side, side, side), 1 inside."""
    places = np.indices((side,) * 3, dtype=np.float32)
    distance = sum(((p - c) / r) ** 2 for p, c, r in zip(places, center, radii, strict=True))
    return torch.from_numpy((distance <= 1).astype(np.float32))[None, None]


def position(mask: Tensor, factor: int = 1) -> Tensor:
    return position_channels(place_in_head(mask), mask, factor)


def test_center_is_zero_and_the_rim_is_one() -> None:
    found = position(ellipsoid((16, 14, 15), (12, 9, 6)))
    assert found.shape == (1, CHANNELS, 32, 32, 32)
    for axis, rim in enumerate([(28, 14, 15), (16, 23, 15), (16, 14, 21)]):
        sine, cosine = found[0, axis], found[0, 3 + axis]
        assert float(sine[16, 14, 15]) == pytest.approx(0, abs=1e-4)
        assert float(cosine[16, 14, 15]) == pytest.approx(1, abs=1e-4)
        assert float(sine[rim]) == pytest.approx(1, abs=0.02)
        assert abs(float(cosine[rim])) < 0.2


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(-5, 5)] * 3))
def test_it_moves_with_the_head(offset: tuple[int, int, int]) -> None:
    head = ellipsoid((16, 16, 16), (9, 8, 7))
    moved = position(head.roll(offset, (2, 3, 4)))
    assert torch.allclose(moved, position(head).roll(offset, (2, 3, 4)), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_any_mask_gives_finite_values_inside_it_only(seed: int, factor: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand((2, 1, 8, 12, 6), generator=generator) - torch.rand((), generator=generator)).clamp(0, 1)
    found = position(mask, factor)
    assert found.shape == (2, CHANNELS, 8 // factor, 12 // factor, 6 // factor)
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) <= 1
    empty = torch.nn.functional.avg_pool3d(mask, factor) == 0
    assert float((found * empty).abs().max()) == 0


def test_a_stray_voxel_hardly_moves_it_and_an_empty_mask_has_no_place() -> None:
    head = ellipsoid((12, 12, 12), (9, 9, 9))
    stray = head.clone()
    stray[..., 31, 31, 31] = 1
    assert float((position(stray) * head - position(head)).abs().max()) < 0.05
    assert float(position(torch.zeros_like(head)).abs().max()) == 0


def test_the_compact_network_tells_places_of_equal_surroundings_apart() -> None:
    """Without position, places with the same surroundings, deep in a wide region, get the same prediction."""
    mask = torch.zeros(1, 2, 64, 8, 8)
    mask[:, 0, 1:63] = 1
    x = torch.cat([torch.full((1, 1, 64, 8, 8), 0.1), mask], dim=1)
    spread = {}
    for position in (False, True):
        torch.manual_seed(1)
        network = build_network(replace(NETWORK, multipliers=(1,), position=position)).eval()
        network.use_schedule(torch.full((1,), 0.1), torch.full((1,), 0.9))  # type: ignore[operator]
        network.body.middle_block[1] = torch.nn.Identity()  # type: ignore[union-attr, operator]
        torch.nn.init.normal_(network.body.out[2].weight, std=0.3)  # type: ignore[union-attr, arg-type, index]
        with torch.no_grad():
            found = network(x, torch.zeros(1, dtype=torch.int64))[0, 0, :, 4, 4]
        spread[position] = float((found[24:32] - found[32:40]).abs().max() / found.abs().max())
    assert spread[True] > 10 * max(spread[False], 1e-4)


def test_a_crop_is_told_its_place_in_the_whole_head() -> None:
    mask = torch.cat([ellipsoid((16, 15, 14), (12, 11, 10)), torch.zeros(1, 1, 32, 32, 32)], dim=1)
    images = torch.zeros(1, 32, 32, 32)
    model = replace(
        MODEL,
        network=replace(MODEL.network, domain="wavelet", position=True),
        schedule=replace(MODEL.schedule, prediction="x0"),
    )
    augmentation = Augmentation(AugmentConfig(flip=False, crop_voxels=8, crop_until=0.5), model)
    images[0] = torch.arange(32.0)  # tells where the crop lies along the last axis
    cut, told = augmentation(images, mask[0], torch.Generator().manual_seed(3))
    assert told.shape == (2 + 3, 8, 8, 8)
    first = int(cut[0, 0, 0, 0])
    whole = place_in_head(mask)[0]
    assert torch.allclose(told[4, 0, 0], whole[2, 0, 0, first : first + 8])
    _, late = augmentation(images, mask[0], torch.Generator().manual_seed(3), progress=0.5)
    assert late.shape == mask[0].shape  # of the whole volume the network finds out by itself


def test_a_network_on_voxels_has_no_position() -> None:
    with pytest.raises(InputError, match=r"network\.position"):
        replace(NETWORK, domain="voxels")
