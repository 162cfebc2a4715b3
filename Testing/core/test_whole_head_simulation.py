"""Simulated heads: what the tool makes of label maps is anatomy, contrast and masks as it says."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from medddpm.geometry.io import read_mask
from medddpm.preparation.scan import scan_source

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))  # the tools are no part of the installed package

import whole_head_simulation as heads
from whole_head_simulation import BONE, CSF, EDEMA, FAT, NECROSIS, RIM, SKIN, SOFT

WHITE, GRAY, VENTRICLE, AIR, MOUTH = 2, 3, 4, 0, 900
SHELLS = ((84, SKIN), (80, SOFT), (74, BONE), (67, CSF), (64, GRAY), (58, WHITE), (14, VENTRICLE))


def phantom(side: int = 96, spacing: float = 2.0) -> np.ndarray:
    """Spheres within spheres, as a head's layers lie (mm); axes (z, y, x)."""
    place = (np.indices((side, side, side)) - (side - 1) / 2) * spacing
    radius = np.sqrt((place**2).sum(0))
    labels = np.zeros(radius.shape, np.int16)
    for most, label in SHELLS:
        labels[radius <= most] = label
    return labels


def as_image(labels: np.ndarray, spacing: float = 2.0) -> sitk.Image:
    """With voxel axes R, A, S and the world's origin in the middle."""
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing([spacing] * 3)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    middle = (labels.shape[0] - 1) / 2 * spacing
    image.SetOrigin((middle, middle, -middle))
    return image


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_map_is_read_without_specks_and_with_its_airways_told_from_the_air(tmp_path):
    labels = phantom(48, 4.0)
    labels[24, 24, 24:27] = AIR  # within the head
    labels[1, 1, 1] = CSF  # a speck in the corner
    sitk.WriteImage(sitk.DICOMOrient(as_image(labels, 4.0), "LIA"), str(tmp_path / "map.nii.gz"))
    found = sitk.GetArrayFromImage(heads.read_labels(tmp_path / "map.nii.gz"))
    labels[24, 24, 24:27] = MOUTH
    labels[1, 1, 1] = AIR
    assert (found != labels).mean() < 0.01  # the closing touches the voxels along the skin
    assert (found[24, 24, 24:27] == MOUTH).all() and found[1, 1, 1] == AIR


@pytest.mark.parametrize(("most_mm", "change"), [(4.0, "grown"), (-3.0, "shrunk")])
def test_ventricles_become_wider_or_narrower_and_nothing_else_far_from_them(most_mm, change):
    labels = as_image(phantom())
    moving = heads.displacement(heads.widening(labels, (VENTRICLE,), most_mm), labels)
    found = sitk.GetArrayFromImage(sitk.Resample(labels, labels, moving, sitk.sitkNearestNeighbor))
    before = phantom()
    ratio = (found == VENTRICLE).sum() / (before == VENTRICLE).sum()
    assert ratio > 1.25 if change == "grown" else ratio < 0.8
    far = ~np.isin(before, (WHITE, VENTRICLE))
    np.testing.assert_array_equal(found[far], before[far])


def test_bending_moves_by_some_millimeters_and_smoothly():
    field = heads.bending(as_image(phantom()), generator())
    assert 1 < np.abs(field).max() < 9
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in range(3)) < 0.5 * 8  # steeper would fold tissue


def test_soft_tissue_becomes_fat_under_the_skin_and_not_on_the_bone():
    labels = phantom(192, 1.0)
    found = heads.finer_parts(labels, generator())
    radius = np.sqrt(((np.indices(labels.shape) - 95.5) ** 2).sum(0))
    under_skin, on_bone = (labels == SOFT) & (radius > 78.5), (labels == SOFT) & (radius < 75.5)
    assert (found[under_skin] == FAT).mean() > 0.95
    assert (found[on_bone] == FAT).mean() < 0.2
    assert set(np.unique(found[labels == BONE])) == {BONE, heads.DIPLOE}
    np.testing.assert_array_equal(found[np.isin(labels, (WHITE, GRAY))], labels[np.isin(labels, (WHITE, GRAY))])


