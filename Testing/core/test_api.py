"""The functions for Python: what they take, what they give, what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import medddpm
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from mask_phantoms import tumor
from medddpm.errors import Cancelled, InputError
from synthesis_phantoms import save_mask


def test_what_there_is_can_be_listed() -> None:
    assert set(medddpm.__all__) == set(dir(medddpm))
    assert all(callable(getattr(medddpm, name)) for name in medddpm.__all__ if name != "__version__")


def in_memory(path: Path) -> dict[str, Any]:
    """The mask of a file in every form that is taken."""
    image = nib.load(path)
    return {
        "path": path,
        "text": str(path),
        "nibabel": nib.Nifti1Image(np.asarray(image.dataobj), image.affine),
        "ITK": sitk.ReadImage(str(path)),
        "array": (np.asarray(image.dataobj), image.affine),
    }


def test_all_forms_of_a_mask_give_the_same_images(tmp_path: Path, tiny: Path) -> None:
    save_mask(tmp_path / "mask.nii.gz", "PIR", (4.0, 5.0, 4.0), (50, 32, 42), 17)
    pixels = set()
    for form, mask in in_memory(tmp_path / "mask.nii.gz").items():
        case = medddpm.synthesize(mask, model=tiny, seed=3)
        assert list(case.images) == ["T1", "FLAIR"]
        image = case.images["T1"]
        assert image.shape == (50, 32, 42) == case.labels.shape, form
        np.testing.assert_allclose(image.affine, nib.load(tmp_path / "mask.nii.gz").affine, atol=1e-3)
        assert image.get_data_dtype() == np.int16
        pixels.add(np.asarray(image.dataobj).tobytes())
        assert set(np.unique(case.labels.dataobj)) == {0, 1, 2, 3, 4}
    assert len(pixels) == 1


def test_a_case_can_be_saved_and_outlives_what_it_was_made_in(tmp_path: Path, tiny: Path, mask: Path) -> None:
    case = medddpm.synthesize(mask, model=tiny, samples=2, modalities=["T1"])
    assert case.provenance["seeds"] == [0, 1] and [list(sample) for sample in case.samples] == [["T1"], ["T1"]]
    images, folder = case.samples, case.folder
    saved = case.save(tmp_path / "kept")
    assert (saved / "brain_sample-02_T1.nii").is_file() and (saved / "brain_sample-01.png").is_file()
    assert json.loads((saved / "provenance.json").read_text())["synthetic"] is True
    with pytest.raises(InputError, match="already exists"):
        case.save(tmp_path / "kept")
    del case
    assert not folder.exists()
    assert np.asarray(images[1]["T1"].dataobj).any()


def test_several_masks_give_several_cases_and_errors_can_be_collected(tmp_path: Path, tiny: Path, mask: Path) -> None:
    bad = tmp_path / "bad.nii"
    bad.write_bytes(b"no mask")
    with pytest.raises(medddpm.errors.MedDDPMError, match="1 of 2 masks"):
        medddpm.synthesize([mask, bad], model=tiny)
    good, failed = medddpm.synthesize([mask, bad], model=tiny, collect_errors=True)
    assert good.error is None and "bad.nii" in str(failed.error) and good.images["FLAIR"].ndim == 3


def test_progress_is_told_and_can_end_the_work(tiny: Path, mask: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    medddpm.synthesize(mask, model=tiny, progress=lambda *call: calls.append(call))
    assert calls[-1][:2] == (3, 3) and "Sampling" in calls[0][2]

    def broken(done: int, total: int, doing: str) -> None:
        raise KeyError("bar")

    with pytest.raises(Cancelled, match="progress function raised KeyError: 'bar'"):
        medddpm.synthesize(mask, model=tiny, progress=broken)


@pytest.mark.parametrize(
    ("mask", "words"),
    (
        (7, "is of the type int. Give a path"),
        ((np.zeros((4, 4)), np.eye(4)), "is 2D"),
        ((np.zeros((4, 4, 4, 2)), np.eye(4)), "is 4D"),
        ((np.zeros((4, 4, 4)), np.eye(3)), "no affine of 4 x 4"),
        ((np.zeros((4, 4, 4)), np.full((4, 4), np.nan)), "not a number"),
        ((np.zeros((4, 4, 4), complex), np.eye(4)), "holds complex128"),
        ((np.full((4, 4, 4), 2**40), np.eye(4)), "do not fit"),
        (nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), None), "no affine"),
        (sitk.Image([4, 4], sitk.sitkUInt8), "has 2 axes"),
        (sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 2), "2 components per voxel"),
        ("no/such/mask.nii", "does not exist"),
    ),
)
def test_what_is_no_mask_is_refused_with_a_sentence(mask: Any, words: str) -> None:
    for use in (medddpm.load_mask, medddpm.check_mask, medddpm.fix_mask):
        with pytest.raises(InputError, match=words):
            use(mask)


@pytest.mark.parametrize(
    ("options", "words"),
    (
        ({"samples": "3"}, "samples must be a whole number"),
        ({"seed": -1}, "seed is -1, but must be 0 to"),
        ({"model": "nobody"}, "model 'nobody' does not exist"),
        ({"sampler": "magic"}, "sampler"),
        ({"image": 5}, "image_1 is of the type int"),
        ({"context": {"T1": (np.zeros((4, 4)), np.eye(4))}}, "context_T1 is 2D"),
    ),
)
def test_wrong_options_are_refused_with_a_sentence(tiny: Path, mask: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        medddpm.synthesize(mask, **({"model": tiny} | options))
    with pytest.raises(TypeError, match="sample_count"):
        medddpm.synthesize(mask, sample_count=3)


def test_a_mask_is_checked_and_fixed() -> None:
    affine = np.diag([4.0, 4, 4, 1])
    labels = tumor(4)
    assert medddpm.load_mask((labels, affine)).volume.data.max() == 4
    result = medddpm.check_mask((labels, affine))
    assert not result.usable and result.fixable
    fixed, done = medddpm.fix_mask((labels, affine), labels={1: 1, 2: 2, 4: 3})
    assert any(finding.code == "no-outline" for finding in done)
    assert set(np.unique(fixed.dataobj)) == {0, 1, 2, 3, 4}
    assert medddpm.check_mask(fixed).usable
    with pytest.raises(InputError, match="cannot be used"):
        medddpm.fix_mask((np.random.default_rng(0).normal(size=(20, 20, 20)), affine))


def volume_and_center(image: nib.Nifti1Image) -> tuple[float, np.ndarray]:
    voxels = np.argwhere(np.isin(np.asarray(image.dataobj), (1, 2, 3)))
    center = image.affine[:3, :3] @ voxels.mean(axis=0) + image.affine[:3, 3]
    return len(voxels) * abs(np.linalg.det(image.affine[:3, :3])) / 1000, center


def test_a_tumor_is_edited(mask: Path) -> None:
    before, place = volume_and_center(medddpm.fix_mask(mask)[0])
    same, kept = medddpm.edit(mask)
    assert kept == 1 and volume_and_center(same)[0] == before
    moved, _ = medddpm.edit(mask, shift=(-8, 0, 4))
    np.testing.assert_allclose(volume_and_center(moved)[1] - place, (-8, 0, 4), atol=1)
    larger, _ = medddpm.edit(mask, scale=1.2, shift=(-8, 0, 0), grow=2)
    assert volume_and_center(larger)[0] > 1.5 * before
    other, _ = medddpm.edit(mask, mirror=True)
    assert abs(volume_and_center(other)[1][0] - place[0]) > 20
    for wrong in ({"scale": 99}, {"shift": (1, 2)}, {"grow": float("nan")}, {"parts": [9], "scale": 0.5}):
        with pytest.raises(InputError):
            medddpm.edit(mask, **wrong)


@pytest.mark.slow
def test_a_lesion_is_added(mask: Path) -> None:
    one, made = medddpm.new_lesion(mask, seed=4, diameter_mm=14, center_mm=(-30.0, -12.0, 20.0))
    np.testing.assert_allclose(made.centers_mm[0], (-30, -12, 20), atol=8)
    assert volume_and_center(one)[0] > volume_and_center(medddpm.fix_mask(mask)[0])[0]
    again, _ = medddpm.new_lesion(mask, seed=4, diameter_mm=14, center_mm=(-30.0, -12.0, 20.0))
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(again.dataobj))
    with pytest.raises(InputError, match="diameter"):
        medddpm.new_lesion(mask, diameter_mm=900)
    with pytest.raises(InputError, match="hue"):
        medddpm.new_lesion(mask, hue="red")


def test_what_is_guessed_or_changed_is_warned_of(tiny: Path, mask: Path) -> None:
    raw = (tumor(4), np.diag([4.0, 4, 4, 1]))
    for use in (medddpm.edit, medddpm.new_lesion):
        with pytest.warns(UserWarning, match="The mask has no brain"):
            use(raw)
    with pytest.warns(UserWarning, match="follows the numbers of"):
        medddpm.synthesize(mask, model=tiny)


@pytest.mark.slow
def test_from_scans_to_a_model_and_its_figures(scans: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int, str]] = []
    options: dict[str, Any] = {"grid": "32x32x32:8:LPS", "workers": 1, "test_cases": ["c3"]}
    made = medddpm.prepare(scans, tmp_path / "set", progress=lambda *call: calls.append(call), **options)
    assert made.cases == 4 and calls
    with pytest.raises(InputError, match="unknown field 'grit'"):
        medddpm.prepare(scans, tmp_path / "set", grit="auto")
    few = {"iterations": 1, "precision": "fp32", "device": "cpu"}
    model = medddpm.train(made.dataset, tmp_path / "run", preset="compact", **few)
    assert medddpm.load_model(model).config.modalities == ("T1", "T2")
    with pytest.raises(InputError):
        medddpm.train(made.dataset, tmp_path / "run", preset="demo", **few)
    found = medddpm.evaluate(model, made.dataset, tmp_path / "figures", steps=1, tumor_iterations=0, device="cpu")
    assert np.isfinite(found.mean.psnr) and list((tmp_path / "figures").glob("*.html"))
