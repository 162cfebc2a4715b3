"""The contact sheet: which way round the pictures lie, the same for every file orientation, and what they show."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import Label, LabelScheme, load_scheme
from medddpm.synthesis.planes import LONGEST, PLANES, Case, legend_of
from medddpm.synthesis.sheet import LINE, TITLE, write_sheet
from PIL import Image
from synthesis_phantoms import affine_of, phantom, positions

BRATS = load_scheme("brats")
SHAPE, SPACING = (42, 50, 40), (4.0, 4.0, 4.0)
CODES = ["".join(c) for axes in itertools.permutations(("RL", "AP", "SI")) for c in itertools.product(*axes)]


def scene(codes: str = "RAS") -> tuple[np.ndarray, Volume]:
    """A dim brain with a bright spot at the patient's right, front and top; the same scene in any orientation."""
    affine = affine_of("RAS", SPACING, SHAPE)
    labels = phantom(positions(SHAPE, affine))
    image = np.where(labels > 0, -0.5, -1.0)
    image[28:33, 34:39, 26:31] = 1.0
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes))
    turned = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    image, labels = (nib.orientations.apply_orientation(a, turn) for a in (image, labels))
    return image[None], Volume(labels, turned)


def picture(case: Case, plane: int, outlined: bool = False) -> np.ndarray:
    return np.asarray(case.panel(case.images[0], PLANES[plane], outlined)).astype(int)


def bright_spot(pixels: np.ndarray) -> tuple[float, float]:
    """Where the spot is in a picture: share of the width from the left and of the height from the top."""
    rows, columns = np.nonzero(pixels.min(axis=2) > 220)
    return columns.mean() / pixels.shape[1], rows.mean() / pixels.shape[0]


def at_spot(codes: str = "RAS") -> Case:
    """The case with the planes through the spot."""
    case = Case(*scene(codes), BRATS)
    case.center = tuple(int(v) for v in np.median(np.argwhere(case.images[0] > 0.5), axis=0))
    return case


def test_radiological_convention() -> None:
    axial, coronal, sagittal = (bright_spot(picture(at_spot(), p)) for p in range(3))
    assert axial[0] < 0.45 and axial[1] < 0.35  # right on the left, front on top
    assert coronal[0] < 0.45 and coronal[1] < 0.45  # right on the left, head on top
    assert sagittal[0] < 0.35 and sagittal[1] < 0.45  # front on the left, head on top
    assert [p.letters for p in PLANES] == ["RLAP", "RLSI", "APSI"]


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(CODES))
def test_pictures_do_not_depend_on_the_order_of_voxels(codes: str) -> None:
    turned, plain = Case(*scene(codes), BRATS), Case(*scene(), BRATS)
    for plane in range(3):
        np.testing.assert_array_equal(picture(turned, plane, True), picture(plain, plane, True))
        assert turned.position(PLANES[plane]) == plain.position(PLANES[plane])


def test_positions_are_those_of_the_scanner() -> None:
    case = Case(*scene(), BRATS)  # the planes go through the tumor, whose center lies at (32, -30, 42)
    found = [case.position(plane) for plane in PLANES]
    assert [text.split()[0] for text in found] == ["S", "P", "R"]
    for text, expected in zip(found, (42, 30, 32), strict=True):
        assert abs(int(text.split()[1]) - expected) <= 8


def test_every_tumor_part_counts_alike() -> None:
    """A large edema far away must not draw the planes away from a small enhancing spot."""
    images, labels = scene()
    data = np.where(labels.data > 0, 4, 0).astype(np.uint8)
    data[10:20, 10:30, 5:25] = 2
    data[15:18, 20:23, 14:16] = 3
    case = Case(images, Volume(data, labels.affine), BRATS)
    assert case.mask[case.center] == 3


def test_all_planes_have_one_scale() -> None:
    """An anisotropic grid is shown undistorted: a ball stays round."""
    spacing = (2.0, 3.0, 8.0)
    shape = (84, 66, 20)
    affine = affine_of("RAS", spacing, shape)
    x, y, z = positions(shape, affine)
    inside = (x - 5) ** 2 + (y + 12) ** 2 + (z - 20) ** 2 <= 60**2
    labels = Volume(np.where(inside, 4, 0).astype(np.uint8), affine)
    case = Case(np.where(inside, 1.0, -1.0)[None], labels, BRATS)
    for plane in range(3):
        inner = picture(case, plane)[16:-34, 15:-15]  # without the letters
        rows, columns = np.nonzero(inner.min(axis=2) > 128)
        for extent in (np.ptp(rows), np.ptp(columns)):
            assert abs(extent / case.pixels_per_mm - 120) < 10
    assert max(case.mask.shape * np.array(spacing)) * case.pixels_per_mm == pytest.approx(LONGEST)


