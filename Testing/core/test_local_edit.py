"""Local edits of a real scan: files and units, going on, the command and the picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from edit_phantoms import AFFINE, RADIUS, SEAM, SHAPE, SPACING, Edit, bright, distances, mask_of, scan
from medddpm.errors import InputError
from medddpm.geometry.intensity import IntensityRange
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.labels.morphology import distance_to
from medddpm.labels.scheme import load_scheme
from medddpm.models.model import Model
from medddpm.progress import SilentReporter
from medddpm.synthesis.case import stored_intensities
from medddpm.synthesis.local_edit import RealImage, seam_weight
from medddpm.synthesis.pipeline import run_batch
from medddpm.synthesis.planes import Case
from medddpm.synthesis.request import SynthesisRequest
from PIL import Image
from synthesis_phantoms import CENTER, affine_of, contents, phantom, positions, voxels
from synthesis_runs import record, synthesize


def zones() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels of the mask's grid that are kept, in the seam, and made anew."""
    weight = seam_weight(distances() <= RADIUS, SPACING, SEAM)
    return weight == 0, (weight > 0) & (weight < 1), weight == 1


def test_the_scan_stays_outside_the_region(tmp_path: Path, tiny: Path, edit: Edit) -> None:
    [result] = synthesize(mask_of(edit), tmp_path / "out", tiny, **edit)
    assert result.state == "done", result.message
    kept, _, made = zones()
    for modality, name in (("T1", "t1"), ("FLAIR", "flair")):
        real, _ = voxels(mask_of(edit).parent / f"{name}.nii.gz")
        for file in (f"brain_sample-01_{modality}.nii.gz", f"model-grid/brain_sample-01_{modality}.nii.gz"):
            image = nib.load(result.folder / file)
            assert bytes(image.header["descrip"]).startswith(b"PARTLY SYNTHETIC")
            assert image.get_data_dtype() == (np.int16 if modality == "T1" else np.float32)
        data, affine = voxels(result.folder / f"brain_sample-01_{modality}.nii.gz")
        np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
        np.testing.assert_array_equal(data[kept], real[kept])
        assert (data[made] != real[made]).mean() > 0.95
        low, high = record(result.folder)["real_intensity"][modality]
        assert low == 0 and data[made].min() >= low and data[made].max() <= high * 1.001
    region, _ = voxels(result.folder / "brain_region.nii.gz")
    np.testing.assert_array_equal(region == 0, kept | (voxels(result.folder / "brain_mask.nii.gz")[0] == 0))
    found = record(result.folder)
    assert found["outline_invented"] is False and "brain_region.nii.gz" in found["mask_files"]
    assert found["synthetic"] is True and found["partly_synthetic"] == ["T1", "FLAIR"]
    assert "PARTLY SYNTHETIC" in found["statement"] and "the patient's own" in found["statement"]
    assert found["local_edit"]["seam_mm"] == SEAM and len(found["local_edit"]["region_sha256"]) == 64
    assert set(found["local_edit"]["known_sha256"]) == {"T1", "FLAIR"}
    assert str(tmp_path) not in json.dumps(found)
    with Image.open(result.sheets[0]) as sheet:
        assert sheet.text["Description"].startswith("PARTLY SYNTHETIC")  # type: ignore[attr-defined]


def run(edit: Edit, model: Model, out: Path, **options: Any) -> Path:
    """One case with a model in memory; the folder of its results."""
    values = {**edit, "region": str(edit["region"])} | options
    [result] = run_batch(SynthesisRequest((str(mask_of(edit)),), **values), model, out, SilentReporter())
    assert result.state == "done", result.message
    return result.folder


def test_stored_intensities_are_the_nearest_whole_numbers() -> None:
    kept = [RealImage(np.zeros(1), IntensityRange(0, 1), IntensityRange(0, 1), whole) for whole in (True, False)]
    assert kept[0].stored(np.array([6.6, -6.6, 6.4])).tolist() == [7, -7, 6]
    assert kept[1].stored(np.array([6.5])).tolist() == [6.5]
    made = stored_intensities(np.array([-2, -1, -0.9991, -0.9989, 0.0011, 1, 2]))
    assert made.dtype == np.int16 and made.tolist() == [0, 0, 0, 1, 501, 1000, 1000]


