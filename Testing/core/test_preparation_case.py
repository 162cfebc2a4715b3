"""Preparing one case: tensors and facts, outlines, space, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from head_phantoms import AFFINE, GRID, SHAPE, image, options, template, tumor_labels, write_case
from medddpm.config import GridConfig
from medddpm.errors import InputError
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import voxel_ml
from medddpm.parse import from_dict
from medddpm.preparation import case
from medddpm.preparation.case import prepare_one
from medddpm.preparation.facts import CaseFacts, CaseFiles
from medddpm.preparation.report import write_pictures
from PIL import Image
from synthesis_phantoms import affine_of, phantom, positions

TENSORS = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CaseFiles:
    """A case in a folder with the name of a person."""
    return write_case(tmp_path_factory.mktemp("Doe John"))


@pytest.fixture(scope="module")
def prepared(files: CaseFiles) -> tuple[TENSORS, CaseFacts]:
    return prepare_one(files, options(), template())


def brain() -> np.ndarray:
    """What the images show of it, voxels at its surface included."""
    return image("T1").data > 0


def test_tensors_are_on_the_grid_and_follow_the_mask(prepared: tuple[TENSORS, CaseFacts]) -> None:
    tensors, facts = prepared
    images, fractions = tensors["images"], tensors["fractions"]
    assert images.dtype == np.float16 and images.shape == (2, 20, 24, 20)
    assert fractions.dtype == np.uint8 and fractions.shape == (4, 20, 24, 20)
    assert images.min() == -1 and images.max() <= 1
    share = fractions.astype(float) / 255
    volume = 8**3 / 1000
    for channel, value in enumerate((1, 2, 4)):
        expected = (tumor_labels() == value).sum() * voxel_ml(AFFINE)
        assert share[channel].sum() * volume == pytest.approx(expected, rel=0.02)
    assert share.sum() * volume == pytest.approx(brain().sum() * voxel_ml(AFFINE), rel=0.01)
    assert (images[:, share.sum(axis=0) == 0] == -1).all()
    tumor = share[:3].sum(axis=0) > 0.9
    rest = share[3] > 0.9
    assert images[0][tumor].mean() < images[0][rest].mean() - 0.2  # dark in T1
    assert images[1][tumor].mean() > images[1][rest].mean() + 0.2  # bright in T2
    np.testing.assert_allclose(np.array(facts.grid_affine)[:3, :3], np.diag([-8.0, -8.0, 8.0]))


def test_fractions_are_stored_as_the_nearest_share(files: CaseFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "with_tissues", lambda images, placed: (np.full(placed.fractions.shape, 0.999), ()))
    assert (prepare_one(files, options(), template())[0]["fractions"] == 255).all()


def test_the_facts_are_what_was_measured(files: CaseFiles, prepared: tuple[TENSORS, CaseFacts]) -> None:
    tensors, facts = prepared
    assert facts.mask.kind == "brain" and facts.mask.made
    assert facts.mask.outline_ml == pytest.approx(brain().sum() * 0.064)
    assert facts.mask.tumor_ml == pytest.approx((tumor_labels() > 0).sum() * 0.064)
    assert facts.mask.lost_share == 0 and facts.mask.tumor_lost_ml == 0
    first = facts.images[0]
    assert (first.modality, first.geometry.shape, first.geometry.orientation) == ("T1", SHAPE, "LPS")
    inside = tensors["images"][0][tensors["fractions"].sum(axis=0, dtype=int) > 128].astype(float)
    assert first.mean == pytest.approx(inside.mean(), abs=1e-3) and first.std == pytest.approx(inside.std(), abs=1e-3)
    assert sum(first.histogram) == inside.size
    assert first.low == 0 and first.high == pytest.approx(np.percentile(image("T1").data[brain()], 99.9), rel=0.01)
    assert first.surroundings == -1 and first.covered == 1 and first.empty < 0.02
    assert len(first.sha256) == 64 and first.sha256 != facts.images[1].sha256


def test_facts_travel_as_plain_data(prepared: tuple[TENSORS, CaseFacts]) -> None:
    facts = prepared[1]
    assert from_dict(CaseFacts, json.loads(json.dumps(asdict(facts))), "it") == facts
    with pytest.raises(InputError, match="lacks the field 'mask'"):
        from_dict(
            CaseFacts, {key: value for key, value in asdict(facts).items() if key != "mask"}, "The facts of a case"
        )


def test_facts_name_no_folder(files: CaseFiles, prepared: tuple[TENSORS, CaseFacts]) -> None:
    assert "Doe John" in str(files.mask)
    assert "Doe" not in json.dumps(asdict(prepared[1]))


def test_the_same_voxels_are_known_in_another_file(tmp_path: Path, prepared: tuple[TENSORS, CaseFacts]) -> None:
    case = write_case(tmp_path)
    other = tmp_path / "copy.nii"
    write_image(other, image("T1").data, AFFINE, "another header")
    again = prepare_one(replace(case, images={**case.images, "T1": other}), options(), template())[1].images[0]
    assert again.voxels == prepared[1].images[0].voxels and again.sha256 != prepared[1].images[0].sha256


def test_no_torch_is_needed(files: CaseFiles) -> None:
    """A process for each core need not load it."""
    code = "import sys, medddpm.preparation.case, medddpm.preparation.report; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


# Outlines


def test_a_case_without_a_mask_has_a_brain_and_no_tumor(files: CaseFiles) -> None:
    tensors, facts = prepare_one(replace(files, mask=None), options(), template())
    assert facts.mask.tumor_ml == 0 and facts.mask.made and facts.mask.geometry is None
    assert facts.mask.outline_ml == pytest.approx(brain().sum() * 0.064, rel=0.01)
    assert tensors["fractions"][:3].max() == 0


def with_brain(folder: Path, smaller: float) -> CaseFiles:
    """A case whose mask has a brain label, of a smaller brain than the image shows."""
    points = positions(SHAPE, AFFINE)
    middle = np.array([p[brain()].mean() for p in points])
    small = phantom(tuple((p - m) / smaller + m for p, m in zip(points, middle, strict=True))) > 0  # type: ignore[arg-type]
    labels = np.where(tumor_labels() > 0, np.array([0, 1, 2, 0, 3])[tumor_labels()], np.where(small, 4, 0))
    return write_case(folder, mask=labels.astype(np.uint8))


def test_an_outline_in_the_mask_is_kept_unless_the_images_is_wanted(tmp_path: Path) -> None:
    case = with_brain(tmp_path, 0.94)
    own = prepare_one(case, options(), template())[1].mask
    anew = prepare_one(case, options(outline="brain"), template())[1].mask
    assert not own.made and anew.made
    assert anew.outline_ml == pytest.approx(brain().sum() * 0.064, rel=0.01)
    assert own.outline_ml < 0.93 * anew.outline_ml
    assert own.tumor_ml == pytest.approx(anew.tumor_ml)
    assert prepare_one(case, options(outline="none"), template())[1].mask == own


@pytest.mark.slow
def test_labels_with_tissues_take_masks_without_any(files: CaseFiles, prepared: tuple[TENSORS, CaseFacts]) -> None:
    tensors, facts = prepare_one(files, options(scheme="glioma-anatomy"), template(scheme="glioma-anatomy"))
    np.testing.assert_array_equal(tensors["fractions"][:3], prepared[0]["fractions"][:3])
    assert (facts.mask.outline_ml, facts.mask.tumor_ml) == (prepared[1].mask.outline_ml, prepared[1].mask.tumor_ml)


def test_an_outline_from_the_image_keeps_the_tissues_inside(tmp_path: Path) -> None:
    top = np.argwhere(brain())[:, 2].max()
    labels = np.where(tumor_labels() == 4, 3, tumor_labels())
    labels[brain() & (labels == 0)] = 4
    labels[15:30, 20:35, top - 6 : top + 3] = 9
    case = write_case(tmp_path, mask=labels.astype(np.uint8))
    _, facts = prepare_one(case, options(scheme="glioma-anatomy", outline="brain"), template(scheme="glioma-anatomy"))
    volumes = dict(facts.mask.labels_ml)
    assert facts.mask.outline_ml == pytest.approx(brain().sum() * voxel_ml(AFFINE), rel=0.01)
    assert volumes[9] == pytest.approx(((labels == 9) & brain()).sum() * voxel_ml(AFFINE), rel=0.02)
    assert volumes[9] < 0.9 * (labels == 9).sum() * voxel_ml(AFFINE)


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        ("none", r"case-1_seg\.nii\.gz has no brain label \(4\), and the option outline 'none' makes none"),
        ("head", r"outline is 'head', but the labels '.*' outline the brain"),
    ],
)
def test_outlines_that_cannot_be(files: CaseFiles, outline: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare_one(files, options(outline=outline), template())


def test_no_average_brain_is_made_up(tmp_path: Path) -> None:
    """Synthesis makes do with an ellipsoid where no image shows the brain; training must not learn it."""
    case = write_case(tmp_path)
    write_image(case.images["T1"], np.full(SHAPE, 7.0, np.float32), AFFINE, "test")
    with pytest.raises(InputError, match=r"no brain label \(4\), and the image shows no brain either"):
        prepare_one(case, options(), template())


# Values


def test_unknown_values_are_named_with_the_remedy(tmp_path: Path) -> None:
    labels = tumor_labels()
    labels[labels == 1] = 9
    case = write_case(tmp_path, mask=labels)
    with pytest.raises(InputError, match=r"case-1_seg\.nii\.gz has the value 9, .* for example .*9=0") as told:
        prepare_one(case, options(), template())
    assert "leave the case out" in str(told.value)
    given = prepare_one(case, options(labels="9=1,2=2,4=3"), template())[1].mask
    assert dict(given.labels_ml)[1] == pytest.approx((labels == 9).sum() * 0.064)


def test_a_missing_modality_is_named(files: CaseFiles) -> None:
    with pytest.raises(InputError, match="The case case-1 has no FLAIR image, but T1, FLAIR are wanted"):
        prepare_one(files, options(), template(modalities=("T1", "FLAIR")))


def test_an_image_of_one_value_is_refused(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    write_image(case.images["T2"], np.full(SHAPE, 7.0, np.float32), AFFINE, "test")
    with pytest.raises(InputError, match=r"case-1_t2\.nii\.gz is constant inside its mask"):
        prepare_one(case, options(), template())


# Space


def test_what_the_grid_cuts_off_is_counted(files: CaseFiles) -> None:
    """The grid is centered on the brain and keeps its upper end; every voxel beyond it is counted here one by one."""
    tight = GridConfig((14, 20, 10), (8.0, 8.0, 8.0), "LPS")
    _, facts = prepare_one(files, options(), template(tight))
    to_grid = np.linalg.inv(np.array(facts.grid_affine)) @ AFFINE
    voxels = np.argwhere(brain()) @ to_grid[:3, :3].T + to_grid[:3, 3]
    outside = ((voxels < -0.5) | (voxels > np.array(tight.shape) - 0.5)).any(axis=1)
    assert 0.05 < outside.mean() < 0.5
    assert facts.mask.lost_ml == pytest.approx(outside.sum() * 0.064)
    assert facts.mask.lost_share == pytest.approx(outside.mean())
    tumor = tumor_labels()[brain()] > 0
    assert facts.mask.tumor_lost_ml == pytest.approx((outside & tumor).sum() * 0.064)
    assert any("lies outside the model's grid" in sentence for sentence in facts.sentences)


def test_images_on_another_grid_in_the_same_space_serve(tmp_path: Path, prepared: tuple[TENSORS, CaseFacts]) -> None:
    case = write_case(tmp_path)
    shape = (60, 50, 34)
    other = image("T2", shape, affine_of("RAS", (3.5, 4.0, 5.0), shape), seed=1)
    write_image(case.images["T2"], other.data, other.affine, "test")
    tensors, facts = prepare_one(case, options(), template())
    assert facts.images[1].geometry.orientation == "RAS" and facts.images[1].covered == 1
    one, two = (t["images"][1].astype(float).ravel() for t in (tensors, prepared[0]))
    assert np.corrcoef(one, two)[0, 1] > 0.98


@pytest.mark.parametrize(("millimeters", "words"), [(400.0, "does not overlap"), (60.0, "covers only")])
def test_images_elsewhere_are_refused(tmp_path: Path, millimeters: float, words: str) -> None:
    case = write_case(tmp_path)
    moved = AFFINE.copy()
    moved[0, 3] += millimeters
    write_image(case.images["T2"], image("T2").data, moved, "test")
    with pytest.raises(InputError, match=rf"case-1_t2\.nii\.gz {words}.*register the images"):
        prepare_one(case, options(), template())


@pytest.mark.slow
def test_registration_brings_the_contrasts_together(tmp_path: Path, prepared: tuple[TENSORS, CaseFacts]) -> None:
    case = write_case(tmp_path)
    moved = AFFINE.copy()
    moved[:3, 3] += (12.0, -9.0, 7.0)
    write_image(case.images["T2"], image("T2").data, moved, "test")
    left = prepare_one(case, options(), template(GRID))[0]["images"][1].astype(float)
    tensors, facts = prepare_one(case, options(register="modalities"), template(GRID))
    right, wanted = tensors["images"][1].astype(float), prepared[0]["images"][1].astype(float)
    assert np.corrcoef(left.ravel(), wanted.ravel())[0, 1] < 0.85
    assert np.corrcoef(right.ravel(), wanted.ravel())[0, 1] > 0.98
    assert facts.images[1].moves[0].shift_mm == pytest.approx(np.linalg.norm((12, -9, 7)), abs=2)


def test_pictures_are_drawn(prepared: tuple[TENSORS, CaseFacts], tmp_path: Path) -> None:
    tensors, facts = prepared
    for path in write_pictures(tmp_path / "report", tensors, facts, template()):
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and np.asarray(picture.convert("L")).max() > 100
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["case-1-sheet.jpg", "case-1-thumb.jpg"]
