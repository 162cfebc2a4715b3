"""A tumor over time: nested frames from its first cells to what the mask shows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.cli.masks import masks_app
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.labels.scheme import load_scheme
from medddpm.masks import LesionSpec, add_lesion, growth_series
from typer.testing import CliRunner

BRATS = load_scheme("brats")
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def head(seed: int = 0, count: int = 1) -> np.ndarray:
    """A brain of 80 mm with ragged lesions of all parts."""
    x, y, z = np.indices((44, 44, 44)) - 21.5
    labels = np.where(x**2 + y**2 + z**2 < 20**2, np.uint8(4), np.uint8(0))
    return add_lesion(labels, AFFINE, BRATS, LesionSpec(diameter_mm=22, edema_mm=8, count=count), seed).labels


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6), st.floats(0.1, 0.8), st.integers(1, 2))
def test_frames_and_parts_are_nested_and_end_at_the_mask(seed: int, frames: int, start: float, count: int) -> None:
    labels = head(seed, count)
    series = list(growth_series(labels, AFFINE, BRATS, frames, start))
    assert len(series) == frames
    np.testing.assert_array_equal(series[-1], labels)
    rest = ~np.isin(labels, (1, 2, 3))
    for parts in ((1,), (1, 3), (1, 2, 3)):
        bodies = [np.isin(frame, parts) for frame in series]
        assert all((early <= late).all() for early, late in pairwise(bodies))
        shares = np.array([np.count_nonzero(body) for body in bodies]) / np.count_nonzero(bodies[-1])
        over = shares - np.linspace(start, 1, frames) ** 3
        assert over.max() < 0.03  # a part may come later than its volume says, where what it grows in is not there yet
        assert parts != (1, 2, 3) or over.min() > -0.03
    for frame in series:
        np.testing.assert_array_equal(frame[rest], labels[rest])
        assert (np.isin(frame, (1, 3)) <= np.isin(labels, (1, 3))).all()  # no core where it never comes
        assert np.isin(frame[~rest], (1, 2, 3, 4)).all()


def test_what_cannot_grow_is_refused() -> None:
    labels = head()
    with pytest.raises(InputError, match="no tumor"):
        list(growth_series(np.where(labels > 0, 4, 0).astype(np.uint8), AFFINE, BRATS, 3))
    for frames, start in ((1, 0.2), (201, 0.2), (3, 0.0), (3, 1.0)):
        with pytest.raises(InputError, match="not possible"):
            list(growth_series(labels, AFFINE, BRATS, frames, start))


def test_the_command_writes_a_mask_for_each_frame(tmp_path: Path) -> None:
    write_image(tmp_path / "mask.nii.gz", head(), AFFINE, "mask")
    command = ["series-growth", str(tmp_path / "mask.nii.gz"), str(tmp_path / "out"), "--frames", "3"]
    done = CliRunner().invoke(masks_app, command)
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"frame-{i:03d}.nii.gz" for i in (1, 2, 3)]
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / names[-1]).volume.data, head())
