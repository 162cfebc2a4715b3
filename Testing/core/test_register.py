"""Registration: known motions are found, what is aligned stays, and rather an error than a wrong place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from head_phantoms import AFFINE, CENTER, SHAPE, TUMOR, image, motion, options, tumor_labels, write_case
from medddpm.errors import InputError
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.preparation.align import read_case
from medddpm.preparation.facts import CaseFiles
from medddpm.preparation.register import Rigid, coarse, head_points, register, turned
from synthesis_phantoms import affine_of, centroid

HALF_VOXEL = 2.0  # mm


@pytest.fixture(scope="module")
def t1() -> Volume:
    return image("T1")


def farthest(found: np.ndarray, truth: np.ndarray, points: np.ndarray) -> float:
    """By how much (mm) two rigid maps differ at most over the head."""
    difference = found - truth
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).max())


@pytest.mark.parametrize(
    ("degrees", "shift"),
    [
        ((6.0, -4.0, 5.0), (7.0, -5.0, 9.0)),
        ((-9.0, 3.0, 0.0), (-90.0, 60.0, 140.0)),  # another origin of coordinates: no overlap to begin with
    ],
)
def test_a_known_motion_is_found_within_half_a_voxel(
    t1: Volume, degrees: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    """The other image has another contrast, another grid and other axes."""
    truth = motion(degrees, shift)
    other = image("T2", (60, 50, 34), affine_of("RAS", (3.5, 4.0, 5.0), (60, 50, 34)), seed=1)
    found = register(t1, Volume(other.data, truth @ other.affine), "The T2 image", "T1")
    points = head_points(t1)
    assert farthest(found.matrix @ truth, np.eye(4), points) < HALF_VOXEL
    assert found.moved and found.after > found.before
    moved = truth[:3, :3] @ points.mean(axis=0) + truth[:3, 3] - points.mean(axis=0)
    assert found.shift_mm == pytest.approx(float(np.linalg.norm(moved)), abs=HALF_VOXEL)
    turn = float(np.degrees(np.arccos((np.trace(truth[:3, :3]) - 1) / 2)))
    assert found.rotation_degrees == pytest.approx(turn, abs=1.5)


@pytest.mark.slow
def test_it_gives_the_same_every_time_and_rigid_maps_only(t1: Volume) -> None:
    truth = motion((3.0, 0.0, -4.0), (5.0, 5.0, -5.0))
    other = Volume(image("FLAIR", seed=2).data, truth @ AFFINE)
    first, second = (register(t1, other, "FLAIR", "T1") for _ in range(2))
    np.testing.assert_array_equal(first.matrix, second.matrix)
    rotation = first.matrix[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_aligned_images_are_left_exactly_where_they_are(t1: Volume) -> None:
    other = image("T2", seed=3)
    found = register(t1, other, "T2", "T1")
    assert not found.moved and found.shift_mm == 0 and found.rotation_degrees == 0
    assert found.applied(other.affine) is other.affine


def noise() -> Volume:
    return Volume(np.random.default_rng(5).normal(100, 20, SHAPE).astype(np.float32), AFFINE)


@pytest.mark.slow
def test_noise_is_registered_to_nothing(t1: Volume) -> None:
    with pytest.raises(InputError, match=r"^scan\.nii could not be registered to T1: no position fits better"):
        register(t1, noise(), "scan.nii", "T1")


@pytest.mark.slow
def test_a_head_that_is_turned_too_far_is_refused(t1: Volume) -> None:
    lying = Volume(image("T2").data, turned(0, 100, np.array(CENTER)) @ AFFINE)
    with pytest.raises(InputError, match=r"^scan\.nii (could not be|would) .* Check that both show the same head"):
        register(t1, lying, "scan.nii", "T1")


def test_large_moves_are_unusual() -> None:
    assert not Rigid(np.eye(4), 5.0, 3.0).unusual
    assert Rigid(np.eye(4), 30.0, 0.0).unusual and Rigid(np.eye(4), 0.0, 20.0).unusual


def test_coarse_volumes_stay_in_place() -> None:
    """The middle of what is bright is where it was, on axes of any direction."""
    affine = affine_of("PSR", (1.5, 3.0, 2.0), (50, 30, 40), 20)
    data = np.zeros((50, 30, 40), np.float32)
    data[20:28, 8:20, 12:24] = 1  # whole voxels of the coarse grid
    small = coarse(Volume(data, affine), 6.0)
    assert small.spacing == pytest.approx((6, 6, 6))
    np.testing.assert_allclose(centroid(small.data, small.affine), centroid(data, affine), atol=0.01)


def displaced(folder: Path, truth: np.ndarray) -> CaseFiles:
    """A case whose T2 lies elsewhere in space."""
    case = write_case(folder)
    write_image(case.images["T2"], image("T2").data, truth @ AFFINE, "test")
    return case


def test_modalities_are_brought_onto_the_image_of_the_mask(tmp_path: Path) -> None:
    truth = motion((4.0, 2.0, -3.0), (6.0, -8.0, 5.0))
    aligned = read_case(displaced(tmp_path, truth), ("T2", "T1"), options(register="modalities"))
    assert aligned.reference == "T1"  # T2 comes first, but the mask was drawn on the grid of T1
    np.testing.assert_array_equal(aligned.images["T1"].affine, aligned.mask.volume.affine)
    points = head_points(aligned.images["T1"])
    assert farthest(aligned.images["T2"].affine @ np.linalg.inv(AFFINE), np.eye(4), points) < HALF_VOXEL
    [move] = aligned.moves["T2"]
    assert move.onto == "T1" and not move.unusual and move.gain is not None and move.gain > 0
    assert aligned.sentences[0].startswith("The T2 image was moved by 1") and "degrees" in aligned.sentences[0]


def test_the_mask_follows_to_the_template(tmp_path: Path) -> None:
    """In the template's space the tumor is where the template's own brain would have it."""
    truth = motion((0.0, -7.0, 6.0), (30.0, 20.0, -25.0))
    case = write_case(tmp_path)
    for path in (*case.images.values(), case.mask):
        assert path is not None
        data = tumor_labels() if path == case.mask else image("T1" if "t1" in path.name else "T2").data
        write_image(path, data, truth @ AFFINE, "test")
    write_image(tmp_path / "template.nii.gz", image("T1", seed=9).data, AFFINE, "test")
    wanted = options(register="template", template=str(tmp_path / "template.nii.gz"))
    aligned = read_case(case, ("T1", "T2"), wanted)
    tumor = aligned.mask.volume
    np.testing.assert_allclose(centroid((tumor.data == 1).astype(float), tumor.affine), TUMOR, atol=HALF_VOXEL)
    assert [move.onto for move in aligned.moves["T1"]] == ["template"]
    assert any("to lie on the template" in sentence for sentence in aligned.sentences)


def test_without_registration_nothing_moves(tmp_path: Path) -> None:
    truth = motion((4.0, 0.0, 0.0), (6.0, 0.0, 0.0))
    aligned = read_case(displaced(tmp_path, truth), ("T1", "T2"), options())
    np.testing.assert_allclose(aligned.images["T2"].affine, truth @ AFFINE, atol=1e-4)
    assert not aligned.moves and not aligned.sentences


@pytest.mark.slow
def test_an_image_that_cannot_be_registered_is_named(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    write_image(case.images["T2"], noise().data, AFFINE, "test")
    with pytest.raises(InputError, match=r"case-1_t2\.nii\.gz could not be registered to the T1 image"):
        read_case(case, ("T1", "T2"), options(register="modalities"))
