"""Tissues of a scan: found again in images that were made from known ones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medddpm.anatomy.brain_maps import TISSUES, load_bank_map
from medddpm.anatomy.tissues import most_of, segment_tissues
from medddpm.cli.tissues import masks_app
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume, spacing_of
from medddpm.labels.morphology import dilate, distance_to, erode
from typer.testing import CliRunner

# T1 and T2 of the values 4 to 11.
MEANS = {"T1": (60, 25, 20, 70, 80, 105, 72, 92), "T2": (90, 200, 210, 105, 95, 75, 102, 85)}


@lru_cache(maxsize=1)
def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of the values 4 to 11 in voxels of 2 mm, the brain, and the affine, from a map of the bank."""
    source = load_bank_map(1)
    data = np.pad(source.data, [(2, 2 + n % 2) for n in source.data.shape])
    shape = [n // 2 for n in data.shape]
    blocks = data.reshape(shape[0], 2, shape[1], 2, shape[2], 2)
    shares = np.stack([(blocks == value).mean(axis=(1, 3, 5)) for value in TISSUES])
    affine = source.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.full(3, -1.5)
    affine[:3, :3] *= 2
    return shares, shares.sum(axis=0) > 0.5, affine


def scan(modality: str, seed: int = 0, shares: np.ndarray | None = None) -> Volume:
    """An image of ``shares``, those of the truth by default, with noise and a smooth bias of a fifth."""
    known, brain, affine = truth()
    shares = known if shares is None else shares
    image = np.einsum("t...,t->...", shares, np.array(MEANS[modality], float))
    x, y, z = (np.linspace(-1, 1, n) for n in brain.shape)
    bias = 1 + 0.2 * (x[:, None, None] * 0.6 + y[None, :, None] * 0.5 - z[None, None, :] ** 2 * 0.5)
    noisy = image * bias + np.random.default_rng(seed).normal(0, 4, image.shape)
    return Volume(np.where(brain, np.maximum(noisy, 1), 0).astype(np.float32), affine)


def dice(found: np.ndarray, values: tuple[int, ...]) -> float:
    """Of what is mostly of ``values``, with the truth."""
    rows = [TISSUES.index(value) for value in values]
    one, other = (part[rows].sum(axis=0) > 0.5 for part in (found, truth()[0]))
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.slow(but="T1")
@pytest.mark.parametrize("modalities", [("T1", "T2"), ("T1",)], ids="+".join)
def test_tissues_are_found_again(modalities: tuple[str, ...]) -> None:
    _, brain, _ = truth()
    tumor = np.zeros_like(brain)
    tumor[tuple(slice(n // 3, n // 3 + 8) for n in brain.shape)] = True
    tumor &= brain
    found = segment_tissues({name: scan(name) for name in modalities}, None, tumor)
    total = found.fractions.sum(axis=0)
    np.testing.assert_allclose(total[brain & ~tumor], 1, atol=1e-4)
    assert not total[tumor | ~brain].any()
    kept = found.fractions.copy()
    kept[:, tumor] = truth()[0][:, tumor]
    least = 0.85 if len(modalities) == 2 else 0.8
    for values in ((6,), (7, 8, 10), (9,)):
        assert dice(kept, values) > least, values


@pytest.mark.slow
def test_the_order_of_the_axes_does_not_matter() -> None:
    volume = scan("T1")
    turned = volume.affine[:, [2, 0, 1, 3]] @ np.diag([-1.0, 1, 1, 1])
    turned[:3, 3] += volume.affine[:3, 2] * (volume.shape[2] - 1)
    other = Volume(np.ascontiguousarray(volume.data.transpose(2, 0, 1)[::-1]), turned)
    found = most_of(segment_tissues({"T1": volume}).fractions)
    again = most_of(segment_tissues({"T1": other}).fractions)[::-1].transpose(1, 2, 0)
    assert (found == again)[found > 0].mean() > 0.98


def test_an_image_with_its_skull_needs_the_outline() -> None:
    _, brain, affine = truth()
    whole = Volume(np.where(brain, scan("T1").data, 30 + np.random.default_rng(0).random(brain.shape) * 20), affine)
    with pytest.raises(InputError, match="brain"):
        segment_tissues({"T1": whole}, None, None)


@pytest.mark.slow
def test_ventricles_are_found_where_no_map_has_them() -> None:
    """Three times as large as in the truth, and moved 8 mm to one side."""
    shares, brain, affine = truth()
    row = TISSUES.index(6)
    wide = dilate(shares[row] > 0.5, 5.0, spacing_of(affine)) & (shares[TISSUES.index(5)] < 0.5)
    moved = np.roll(wide, 4, axis=0) & erode(brain, 12.0, spacing_of(affine))
    changed = np.where(moved, 0, shares)
    changed[TISSUES.index(9)] += np.where(shares[row] > 0.5, changed[row], 0)
    changed[row] = np.where(shares[row] > 0.5, 0, changed[row])
    changed[row] = np.where(moved, 1, changed[row])
    found = segment_tissues({name: scan(name, shares=changed) for name in ("T1", "T2")}).fractions
    one, other = found[row] > 0.5, moved
    assert 2 * np.count_nonzero(one & other) > 0.85 * (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.slow
def test_what_is_no_tissue_stays_brain() -> None:
    """Something brighter than all else in both images, in the middle of white matter."""
    shares, _, affine = truth()
    depth = distance_to(shares[TISSUES.index(9)] < 0.5, spacing_of(affine))
    spot = np.zeros(depth.shape, bool)
    spot[tuple(slice(n - 1, n + 2) for n in np.unravel_index(depth.argmax(), depth.shape))] = True
    images = {name: scan(name) for name in ("T1", "T2")}
    for volume in images.values():
        volume.data[spot] = 400
    assert (most_of(segment_tissues(images).fractions)[spot] == 4).all()


@pytest.mark.slow
def test_doubts_are_said() -> None:
    """An image that is called by the name of another, and one that ends before the brain does."""
    assert "Check its modality" in segment_tissues({"T1": scan("T2")}).sentences[0]
    cut = scan("T2")
    cut.data[:, :, : cut.shape[2] // 4] = 0
    assert any("does not cover" in sentence for sentence in segment_tissues({"T1": scan("T1"), "T2": cut}).sentences)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({}, "no image"),
        ({"PD": scan("T1")}, "called PD"),
        ({"T1": scan("T1"), "T2": Volume(scan("T2").data, np.diag([2.0, 2, 2, 1]))}, "one grid"),
        ({"T1": Volume(scan("T1").data, truth()[2] / 10)}, "too little"),
        ({"T1": Volume(truth()[1].astype(np.float32), truth()[2])}, "is constant"),
    ],
)
def test_images_that_cannot_be_used_are_refused(images: dict[str, Volume], words: str) -> None:
    with pytest.raises(InputError, match=words):
        segment_tissues(images)


@pytest.mark.slow
def test_the_command_labels_a_scan_and_keeps_the_tumor(tmp_path: Path) -> None:
    _, brain, affine = truth()
    tumor = np.zeros(brain.shape, np.uint8)
    center = tuple(slice(n // 3, n // 3 + 8) for n in brain.shape)
    tumor[center] = 2
    tumor[tuple(slice(s.start + 2, s.stop - 2) for s in center)] = 4
    tumor[~brain] = 0
    for name in ("T1", "T2"):
        write_image(tmp_path / f"{name}.nii.gz", scan(name).data, affine, "")
    write_image(tmp_path / "seg.nii.gz", tumor, affine, "")
    images = [word for name in ("t1", "T2") for word in ("--image", f"{name}={tmp_path}/{name.upper()}.nii.gz")]
    arguments = ["tissues", *images, "--mask", str(tmp_path / "seg.nii.gz"), str(tmp_path / "out.nii.gz")]
    result = CliRunner().invoke(masks_app, arguments, catch_exceptions=False)
    assert "Ventricles:" in result.output
    labels = read_mask(tmp_path / "out.nii.gz").volume.data
    assert (labels[tumor == 2] == 2).all() and (labels[tumor == 4] == 3).all()
    assert ((labels > 0) == brain).all() and set(np.unique(labels)) >= {2, 3, *range(5, 12)}


@pytest.mark.slow
def test_the_command_takes_a_map_of_freesurfer(tmp_path: Path) -> None:
    """As .mgz, on its own grid and on that of a tumor."""
    source = load_bank_map(2)
    numbers = np.array([0, 0, 0, 0, 0, 24, 43, 42, 49, 41, 47, 16], np.int32)[source.data]
    left = numbers[: source.shape[0] // 2]
    for right, other in ((42, 3), (49, 10), (41, 2), (47, 8)):
        left[left == right] = other
    affine = source.affine.copy()
    affine[:3, 3] -= 8 * affine[:3, :3].sum(axis=1)
    nib.save(nib.MGHImage(np.pad(numbers, 8), affine), tmp_path / "aseg.mgz")
    arguments = ["tissues", "--labels", str(tmp_path / "aseg.mgz"), str(tmp_path / "out.nii.gz")]
    assert CliRunner().invoke(masks_app, arguments, catch_exceptions=False).exit_code == 0
    labels = read_mask(tmp_path / "out.nii.gz").volume.data
    assert labels.shape == tuple(n + 16 for n in source.shape)
    solid = np.pad(source.data, 8) > 5
    assert (labels[solid] == np.pad(source.data, 8)[solid]).mean() > 0.999
    affine = source.affine @ np.diag([2.0, 2, 2, 1])
    tumor = np.zeros([n // 2 for n in source.shape], np.uint8)
    tumor[tuple(slice(n // 3, n // 3 + 8) for n in tumor.shape)] = 1
    write_image(tmp_path / "seg.nii.gz", tumor, affine, "")
    result = CliRunner().invoke(masks_app, [*arguments, "--mask", str(tmp_path / "seg.nii.gz")], catch_exceptions=False)
    labels = read_mask(tmp_path / "out.nii.gz").volume.data
    assert result.exit_code == 0 and labels.shape == tumor.shape and (labels[tumor > 0] == 3).all()  # enhancing
    inner = source.data[::2, ::2, ::2][: tumor.shape[0], : tumor.shape[1], : tumor.shape[2]]
    assert (labels[(inner > 5) & (tumor == 0)] == inner[(inner > 5) & (tumor == 0)]).mean() > 0.8


def test_the_command_refuses_what_does_not_fit(tmp_path: Path) -> None:
    _, brain, affine = truth()
    write_image(tmp_path / "T1.nii.gz", scan("T1").data, affine, "")
    write_image(tmp_path / "seg.nii.gz", brain.astype(np.uint8), np.eye(4), "")
    image, out = ["--image", f"T1={tmp_path}/T1.nii.gz"], str(tmp_path / "out.nii.gz")
    for arguments, words in (
        ([], "either images"),
        ([*image, "--mask", str(tmp_path / "seg.nii.gz")], "another grid"),
        (["--labels", str(tmp_path / "T1.nii.gz")], "fractional"),
    ):
        assert words in str(CliRunner().invoke(masks_app, ["tissues", *arguments, out]).exception)
