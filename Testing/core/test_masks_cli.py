"""The mask tools on files: raw masks (tumor only), and masks with a brain, a head or tissues."""

from __future__ import annotations

from pathlib import Path

import mask_phantoms as phantoms
import medddpm.cli.tissues  # noqa: F401 - registers its command
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from medddpm.cli.masks import masks_app
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.labels.recognize import recognize
from medddpm.labels.scheme import load_scheme
from test_masks import ball, make_affine, make_labels, require_same_outline, tumor, with_tissues, world
from typer.testing import CliRunner, Result

TOOLS = (
    ["scale", "--factor", "1.2"],
    ["shift", "--by", "-10,0,5"],
    ["rotate", "--degrees", "0,0,30"],
    ["grow", "--by", "-2"],
    ["mirror", "--parts", "1,2,4"],
    ["new-lesion", "--seed", "3", "--diameter", "20", "--edema", "6"],
    ["series-scale", "--count", "3"],
    ["series-shift", "--sample", "2", "--reach", "5", "--step", "5"],
    ["series-growth", "--frames", "3"],
)


def run(source: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(masks_app, [arguments[0], str(source), str(out), *arguments[1:]])


def written(path: Path, labels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    write_image(path, labels, phantoms.affine() if affine is None else affine, "")
    return path


def made(out: Path) -> list[Path]:
    return sorted(out.glob("*.nii.gz")) if out.is_dir() else [out]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A skull-stripped image."""
    return written(tmp_path / "scan.nii.gz", np.where(phantoms.brain(), 100.0, 0.0))


@pytest.mark.slow(but="True-shift")
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool[0])
@pytest.mark.parametrize("shown", (False, True))
def test_tools_work_on_a_raw_mask_and_leave_it_raw(tmp_path: Path, scan: Path, tool: list[str], shown: bool) -> None:
    source, out = (
        written(tmp_path / "raw.nii.gz", phantoms.tumor()),
        tmp_path / ("out" if "series" in tool[0] else "o.nii.gz"),
    )
    result = run(source, out, *tool, *(("--image", str(scan)) if shown else ()))
    assert result.exit_code == 0, result.exception
    assert ("taken from the skull-stripped image" if shown else "not this patient's") in result.output
    assert "4 -> enhancing tumor" in result.output
    if tool[0] == "series-growth":  # masks of the same brain
        frames = [read_mask(path).volume.data for path in made(out)]
        assert all(np.array_equal(frame > 0, frames[0] > 0) for frame in frames)
        np.testing.assert_array_equal(np.array([0, 1, 2, 4, 0])[frames[-1]], phantoms.tumor())
        return
    for path in made(out):
        mask = read_mask(path)
        assert set(np.unique(mask.volume.data)) <= {0, 1, 2, 4}
        assert recognize(mask, load_scheme("brats")).mapping.items() <= {1: 1, 2: 2, 4: 3}.items()
        assert not shown or not (mask.volume.data[~phantoms.brain()]).any()


def test_a_raw_mask_keeps_what_its_numbers_can_say(tmp_path: Path) -> None:
    """A new part that the file has no number for, and names that a NIfTI file loses: the scheme's numbers."""
    no_core = np.where(phantoms.tumor() == 1, 4, phantoms.tumor())
    result = run(written(tmp_path / "raw.nii.gz", no_core), tmp_path / "o.nii.gz", *TOOLS[5])
    assert result.exit_code == 0, result.exception
    assert set(np.unique(read_mask(tmp_path / "o.nii.gz").volume.data)) == {0, 1, 2, 3}
    named = sitk.GetImageFromArray(np.array([0, 3, 2, 0, 1], np.uint8)[phantoms.tumor()].transpose(2, 1, 0))
    named.SetSpacing((phantoms.SPACING,) * 3)
    for number, name in enumerate(("Enhancing", "Edema", "Necrosis")):
        for field, value in (("ID", name), ("Name", name), ("LabelValue", str(number + 1)), ("Layer", "0")):
            named.SetMetaData(f"Segment{number}_{field}", value)
    sitk.WriteImage(named, str(tmp_path / "named.seg.nrrd"))
    result = run(tmp_path / "named.seg.nrrd", tmp_path / "o.nii.gz", "shift", "--by", "0,0,0")
    assert result.exit_code == 0, result.exception
    expected = np.array([0, 1, 2, 0, 3])[phantoms.tumor()]
    np.testing.assert_array_equal(read_mask(tmp_path / "o.nii.gz").volume.data, expected)


@pytest.mark.slow
def test_a_mask_that_would_be_misread_is_told_and_not_put_into_a_series(tmp_path: Path) -> None:
    tumor = 2 * (phantoms.ball((0, 0, 0), 35).astype(np.uint8) + phantoms.ball((0, 0, 0), 20))
    large = written(tmp_path / "large.nii.gz", tumor)
    result = run(large, tmp_path / "o.nii.gz", "scale", "--factor", "1.5")
    assert result.exit_code == 0 and "would be misread" in result.output
    result = run(large, tmp_path / "many", "series-scale", "--count", "3")
    assert result.exit_code == 0 and "(1): scale-2.00. " in result.output
    assert [path.name for path in made(tmp_path / "many")] == ["scale-0.50.nii.gz", "scale-1.25.nii.gz"]


def test_an_image_of_another_place_is_refused(tmp_path: Path, scan: Path) -> None:
    far = phantoms.affine()
    far[:3, 3] += 1000
    source = written(tmp_path / "raw.nii.gz", phantoms.tumor(), far)
    result = run(source, tmp_path / "o.nii.gz", *TOOLS[0], "--image", str(scan))
    assert isinstance(result.exception, InputError) and "overlap by 0 %" in str(result.exception)
    assert not (tmp_path / "o.nii.gz").exists()


@pytest.mark.slow
def test_commands_write_a_mask_in_the_place_of_the_input(tmp_path):
    affine = make_affine((2.5, 2.5, 2.5), angle=10)
    labels = make_labels(affine, (10, 0, 0))
    labels = np.where(world(affine)[..., 2] < 200, labels, 0).astype(np.uint8)
    source, out = written(tmp_path / "ein Gehirn ü.nii.gz", labels, affine), tmp_path / "out.nii.gz"
    for arguments in (
        *(tool for tool in TOOLS if tool[0] in ("scale", "shift", "rotate", "grow")),
        ["mirror", "--parts", "1,2,3"],
        ["new-lesion", "--seed", "3", "--diameter", "14", "--edema", "3", "--replace"],
        ["lesion", "--center", "-12,0,0", "--diameter", "10", "--edema", "3", "--parts", "enhancing,edema"],
    ):
        result = run(source, out, *arguments)
        assert result.exit_code == 0, result.output
        edited = read_mask(out).volume
        np.testing.assert_allclose(edited.affine, affine, atol=1e-4)
        require_same_outline(labels, edited.data.astype(np.uint8))
        assert not np.array_equal(edited.data, labels)
    result = run(source, tmp_path / "many", "series-shift", "--sample", "3")
    assert result.exit_code == 0 and len(made(tmp_path / "many")) == 3


def test_a_whole_head_stays_one(tmp_path: Path) -> None:
    source = written(tmp_path / "head.nii.gz", phantoms.whole_head())
    result = run(source, tmp_path / "o.nii.gz", "shift", "--by", "5,0,0")
    assert result.exit_code == 0, result.exception
    edited = read_mask(tmp_path / "o.nii.gz").volume.data
    np.testing.assert_array_equal(edited > 0, phantoms.whole_head() > 0)
    assert set(np.unique(edited)) == {0, 1, 2}


@pytest.mark.parametrize("options", [(), ("--scheme", "glioma-anatomy")])
def test_commands_keep_the_tissues_of_a_mask(tmp_path, options):
    affine = make_affine((2.5, 2.5, 2.5))
    labels = with_tissues(make_labels(affine), affine)
    source, out = written(tmp_path / "mask.nii.gz", labels, affine), tmp_path / "out.nii.gz"
    result = run(source, out, "grow", "--by", "4", *options)
    assert result.exit_code == 0, result.output
    edited = read_mask(out).volume.data
    stayed = ~tumor(edited)
    np.testing.assert_array_equal(edited[stayed], labels[stayed])
    forced = run(source, out, "grow", "--by", "4", "--scheme", "brats")
    assert forced.exit_code == 0 and read_mask(out).volume.data.max() == 4


def test_a_strange_value_is_no_tissue_where_no_scheme_is_named(tmp_path):
    affine = make_affine((2.5, 2.5, 2.5))
    labels = make_labels(affine)
    labels[ball(affine, (20, 0, 0), 6)] = 6
    source, out = written(tmp_path / "mask.nii.gz", labels, affine), tmp_path / "o.nii.gz"
    told = run(source, out, "mirror").exception
    assert "value 6" in str(told) and told.option == "labels"
    assert run(source, out, "mirror", "--labels", "1=1,2=2,3=3,4=4,6=0").exit_code == 0
    assert run(source, out, "mirror", "--scheme", "glioma-anatomy").exit_code == 0


def test_a_few_tissues_do_not_tell_where_the_tumor_may_be(tmp_path):
    labels = phantoms.tumor(3)
    labels[phantoms.ball((-30, 0, 0), 10)] = 6
    source, out = written(tmp_path / "mask.nii.gz", labels), tmp_path / "o.nii.gz"
    result = run(source, out, "shift", "--by", "0,10,0", "--scheme", "glioma-anatomy")
    assert result.exit_code == 0 and "not this patient's" in result.output, result.output
    edited = read_mask(out).volume.data
    np.testing.assert_array_equal(edited == 6, labels == 6)
    assert not (edited == 4).any()


@pytest.mark.parametrize("shown", (False, True))
def test_a_mask_cut_to_its_tumor_keeps_its_grid_or_gets_room(tmp_path: Path, scan: Path, shown: bool) -> None:
    low, high = (f(np.argwhere(phantoms.tumor()), axis=0) for f in (np.min, np.max))
    affine, out = phantoms.affine(), tmp_path / "o.nii.gz"
    affine[:3, 3] += affine[:3, :3] @ low
    cut = phantoms.tumor()[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    source, given = written(tmp_path / "cut.nii.gz", cut, affine), ("--image", str(scan)) if shown else ()
    result = run(source, out, "grow", "--by", "-4", *given)
    assert result.exit_code == 0, result.exception
    smaller = read_mask(out).volume
    assert smaller.shape == cut.shape and not (smaller.data[cut == 0]).any()
    np.testing.assert_allclose(smaller.affine, affine)
    result = run(source, out, "shift", "--by", "-12,0,0", *given)
    assert result.exit_code == 0 and "has a larger grid" in result.output, result.output
    moved = read_mask(out).volume
    centers = [
        np.argwhere(volume > 0).mean(axis=0) @ place[:3, :3].T + place[:3, 3]
        for volume, place in ((cut, affine), (moved.data, moved.affine))
    ]
    np.testing.assert_allclose(centers[1] - centers[0], (-12, 0, 0), atol=0.1)
