"""Binary morphology of the mask check beside ITK's own filters."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from medddpm.labels.morphology import fill_holes


@settings(deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.integers(0, 9)), st.integers(1, 9))
def test_holes_are_those_of_itk(values: np.ndarray, level: int) -> None:
    mask = values < level
    image = sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)), fullyConnected=False)
    np.testing.assert_array_equal(fill_holes(mask), sitk.GetArrayFromImage(image).astype(bool))


def test_a_hole_is_filled_and_a_bay_is_not() -> None:
    mask = np.ones((9, 9, 9), bool)
    mask[2, 2, 2] = mask[5:, 6, 6] = False
    filled = fill_holes(mask)
    assert filled[2, 2, 2] and not filled[5:, 6, 6].any()
    assert not mask[2, 2, 2]  # the argument stays as it is