def test_the_seam_leads_from_old_to_new(tmp_path: Path, edit: Edit) -> None:
    folder = run(edit, bright(), tmp_path / "out")
    kept, seam, _ = zones()
    real = scan(0.013, 0.5).astype(np.float32)
    data, _ = voxels(folder / "brain_sample-01_FLAIR.nii.gz")
    _, high = record(folder)["real_intensity"]["FLAIR"]
    np.testing.assert_array_equal(data[kept], real[kept])
    np.testing.assert_allclose(data[distances() <= RADIUS - 15], high, rtol=1e-3)  # farther in than a model voxel
    assert data[seam].min() >= real[seam].min() and data[seam].max() <= real.max()
    away = distances() - RADIUS
    shells = [seam & (away >= mm) & (away < mm + 2) for mm in (8, 6, 4, 2, 0)]
    steps = [(data - real)[shell].sum() / (high - real)[shell].sum() for shell in shells]
    assert 0 <= steps[0] < 0.05 and 0.3 < steps[-1] < 1
    assert (np.diff(steps) > 0).all() and np.diff(steps).max() < 0.3, "no edge is seen"


def test_nothing_outside_of_the_outline_changes(tmp_path: Path, edit: Edit) -> None:
    everywhere = tmp_path / "everywhere.nii.gz"
    write_image(everywhere, np.ones(SHAPE, np.uint8), AFFINE, "region")
    real = scan(0.013, 0.5).astype(np.float32) + 5  # bright outside, too
    flair = tmp_path / "flair.nii.gz"
    write_image(flair, real, AFFINE, "scan")
    folder = run(edit, bright(), tmp_path / "out", region=str(everywhere), context=(f"FLAIR={flair}",))
    data, _ = voxels(folder / "brain_sample-01_FLAIR.nii.gz")
    outside = phantom(positions(SHAPE, AFFINE)) == 0
    np.testing.assert_array_equal(data[outside], real[outside])
    assert (data[~outside] != real[~outside]).mean() > 0.95


def test_the_region_is_where_the_tumor_of_two_masks_differs(tmp_path: Path, edit: Edit) -> None:
    mask, affine = voxels(mask_of(edit))
    former = mask.copy()
    tumor = np.isin(former, (1, 2, 3))
    former[tumor & (positions(SHAPE, AFFINE)[0] > CENTER[0])] = 4  # half of it was not there
    before = tmp_path / "before.nii.gz"
    write_image(before, former.astype(np.uint8), affine, "mask")
    folder = run(edit, bright(), tmp_path / "out", region=None, before=str(before), seam_mm=4.0)
    data, _ = voxels(folder / "brain_sample-01_FLAIR.nii.gz")
    made = data != scan(0.013, 0.5).astype(np.float32)
    differs = mask != former
    assert differs.any() and made[differs].all()
    assert not made[distance_to(differs, SPACING) > 3 + 4 + 4].any()  # margin, seam, a voxel
    assert len(record(folder)["local_edit"]["before_sha256"]) == 64
    with pytest.raises(AssertionError, match="nothing to inpaint"):
        run(edit, bright(), tmp_path / "same", region=None, before=str(mask_of(edit)))
    with pytest.raises(InputError, match="both a region and a mask"):
        SynthesisRequest((str(mask_of(edit)),), before="b", region="r", context=edit["context"])


def test_only_the_given_modalities_are_held(tmp_path: Path, edit: Edit) -> None:
    folder = run(edit, bright(), tmp_path / "out", context=edit["context"][:1])
    data, _ = voxels(folder / "brain_sample-01_FLAIR.nii.gz")
    inside = phantom(positions(SHAPE, AFFINE)) > 0
    assert (data[inside] == 1000).all()
    descriptions = [bytes(nib.load(folder / f"brain_sample-01_{m}.nii.gz").header["descrip"]) for m in ("T1", "FLAIR")]
    assert descriptions[0].startswith(b"PARTLY SYNTHETIC") and descriptions[1].startswith(b"SYNTHETIC")
    found = record(folder)
    assert found["partly_synthetic"] == ["T1"] and "other images are synthetic throughout" in found["statement"]
    alone = record(run(edit, bright(), tmp_path / "alone", context=edit["context"][:1], modalities=("FLAIR",)))
    assert "partly_synthetic" not in alone and alone["statement"].startswith("SYNTHETIC")


