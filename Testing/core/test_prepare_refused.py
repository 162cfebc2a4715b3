"""The preparation says what is wrong with a source, and where it does not fit on the disk."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from medddpm.dataset import read_dataset_config
from medddpm.errors import InputError
from medddpm.geometry.nifti import write_image
from medddpm.preparation import pipeline
from medddpm.preparation.pipeline import prepare
from prepared_scans import CASES, options, states
from source_phantoms import HEAD_AFFINE, brats_case, head_phantom, write_tiny


def refused(source: Path, out: Path, **changes: object) -> str:
    with pytest.raises(InputError) as caught:
        prepare(options(source, out, **changes))
    assert not (out / "dataset.json").exists()
    return str(caught.value)


def test_mixed_modalities_are_refused_until_settled(copied: Path, tmp_path: Path) -> None:
    (copied / "c3" / "c3_t2.nii.gz").unlink()
    out = tmp_path / "out"
    assert "The case c3 has no T2 image; 3 of 4 cases have one" in refused(copied, out)
    assert prepare(options(copied, out, modalities=("T1",))).cases == 4
    result = prepare(options(copied, out, leave_out=("c3",)))
    assert (result.cases, result.left_out) == (3, ("c3",))
    assert read_dataset_config(out).provenance["left_out"] == {"c3": "Left out as asked."}


def test_mismatched_grids_are_refused(copied: Path, tmp_path: Path) -> None:
    write_image(copied / "c3" / "c3_t2.nii.gz", head_phantom(2)[0]["t2"][:, :, :40], HEAD_AFFINE, "test")
    text = refused(copied, tmp_path / "out")
    assert "The T2 image of the case c3 (c3/c3_t2.nii.gz) has another grid than its mask: 50 x 60 x 40" in text


def test_a_half_copied_file_is_named_before_any_work(copied: Path, tmp_path: Path) -> None:
    path = copied / "c4" / "c4_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:20_000])
    assert f"{path} is truncated" in refused(copied, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_that_a_scan_cannot_see_is_told_with_all_other_cases_kept(copied: Path, tmp_path: Path) -> None:
    """Bytes turned over in the middle: the length is right, the voxels are not."""
    for case in ("c3", "c4"):
        path = copied / case / f"{case}_t1.nii.gz"
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
        path.write_bytes(data)
    out = tmp_path / "out"
    text = refused(copied, out)
    assert text.startswith("2 of 4 cases could not be prepared; the others are kept")
    assert "leave these cases out" in text and " c4: " in text
    assert f"{copied / 'c3' / 'c3_t1.nii.gz'} is truncated or damaged: " in text
    assert len(states(out)) == 2
    assert prepare(options(copied, out, leave_out=("c3", "c4"))).cases == 2


def test_labels_outside_the_scheme_are_named_and_can_be_given(copied: Path, tmp_path: Path) -> None:
    labels = head_phantom(3)[1]
    write_image(copied / "c4" / "c4_seg.nii.gz", np.where(labels == 2, 77, labels), HEAD_AFFINE, "test")
    text = refused(copied, tmp_path / "out")
    assert "c4" in text
    assert "77" in text
    with_labels = options(copied, tmp_path / "out", labels="1=1,2=2,4=3,77=2")
    assert prepare(with_labels).cases == 4


def test_two_cases_give_a_dataset_and_a_warning(copied: Path, tmp_path: Path) -> None:
    result = prepare(options(copied, tmp_path / "out", leave_out=("BraTS-GLI-00001",)))
    assert result.cases == 2
    assert any("There are 2 patients only" in sentence for sentence in result.sentences)
    assert {case.split for case in read_dataset_config(tmp_path / "out").cases} == {"train"}


def doubled(copied: Path) -> Path:
    """c3 once more, under another name."""
    home = copied / "again"
    home.mkdir()
    for path in (copied / "c3").iterdir():
        shutil.copy(path, home / path.name.replace("c3_", "again_"))
    return copied


def test_a_duplicated_patient_is_flagged_and_left_out_only_when_asked(copied: Path, tmp_path: Path) -> None:
    result = prepare(options(doubled(copied), tmp_path / "out"))
    assert result.cases == 5
    assert {flag["case"] for flag in result.flags if flag["code"] == "duplicate"} == {"again", "c3"}
    left_out = prepare(options(copied, tmp_path / "out", leave_out_flagged=True)).left_out
    assert "c3" in left_out
    assert "again" not in left_out
    assert "has the same" in read_dataset_config(tmp_path / "out").provenance["left_out"]["c3"]


def test_a_duplicated_patient_is_never_in_two_splits(copied: Path, tmp_path: Path) -> None:
    prepare(options(doubled(copied), tmp_path / "out", test_cases=("again",)))
    tested = {case.id for case in read_dataset_config(tmp_path / "out").cases if case.split == "test"}
    assert tested == {"c3", "again"}
    text = refused(copied, tmp_path / "other", test_cases=("c3",), validation_cases=("again",))
    assert "named for two splits" in text
    assert "Cases with the same images count as one patient" in text


def test_a_full_disk_is_told_before_the_work(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    text = refused(scans, tmp_path / "out")
    assert "4 cases need 0.00059 GB in" in text
    assert "but 0.0001 GB are free" in text


def test_a_disk_that_fills_up_ends_the_work_and_keeps_what_is_whole(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third case finds no space; what is written before is whole and found again."""
    write, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors":
            written.append(path)
            if len(written) > 2:
                write(path, data[:1000])
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "out"
    text = refused(scans, out)
    assert "No space left on device" in text
    assert len(written) == 3
    assert len(states(out)) == 2
    assert not list(out.rglob(".part-*"))
    monkeypatch.undo()
    assert prepare(options(scans, out)).cases == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leave_out": ("c9",)}, "'c9' is to be left out, but no case, patient or file has that name"),
        ({"leave_out": CASES}, "All 4 cases of"),
        ({"modalities": ("T1", "ADC")}, "The modality ADC was asked for, but"),
        ({"test_cases": ("c9",)}, "test case 'c9' is not among the cases"),
        ({"table": "nothing.csv"}, "nothing.csv"),
    ],
)
def test_wishes_that_the_source_cannot_fulfill(scans: Path, tmp_path: Path, changes: dict, words: str) -> None:
    assert words in refused(scans, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_stray_file_stops_until_it_is_left_out(copied: Path, tmp_path: Path) -> None:
    write_tiny(copied / "c3" / "scan.nii.gz")
    assert "c3/scan.nii.gz does not belong to any case" in refused(copied, tmp_path / "out")
    assert prepare(options(copied, tmp_path / "out", leave_out=("c3/scan.nii.gz",))).cases == 4


def test_source_and_dataset_lie_apart(copied: Path, tmp_path: Path) -> None:
    for out in (copied, copied / "out", tmp_path):
        assert "must not contain each other" in refused(copied, out)
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(copied, tmp_path / "file")


@pytest.mark.parametrize("name", ("dataset.json", "report.html", "cases/c0.json", "report/c0-sheet.png"))
def test_a_folder_of_something_else_is_not_overwritten(scans: Path, tmp_path: Path, name: str) -> None:
    """An nnU-Net data set has a ``dataset.json`` too."""
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"channel_names": {"0": "T1"}}')
    with pytest.raises(InputError, match="would be overwritten"):
        prepare(options(scans, tmp_path / "out"))
    assert path.read_text() == '{"channel_names": {"0": "T1"}}'
    path.unlink()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for folder in ("cases", "report"):
        (tmp_path / "out" / folder).mkdir(exist_ok=True)
    assert prepare(options(scans, tmp_path / "out")).cases == 4


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    brats_case(tmp_path / "scans", "whole")
    for number in range(14):
        brats_case(tmp_path / "scans", f"c{number}", ("t1", "t1ce", "t2", "flair"))
    text = refused(tmp_path / "scans", tmp_path / "out")
    assert "has 14 problems" in text
    assert text.endswith("And 4 more.")
