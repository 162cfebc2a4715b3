"""Masks that show a part of the head: cropped to their segments, or one slice thick."""

from __future__ import annotations

import numpy as np
import pytest
from mask_phantoms import affine, config, med_ddpm
from medddpm.anatomy.placement import brain_around
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Mask, Volume, bounding_box
from medddpm.labels.check import check_mask, mend_mask
from medddpm.labels.outline import ellipsoid

BRATS, HEAD = config("brats"), config("whole-head")


def cropped(labels: np.ndarray, margin: int = 0) -> Mask:
    """The mask cut to its labels, as segmentations are saved."""
    box = bounding_box(labels > 0, margin)
    there = affine(2.0)
    there[:3, 3] += there[:3, :3] @ [side.start for side in box]
    return Mask(Volume(labels[box], there))


def small_tumor() -> np.ndarray:
    """At 2 mm, with air around the brain of the image that ``brain_image`` makes."""
    labels = np.zeros((96, 104, 96), np.uint8)
    labels[30:40, 40:52, 50:58] = 2
    labels[33:37, 44:48, 52:56] = 1
    return labels


def brain_image() -> Volume:
    inside = ellipsoid((96, 104, 96), affine(2.0), (48.0, 52.0, 48.0), [68.0, 84.0, 66.0])
    return Volume(np.where(inside, 100, 0).astype(np.float32), affine(2.0))


@pytest.mark.parametrize("margin", (0, 3))
@pytest.mark.parametrize("labels", (small_tumor(), (small_tumor() > 0).astype(np.uint8)))
def test_a_cropped_mask_goes_to_the_grid_of_its_image(labels: np.ndarray, margin: int):
    fixed, done, _ = mend_mask(cropped(labels, margin), BRATS, brain_image())
    image = brain_image()
    assert np.allclose(fixed.volume.affine, image.affine) and fixed.volume.shape == image.shape
    assert np.array_equal(fixed.volume.data > 0, image.data > 0)
    assert np.array_equal(np.isin(fixed.volume.data, (1, 2, 3)), labels > 0)
    found = {f.code: f.sentence for f in check_mask(cropped(labels, margin), BRATS, image).findings}
    assert "extended to 96 x 104 x 96" in found["cropped"]
    assert not any("give the MRI" in str(f) for f in done)


def test_a_single_slice_goes_to_the_grid_of_its_image(tmp_path):
    labels, image = small_tumor(), brain_image()
    there = affine(2.0)
    there[:3, 3] += there[:3, :3] @ [0, 0, 53]
    path = tmp_path / "slice.nii.gz"
    write_image(path, labels[:, :, 53:54], there, "")
    with pytest.raises(InputError, match=r"single slice .* or with it an image"):
        read_mask(path)
    fixed, *_ = mend_mask(read_mask(path, single_slice=True), BRATS, image)
    assert fixed.volume.shape == image.shape
    assert np.array_equal(np.isin(fixed.volume.data, (1, 2, 3))[:, :, 53], labels[:, :, 53] > 0)
    assert np.array_equal(fixed.volume.data > 0, image.data > 0)


@pytest.mark.parametrize("model", (BRATS, HEAD))
def test_a_cropped_mask_without_an_image_gets_a_whole_brain_or_head(model):
    source = cropped(small_tumor())
    fixed, *_ = mend_mask(source, model, around=brain_around)
    size = np.count_nonzero(fixed.volume.data) * 0.008
    assert (1200 < size < 1700) if model is BRATS else (3000 < size < 4500)
    outline = fixed.volume.data > 0
    assert not any(outline.take(end, axis=axis).any() for axis in range(3) for end in (0, -1)) or model is HEAD
    assert np.isin(fixed.volume.data, model.scheme.tumor_values).sum() == (source.volume.data > 0).sum()
    assert check_mask(fixed, model).usable


def test_a_metastasis_alone_is_not_taken_for_centimeters():
    labels = np.zeros((9, 9, 8), np.uint8)
    labels[1:8, 1:8, 1:7], labels[3:6, 3:6, 3:5] = 3, 1
    fixed, *_ = mend_mask(Mask(Volume(labels, np.diag([-1.0, -1, 1, 1]))), BRATS, around=brain_around)
    assert 1200 < np.count_nonzero(fixed.volume.data) / 1000 < 1700


def test_an_image_that_shows_no_brain_is_not_asked_for_again():
    flat = Volume(np.full((96, 104, 96), 7, np.float32), affine(2.0))
    _, done, _ = mend_mask(Mask(Volume(small_tumor(), affine(2.0))), BRATS, flat, around=brain_around)
    said = " ".join(map(str, done))
    assert "the image shows none" in said and "give the MRI" not in said


def test_a_mask_with_its_outline_stays_on_its_own_grid():
    box = (slice(4, 44), slice(3, 49), slice(5, 43))
    there = affine()
    there[:3, 3] += there[:3, :3] @ [side.start for side in box]
    fixed, *_ = mend_mask(Mask(Volume(med_ddpm()[box], there)), BRATS, brain_image())
    assert fixed.volume.shape == (40, 46, 38)


def test_a_tumor_that_lies_outside_of_the_brain_is_refused_not_removed():
    away = np.roll(small_tumor(), 40, axis=2)
    result = check_mask(Mask(Volume(away, affine(2.0))), BRATS, brain_image())
    assert not result.usable and not result.fixable
    assert "The whole tumor" in next(f for f in result.findings if f.code == "tumor-outside").sentence