def turned(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same image with its axes in another order and direction."""
    turn = np.array([[2, -1], [0, 1], [1, -1]])
    return nib.orientations.apply_orientation(data, turn), AFFINE @ nib.orientations.inv_ornt_aff(turn, data.shape)


def test_a_scan_with_other_axes_is_the_same_scan(tmp_path: Path, edit: Edit) -> None:
    first = run(edit, bright(), tmp_path / "a")
    for name in ("t1", "flair", "region"):
        path = mask_of(edit).parent / f"{name}.nii.gz"
        data, affine = turned(np.asarray(nib.load(path).dataobj))
        write_image(path, data, affine, "turned")
    second = run(edit, bright(), tmp_path / "b")
    for path in first.glob("*.nii.gz"):
        np.testing.assert_array_equal(voxels(path)[0], voxels(second / path.name)[0])
    for path in first.glob("model-grid/*.nii.gz"):
        np.testing.assert_allclose(voxels(path)[0], voxels(second / "model-grid" / path.name)[0], rtol=1e-5)


def test_a_scan_on_another_grid_is_resampled(tmp_path: Path, edit: Edit) -> None:
    shape = (84, 100, 80)
    affine = affine_of("LPS", (2.0, 2.0, 2.0), shape)
    x, _, _ = positions(shape, affine)
    slope = np.where(phantom(positions(shape, affine)) > 0, 500.25 + x, 0).astype(np.float32)
    path = mask_of(edit).parent / "fine.nii.gz"
    write_image(path, slope, affine, "scan")
    folder = run(edit, bright(), tmp_path / "out", context=(f"T1={path}",))
    data, _ = voxels(folder / "brain_sample-01_T1.nii.gz")
    kept, _, _ = zones()
    own = positions(SHAPE, AFFINE)
    deep = kept & (phantom(own) > 0)
    for axis in range(3):
        deep &= np.roll(phantom(own) > 0, 1, axis) & np.roll(phantom(own) > 0, -1, axis)
    np.testing.assert_allclose(data[deep], 500.25 + own[0][deep], atol=1e-2)


# Going on, and doing again what changed
def change_region(edit: Edit) -> Edit:
    write_image(edit["region"], (distances() <= RADIUS + 8).astype(np.uint8), AFFINE, "region")
    return {}


def change_scan(edit: Edit) -> Edit:
    write_image(mask_of(edit).parent / "t1.nii.gz", np.rint(scan(7.5)).astype(np.int16), AFFINE, "scan")
    return {}


def change_seam(edit: Edit) -> Edit:
    return {"seam_mm": 0.0}


def change_format(edit: Edit) -> Edit:
    return {"compress": False}


def drop_the_scan(edit: Edit) -> Edit:
    return {"context": (), "region": None}


@pytest.mark.slow
@pytest.mark.parametrize("change", [change_region, change_scan, change_seam, change_format, drop_the_scan])
def test_what_changed_is_done_again(tmp_path: Path, tiny: Path, edit: Edit, change: Callable[[Edit], Edit]) -> None:
    def go(out: str, **options: Any) -> str:
        [result] = synthesize(mask_of(edit), tmp_path / out, tiny, **{**edit, **options})
        assert result.state != "failed", result.message
        return result.state

    assert [go("out"), go("out")] == ["done", "already done"]
    options = change(edit)
    assert [go("out", **options), go("out", **options)] == ["done", "already done"]
    go("fresh", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_without_compression_the_same_images(tmp_path: Path, edit: Edit) -> None:
    packed = run(edit, bright(), tmp_path / "packed", context=(), region=None)
    plain = run(edit, bright(), tmp_path / "plain", context=(), region=None, compress=False)
    names = {name.removesuffix(".gz") for name in contents(packed)}
    assert set(contents(plain)) == names and "model-grid/brain_mask.nii" in names
    listed = [*record(plain)["mask_files"], *record(plain)["samples"][0]["files"]]
    assert set(listed) == names
    for name in (n for n in names if n.endswith(".nii")):
        np.testing.assert_array_equal(voxels(plain / name)[0], voxels(packed / f"{name}.gz")[0])


# Command line and picture
def test_the_command_edits_a_scan(
    tmp_path: Path, tiny: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medddpm.cli.app import main

    def command(*more: str | Path) -> int:
        line = ["synth", mask_of(edit), "--out", tmp_path / "out", "--model", tiny, "--device", "cpu", *more]
        monkeypatch.setattr(sys, "argv", ["medddpm", *map(str, line)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    known = [part for entry in edit["context"] for part in ("--context", entry)]
    assert command(*known, "--region", edit["region"], "--blend-width", "6") == 0
    assert record(tmp_path / "out" / "brain")["local_edit"]["seam_mm"] == 6
    assert command(*known) == 2
    assert "no region" in capsys.readouterr().err.replace("\n", " ")


def test_the_pictures_go_through_the_region() -> None:
    labels = phantom(positions(SHAPE, AFFINE))
    region = np.zeros(SHAPE, bool)
    region[8:12, 20:25, 30:34] = True
    images = np.zeros((1, *SHAPE), np.float32)
    plain, edited = (Case(images, Volume(labels, AFFINE), load_scheme("brats"), r) for r in (None, region))
    assert edited.region is not None and edited.region[edited.center]
    assert not edited.region[plain.center]
