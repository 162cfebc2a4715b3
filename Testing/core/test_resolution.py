"""Models measured on datasets of other voxel sizes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import GridConfig
from medddpm.errors import InputError
from medddpm.training.evaluation.request import Resolution, resolution, resolution_doubts
from torch import Tensor

SHAPE = (8, 12, 16)


def grid(mm: float, shape: tuple[int, int, int] = SHAPE, orientation: str = "LPS") -> GridConfig:
    return GridConfig(shape, (mm, mm, mm), orientation)


def centers(shape: tuple[int, ...], mm: float) -> Tensor:
    """Position (mm) of each voxel's middle along each axis, the corner of the volume at 0: (3, D, H, W)."""
    axes = [(torch.arange(side) + 0.5) * mm for side in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


@pytest.mark.parametrize(
    ("model", "dataset", "found"),
    [
        (grid(2), grid(2), Resolution()),
        (grid(2), grid(1), Resolution(coarser=2)),
        (grid(1), grid(3), Resolution(finer=3)),
        (grid(2), grid(2, (16, 16, 16)), Resolution()),
    ],
)
def test_whole_factors_are_found(model: GridConfig, dataset: GridConfig, found: Resolution) -> None:
    assert resolution(model, dataset) == found


@pytest.mark.parametrize(
    ("model", "dataset", "words"),
    [
        (grid(1.5), grid(1), r"1\.5 mm and 1 mm do not differ by one whole factor"),
        (grid(1), grid(1.5), r"1 mm and 1\.5 mm do not differ"),
        (GridConfig(SHAPE, (1, 1, 2), "LPS"), grid(1), "1 x 1 x 2 mm and 1 mm do not differ"),
        (grid(1), grid(1, SHAPE, "RAS"), "LPS and RAS"),
        (grid(3), grid(1), "8 x 12 x 16 voxels cannot be joined by 3"),
    ],
)
def test_what_does_not_fit_is_explained(model: GridConfig, dataset: GridConfig, words: str) -> None:
    with pytest.raises(InputError, match=words):
        resolution(model, dataset)


@pytest.mark.parametrize("found", [Resolution(), Resolution(coarser=2), Resolution(finer=2), Resolution(finer=3)])
def test_images_come_back_to_their_place(found: Resolution) -> None:
    """A ramp in world millimeters stays that ramp on the other voxels, but for the outermost of interpolated ones."""
    mm = found.coarser / found.finer
    shape = tuple(round(side / mm) for side in SHAPE)
    back = found.to_dataset(centers(shape, mm))
    inside = (slice(None), *[slice(found.coarser, -found.coarser)] * 3) if found.coarser > 1 else (slice(None),)
    torch.testing.assert_close(back[inside], centers(SHAPE, 1.0)[inside])


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(0, 10_000))
def test_masks_keep_their_volume_on_larger_voxels(factor: int, seed: int) -> None:
    labels = torch.randint(0, 3, (6, 12, 6), generator=torch.Generator().manual_seed(seed))
    fractions = torch.nn.functional.one_hot(labels, 3).permute(3, 0, 1, 2)[1:].float()
    there = Resolution(coarser=factor).to_model(fractions)
    torch.testing.assert_close(there.sum((1, 2, 3)) * factor**3, fractions.sum((1, 2, 3)))


def test_masks_on_smaller_voxels_are_whole_labels_in_their_place() -> None:
    ball = [
        (centers(SHAPE, 2.0) - torch.tensor([8.0, 12.0, 16.0])[:, None, None, None]).norm(dim=0) <= r for r in (4, 7)
    ]
    fractions = torch.stack([ball[0], ball[1] & ~ball[0]]).float()
    fine = Resolution(finer=2).to_model(fractions)
    assert set(fine.unique().tolist()) == {0.0, 1.0} and fine.sum(0).max() == 1
    for label in range(2):
        assert fine[label].sum() / 8 == pytest.approx(float(fractions[label].sum()), rel=0.25)
    middle = (centers((16, 24, 32), 1.0) * fine[0]).sum((1, 2, 3)) / fine[0].sum()
    torch.testing.assert_close(middle, torch.tensor([8.0, 12.0, 16.0]), atol=0.01, rtol=0)


def test_what_the_figures_then_mean_is_said() -> None:
    assert resolution_doubts(grid(2), grid(2)) == []
    (coarse,) = resolution_doubts(grid(2, (4, 6, 8)), grid(1))
    assert "larger" in coarse and "2 mm" in coarse and "1 mm" in coarse
    fine, field = resolution_doubts(grid(1), grid(2))
    assert "smaller" in fine and "8 x 12 x 16 voxels of 1 mm" in field
