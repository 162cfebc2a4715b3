"""Label maps that were resampled like images are known by the shells along their borders; others are not taken so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_phantoms import SHAPE, affine, anatomy, ball, config, mask, med_ddpm, millimeters, tumor, whole_head
from medddpm.geometry.volume import Segment
from medddpm.labels.check import check_mask, mend_mask
from medddpm.labels.values import clean_values, is_interpolated
from scipy import ndimage

MODEL = config("brats")
DAMAGE = {
    "linear, half a voxel": lambda x: ndimage.shift(x, 0.5, order=1),
    "linear, a quarter": lambda x: ndimage.shift(x, 0.25, order=1),
    "linear, finer": lambda x: ndimage.zoom(x, 1.5, order=1),
    "linear, turned": lambda x: ndimage.rotate(x, 10, reshape=False, order=1),
    "B-spline": lambda x: ndimage.shift(x, 0.4, order=3),
    "B-spline, turned": lambda x: ndimage.rotate(x, 10, reshape=False, order=3),
    "Gaussian": lambda x: ndimage.gaussian_filter(x, 1),
    "Gaussian, strong": lambda x: ndimage.gaussian_filter(x, 2),
}
NAMES = tuple(Segment(value, name) for value, name in enumerate(("NCR", "ED", "ET", "Brain"), 1))


def fine(labels: np.ndarray) -> np.ndarray:
    """A phantom at half the spacing."""
    return labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)


def pediatric() -> np.ndarray:
    return np.array([0, 2, 4, 1], np.uint8)[tumor(3)]


@pytest.mark.parametrize("damage", DAMAGE, ids=str)
@pytest.mark.parametrize("base", [med_ddpm(), tumor(3), pediatric()], ids=["brain", "tumor", "pediatric"])
def test_interpolated_and_rounded_masks_are_refused(base, damage):
    damaged = np.rint(DAMAGE[damage](fine(base).astype(np.float32))).astype(np.int16)
    for segments in ((), NAMES):
        result = check_mask(mask(damaged, affine(2.0), segments), MODEL)
        errors = [finding for finding in result.errors if finding.code == "unclear-labels"]
        assert errors and not result.fixable
        assert "resampled like an image" in errors[0].sentence


def test_a_damaged_tumor_of_two_and_four_is_refused():
    damaged = np.rint(ndimage.zoom(fine(tumor(4)).astype(np.float32), 1.5, order=1)).astype(np.int16)
    assert is_interpolated(damaged.astype(np.int32), (1.3, 1.3, 1.3))


@pytest.mark.parametrize("base", [med_ddpm(), tumor(4), tumor(3), pediatric(), whole_head()])
@pytest.mark.parametrize(
    "how",
    [
        lambda x: x,
        lambda x: x[::2, ::2, ::2],
        lambda x: x[:, :, ::4],
        lambda x: ndimage.rotate(x, 10, reshape=False, order=0),
        lambda x: ndimage.zoom(x, 1.4, order=0),
    ],
)
def test_whole_masks_are_not(base, how):
    assert not is_interpolated(how(fine(base)).astype(np.int32), (2.0, 2.0, 2.0))


@given(width=st.floats(0.0, 12.0), open_side=st.floats(-0.4, 0.4), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_thin_rims_of_real_parts_are_no_damage(width, open_side, seed):
    """Edema and enhancement of uneven width, as experts draw them: thin here, wide or missing there."""
    x, y, z = millimeters()
    rng = np.random.default_rng(seed)
    waves = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2)
    waves *= width / waves.std()
    far = np.sqrt((x - 25) ** 2 + (y + 10) ** 2 + (z - 15) ** 2)
    labels = med_ddpm()
    labels[labels < 4] = np.where(labels > 0, 4, 0)[labels < 4]
    inside = labels == 4
    for value, radius in (
        (2, 24 + waves + 40 * open_side * (x - 25) / (far + 1)),
        (3, 20 + waves / 3),
        (1, 15 - waves / 3),
    ):
        labels[inside & (far < radius)] = value
    for numbers in ((0, 1, 2, 3, 4), (0, 1, 2, 3, 0), (0, 1, 2, 4, 0), (0, 2, 1, 3, 0), (0, 2, 4, 1, 0)):
        assert not is_interpolated(fine(np.array(numbers, np.int32)[labels]), (2.0, 2.0, 2.0))


def test_tissues_lie_in_shells_and_are_no_damage():
    result = check_mask(mask(fine(anatomy()), affine(2.0)), config("glioma-anatomy"))
    assert result.usable


@pytest.mark.parametrize("damage", [name for name in DAMAGE if "linear" in name], ids=str)
@pytest.mark.parametrize("base", [med_ddpm(), tumor(3)], ids=["brain", "tumor"])
def test_linear_fractions_are_repaired_without_the_shells(base, damage):
    source = fine(base)
    repaired, findings = clean_values(DAMAGE[damage](source.astype(np.float32)), 0.008)
    assert [(finding.code, finding.fixable) for finding in findings] == [("fractions", True)]
    scale = source.size / repaired.size
    for value in np.unique(base[base > 0]):
        true = np.count_nonzero(source == value)
        assert abs(np.count_nonzero(repaired == value) * scale - true) < 0.25 * true
    assert not is_interpolated(repaired, (2.0, 2.0, 2.0))


@pytest.mark.parametrize("damage", [name for name in DAMAGE if "linear" not in name], ids=str)
def test_blurred_fractions_are_refused(damage):
    _, findings = clean_values(DAMAGE[damage](fine(med_ddpm()).astype(np.float32)), 0.008)
    assert any(finding.severity == "error" and not finding.fixable for finding in findings)


def test_a_few_fractions_leave_thin_parts_elsewhere_alone():
    labels = med_ddpm().astype(np.float32)
    labels[30, 26, 24:34] = 3
    labels[ball((-40, 0, 0), 6)] += 0.4
    fixed, done, _ = mend_mask(mask(labels), MODEL)
    assert {finding.code for finding in done} == {"fractions"}
    assert (fixed.volume.data[30, 26, 24:34] == 3).all()