def test_outlines_cover_nothing_of_the_tumor() -> None:
    images, labels = scene()
    data = np.where(labels.data > 0, 4, 0).astype(np.uint8)
    data[20, 25, 20] = 3  # a tumor of one voxel
    case = Case(images, Volume(data, labels.affine), BRATS)
    for plane in range(3):
        plain, outlined = picture(case, plane), picture(case, plane, True)
        color = np.array(BRATS.label(3).color)
        ring = (outlined == color).all(axis=2)
        assert 8 <= ring.sum() <= 200
        rows, columns = np.nonzero(ring)
        middle = (round(rows.mean()), round(columns.mean()))
        np.testing.assert_array_equal(outlined[middle], plain[middle])


def test_tissues_are_neither_outlined_nor_in_the_legend() -> None:
    images, labels = scene()
    scheme = load_scheme("glioma-anatomy")
    data = np.where(labels.data > 0, 9, 0).astype(np.uint8)
    data[15:25, 20:30, 15:25] = 6
    data[20:23, 25:28, 20:23] = 3
    case = Case(images, Volume(data, labels.affine), scheme)
    drawn = {tuple(color) for plane in range(3) for color in picture(case, plane, True).reshape(-1, 3)}
    for label in scheme.labels:
        assert (label.color in drawn) == (label.value in (3, 4)), label.name
    assert [name for name, _ in legend_of(scheme)] == [scheme.label(value).name for value in (1, 2, 3, 4)]


def sheet(
    path: Path, count: int, scheme: LabelScheme = BRATS, empty: bool = False, title: str = "title"
) -> Image.Image:
    images, labels = scene("LPS")
    labels = Volume(labels.data * 0 if empty else labels.data, labels.affine)
    names = tuple(f"a modality with a long name, number {i}" for i in range(count))
    write_sheet(path, np.repeat(images, count, axis=0), names, labels, scheme, title)
    with Image.open(path) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("empty", [False, True])
def test_a_sheet_of_any_number_of_modalities(tmp_path: Path, count: int, empty: bool) -> None:
    drawn = sheet(tmp_path / "s.png", count, empty=empty, title="an endless title " * 30)
    assert drawn.format == "PNG" and drawn.text["Description"].startswith("SYNTHETIC")  # type: ignore[attr-defined]
    assert drawn.width < 1200 + 330 * count and drawn.height < 2200
    pixels = np.asarray(drawn).astype(int)
    amber = np.flatnonzero((np.abs(pixels - (255, 190, 60)).sum(axis=2) < 40).any(axis=1))
    marks = np.split(amber, np.flatnonzero(np.diff(amber) > 30) + 1)
    assert len(marks) == 1 + (3 if count <= 2 else 6)  # over the sheet, and under every row of pictures
    assert not pixels[:, -2:].any()  # nothing runs over the edge
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]


def test_a_long_title_takes_more_lines_and_moves_the_rest_down(tmp_path: Path) -> None:
    short = np.asarray(sheet(tmp_path / "a.png", 1, title="title"))
    long = np.asarray(sheet(tmp_path / "b.png", 1, title="a title of which every word is to be read " * 6))
    added = len(long) - len(short)
    assert added >= 2 * LINE and added % LINE == 0
    np.testing.assert_array_equal(long[TITLE + added :], short[TITLE:])
    for line in range(added // LINE + 1):
        assert (long[33 + LINE * line : 33 + LINE * (line + 1)] > 200).any()


def test_a_long_legend_takes_more_lines(tmp_path: Path) -> None:
    labels = tuple(
        Label(v, f"A structure with quite\na long name {v}", (9 * v, 99, 99), "", v > 1) for v in range(1, 13)
    )
    many = LabelScheme("many", labels, 1, "air")
    assert sheet(tmp_path / "a.png", 1, many).height > sheet(tmp_path / "b.png", 1).height
    pixels = np.asarray(sheet(tmp_path / "c.png", 1, many)).astype(int)
    for label in labels:
        assert (pixels == label.color).all(axis=2).sum() >= 100  # its square in the legend