@pytest.mark.slow
def test_a_painted_tumor_lies_in_the_brain_and_its_edema_in_white_matter():
    labels = phantom()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -95.0
    found = [heads.paint_tumor(labels, affine, generator(seed)) for seed in range(6)]
    assert sum((a == NECROSIS).any() for a in found) in range(1, 6)  # some with necrosis, some without
    for after in found:
        core = np.isin(after, (NECROSIS, RIM))
        assert core.any() and (after == EDEMA).any()
        assert np.isin(labels[core], (WHITE, GRAY, VENTRICLE)).mean() > 0.95
        assert (labels[after == EDEMA] == WHITE).all()
        same = ~core & (after != EDEMA)
        np.testing.assert_array_equal(after[same], labels[same])


def test_contrast_is_that_of_t1_after_gadolinium():
    labels = np.repeat([AIR, BONE, CSF, NECROSIS, EDEMA, GRAY, WHITE, FAT, RIM], 12)
    image = heads.signal(np.broadcast_to(labels, (40, 40, labels.size)), generator())
    air, bone, csf, necrosis, edema, gray, white, fat, rim = (
        image[..., 12 * i + 3 : 12 * i + 9].mean() for i in range(9)
    )
    assert air < 0.1 and bone < csf < gray < white < min(fat, rim)
    assert necrosis < edema < white


def test_noise_of_empty_space_is_that_of_a_magnitude_image():
    noise = heads.rician(np.zeros((40, 40, 40), np.float32), 0.05, generator())
    assert noise.min() >= 0
    assert noise.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.02)  # Rayleigh's mean


def test_coarser_voxels_keep_their_place_in_the_world():
    affine = np.eye(4)
    affine[:3, 3] = (-90, -100, -80)
    ramp = np.indices((heads.SIDE_MM,) * 3, dtype=np.float32)[::-1]  # x, y, z of each voxel
    found = [heads.coarser(axis, sitk.sitkLinear)[3, 50, 100] for axis in ramp]
    world = (heads.coarser_affine(affine) @ (3, 50, 100, 1))[:3]
    np.testing.assert_allclose(np.array(found) + affine[:3, 3], world, atol=1e-3)


@pytest.mark.slow
def test_a_case_is_a_head_in_the_field_of_view_and_its_tumor_the_same_each_time():
    labels = as_image(phantom())
    image, mask, affine = heads.simulate(labels, 3)
    again = heads.simulate(labels, 3)
    np.testing.assert_array_equal(image, again[0])
    assert image.shape == mask.shape == (128, 128, 128)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert image[mask == 0].mean() < 0.1 < 0.5 < image[mask == 1].mean() < image[mask == 2].max()
    head = np.argwhere(mask > 0)
    top = (affine @ (*head.mean(0)[:2], head[:, 2].max(), 1))[2]
    assert 68 < top < 100  # 84 mm, scaled by up to 8 percent and bent


def test_the_table_is_read_by_the_preparation_and_variants_count_as_one_patient(tmp_path, monkeypatch):
    maps, out = tmp_path / "maps", tmp_path / "out"
    maps.mkdir()
    for name in ("a", "b"):
        sitk.WriteImage(as_image(phantom(24, 8.0), 8.0), str(maps / f"{name}.nii.gz"))
    seeds = []

    def tiny(labels, seed):
        seeds.append(seed)
        return np.ones((4, 4, 4)), np.ones((4, 4, 4), np.uint8), np.eye(4)

    monkeypatch.setattr(heads, "simulate", tiny)
    heads.main(maps, out, variants=2, test=["b"])
    heads.main(maps, out, variants=2, test=["b"])  # what is there is kept
    assert len(seeds) == len(set(seeds)) == 4
    found = scan_source(out / "cases.csv")
    assert [(c.id, c.patient, c.split) for c in found.cases] == [
        ("a-00", "a", "train"),
        ("a-01", "a", "train"),
        ("b-00", "b", "test"),
        ("b-01", "b", "test"),
    ]
    assert not found.errors and found.modalities == ("T1ce",)
    assert read_mask(out / "mask" / "a-00.nii.gz").volume.data.shape == (4, 4, 4)
    with (out / "cases.csv").open(encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 5
