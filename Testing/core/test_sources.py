"""Reading the layouts of others: every file finds its case by name, and whatever does not fit is named."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.preparation.facts import is_case_id, modality_name, patient_of
from medddpm.preparation.scan import scan_source
from medddpm.preparation.sources.folders import PARTS, split_name
from source_phantoms import AFFINE, BRATS_2021, BRATS_2023, brats_case, codes, only_problem, write_tiny

USUAL = ("T1", "T1ce", "T2", "FLAIR")


# --- BraTS ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("case", "parts", "separator", "ending", "place", "patient"),
    [
        ("Brats18_TCIA02_370_1", BRATS_2021, "_", ".nii.gz", "HGG", "Brats18_TCIA02_370"),
        ("Brats18_2013_11_1", BRATS_2021, "_", ".nii", "LGG", "Brats18_2013_11"),
        ("BraTS19_CBICA_AAB_1", BRATS_2021, "_", ".nii", "HGG", "BraTS19_CBICA_AAB"),
        ("BraTS20_Training_001", BRATS_2021, "_", ".nii", "MICCAI/data", "BraTS20_Training_001"),
        ("BraTS2021_01476", BRATS_2021, "_", ".nii.gz", "", "BraTS2021_01476"),
        ("BraTS-GLI-00005-001", BRATS_2023, "-", ".nii.gz", "", "BraTS-GLI-00005"),
        ("BraTS-MET-00002-000", BRATS_2023, "-", ".nii.gz", "train", "BraTS-MET-00002"),
    ],
)
def test_brats_of_every_year(
    tmp_path: Path, case: str, parts: tuple[str, ...], separator: str, ending: str, place: str, patient: str
) -> None:
    home = brats_case(tmp_path, case, parts, separator, ending, place)
    (tmp_path / "survival_data.csv").write_text("not an image")
    (home / f"._{case}_t1.nii.gz").write_text("what a Mac leaves behind")
    scan = scan_source(tmp_path)
    assert (scan.layout, scan.modalities, scan.problems) == ("brats", USUAL, ())
    (found,) = scan.cases
    assert (found.id, found.patient, found.split) == (case, patient, None)
    assert found.images["T1ce"] == home / f"{case}{separator}{parts[1]}{ending}"
    assert found.mask == home / f"{case}{separator}seg{ending}"


def test_all_cases_in_one_folder(tmp_path: Path) -> None:
    for case in ("a_1", "a_10"):
        for part in BRATS_2021:
            write_tiny(tmp_path / f"{case}_{part}.nii.gz")
    scan = scan_source(tmp_path)
    assert [case.id for case in scan.cases] == ["a_1", "a_10"]
    assert all(path.name.startswith(f"{case.id}_") for case in scan.cases for path in case.images.values())


def test_visits_belong_to_their_patient(tmp_path: Path) -> None:
    for visit in ("000", "001"):
        brats_case(tmp_path, f"BraTS-GLI-00001-{visit}", BRATS_2023, "-")
    assert {case.patient for case in scan_source(tmp_path).cases} == {"BraTS-GLI-00001"}


def test_a_missing_modality_names_case_and_modality(tmp_path: Path) -> None:
    brats_case(tmp_path, "a")
    (brats_case(tmp_path, "b") / "b_t2.nii.gz").unlink()
    only_problem(scan_source(tmp_path), "The case b has no T2 image; 1 of 2 cases have one")


def test_a_missing_mask_is_an_error(tmp_path: Path) -> None:
    (brats_case(tmp_path, "a") / "a_seg.nii.gz").unlink()
    only_problem(scan_source(tmp_path), "The case a has no mask")


def test_a_mask_alone_is_one_problem(tmp_path: Path) -> None:
    brats_case(tmp_path, "a")
    brats_case(tmp_path, "b", ("seg",))
    only_problem(scan_source(tmp_path), "The case b has a mask, but no image")


def test_a_doubled_file_names_both(tmp_path: Path) -> None:
    home = brats_case(tmp_path, "a")
    write_tiny(home / "a_t1.nii")
    only_problem(scan_source(tmp_path), "a/a_t1.nii.gz is a second T1 image of the case a, beside a/a_t1.nii")


def test_one_case_in_two_folders_names_both(tmp_path: Path) -> None:
    brats_case(tmp_path, "a", place="HGG")
    brats_case(tmp_path, "a", place="LGG")
    scan = scan_source(tmp_path)
    assert set(codes(scan)) == {"doubled-case"}
    assert "LGG/a/a_flair.nii.gz belongs to the case a, whose files lie in HGG/a" in scan.problems[0].sentence


def test_a_file_that_fits_no_case_is_named(tmp_path: Path) -> None:
    home = brats_case(tmp_path, "BraTS20_Training_355")
    (home / "BraTS20_Training_355_seg.nii.gz").rename(home / "W39_1998.09.19_Segm.nii.gz")
    scan = scan_source(tmp_path)
    assert codes(scan) == ["unmatched-file", "no-mask"]
    assert scan.problems[0].file == "BraTS20_Training_355/W39_1998.09.19_Segm.nii.gz"


def test_names_that_differ_in_capitals_only(tmp_path: Path) -> None:
    brats_case(tmp_path, "case")
    brats_case(tmp_path, "Case", place="other")
    assert "doubled-case" in codes(scan_source(tmp_path))


# --- headers --------------------------------------------------------------------------------------------------------
def test_a_half_copied_file_is_found_without_reading_its_voxels(tmp_path: Path) -> None:
    home = brats_case(tmp_path, "a")
    path = write_tiny(home / "a_t2.nii.gz", (40, 40, 40))
    for part in BRATS_2021:
        write_tiny(home / f"a_{part}.nii.gz", (40, 40, 40))
    path.write_bytes(path.read_bytes()[:-200])
    only_problem(scan_source(tmp_path), "a_t2.nii.gz", "truncated")


def test_a_half_copied_plain_file_an_empty_and_a_strange_one(tmp_path: Path) -> None:
    home = brats_case(tmp_path, "a", ending=".nii")
    (home / "a_t1.nii").write_bytes((home / "a_t1.nii").read_bytes()[:400])
    (home / "a_t2.nii").write_bytes(b"")
    (home / "a_flair.nii").write_bytes(b"<html>Please log in</html>" * 20)
    problems = {Path(problem.file or "").name: problem.sentence for problem in scan_source(tmp_path).problems}
    assert "truncated" in problems["a_t1.nii"]
    assert "is empty" in problems["a_t2.nii"]
    assert "something else or damaged" in problems["a_flair.nii"]


def test_a_gzip_file_of_several_parts_is_whole(tmp_path: Path) -> None:
    home = brats_case(tmp_path, "a")
    data = gzip.decompress((home / "a_t1.nii.gz").read_bytes())
    (home / "a_t1.nii.gz").write_bytes(gzip.compress(data[:400]) + gzip.compress(data[400:]))
    assert scan_source(tmp_path).problems == ()


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((6, 5, 5), AFFINE, "6 x 5 x 5 against 6 x 5 x 4 voxels"),
        ((6, 5, 4), np.diag([-1.0, -1.0, 1.1, 1.0]), "up to 0.30 mm apart"),
        ((6, 5, 4), AFFINE + np.array([[0, 0, 0, 3.0], [0] * 4, [0] * 4, [0] * 4]), "up to 3.00 mm apart"),
    ],
)
def test_an_image_on_another_grid_than_its_mask(tmp_path: Path, shape, affine: np.ndarray, words: str) -> None:
    home = brats_case(tmp_path, "a")
    write_tiny(home / "a_t2.nii.gz", shape, affine)
    only_problem(scan_source(tmp_path), "The T2 image of the case a", words)


# --- Med-DDPM -------------------------------------------------------------------------------------------------------
def test_med_ddpm_folders_of_modalities_pair_by_name(tmp_path: Path) -> None:
    for case in ("BraTS2021_00529", "BraTS2021_01306"):
        for part in BRATS_2021:
            write_tiny(tmp_path / part / f"{case}_{part}.nii.gz")
    scan = scan_source(tmp_path)
    assert (scan.layout, scan.modalities, scan.problems) == ("med-ddpm", USUAL, ())
    for case in scan.cases:
        assert {path.name.removesuffix(f"_{path.parent.name}.nii.gz") for path in case.images.values()} == {case.id}


def test_med_ddpm_whole_head(tmp_path: Path) -> None:
    for name in ("sample_0", "sample_3"):
        write_tiny(tmp_path / "mask" / f"{name}.nii.gz")
        write_tiny(tmp_path / "image" / f"{name}.nii.gz")
    scan = scan_source(tmp_path)
    assert (scan.layout, scan.modalities, scan.problems) == ("med-ddpm", ("T1ce",), ())
    assert [case.id for case in scan.cases] == ["sample_0", "sample_3"]


def test_med_ddpm_never_pairs_by_order(tmp_path: Path) -> None:
    """Its published samples: the masks 0 to 2 and the image of mask 3. By order, image 3 would get mask 0."""
    for number in range(3):
        write_tiny(tmp_path / "mask" / f"sample_{number}.nii.gz")
    write_tiny(tmp_path / "image" / "sample_3.nii.gz")
    scan = scan_source(tmp_path)
    assert not [case for case in scan.cases if case.mask and case.images]
    assert sorted(codes(scan)) == ["no-images"] * 3 + ["no-mask"]


def test_med_ddpm_words_for_mask_and_image_in_the_names(tmp_path: Path) -> None:
    for number in (1, 2):
        write_tiny(tmp_path / "masks" / f"msk_{number}.nii.gz")
        write_tiny(tmp_path / "images" / f"img_{number}.nii.gz")
    scan = scan_source(tmp_path)
    assert scan.problems == ()
    assert {case.mask.name[-8:] == case.images["T1ce"].name[-8:] for case in scan.cases if case.mask} == {True}


def test_a_file_in_the_wrong_folder_is_named(tmp_path: Path) -> None:
    for part in BRATS_2021:
        write_tiny(tmp_path / part / f"a_{part}.nii.gz")
    (tmp_path / "t1" / "a_t1.nii.gz").rename(tmp_path / "t1" / "a_t2.nii.gz")
    write_tiny(tmp_path / "stray.nii.gz")
    scan = scan_source(tmp_path, "med-ddpm")
    assert codes(scan) == ["unmatched-file", "unmatched-file"]
    assert "t1/a_t2.nii.gz does not belong to any case: its name says T2, but it lies in" in str(scan.problems)
    assert "stray.nii.gz does not belong to any case" in str(scan.problems)


# --- names and the rest ---------------------------------------------------------------------------------------------
@given(st.from_regex(r"[A-Za-z0-9][\w.-]{0,20}", fullmatch=True), st.sampled_from(sorted(PARTS)), st.sampled_from("_-"))
def test_every_brats_name_tells_case_and_part(case: str, part: str, separator: str) -> None:
    assert split_name(f"{case}{separator}{part.upper()}.nii.gz") == (case, PARTS[part])


@given(st.text(max_size=40))
def test_any_name_has_a_patient_and_only_file_names_are_cases(text: str) -> None:
    assert patient_of(text) == text or text.startswith(patient_of(text))
    if is_case_id(text):
        assert Path(text).name == text and not text.startswith((".", "-"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("t1c", "T1ce"), ("T1-Gd", "T1ce"), ("T2 FLAIR", "FLAIR"), (" t1w ", "T1"), ("ADC", "ADC"), ("a/b", None)],
)
def test_spellings_of_modalities(text: str, name: str | None) -> None:
    assert modality_name(text) == name


def test_sources_that_cannot_be_scanned(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        scan_source(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no image files"):
        scan_source(tmp_path)
    for number in range(3):
        write_tiny(tmp_path / f"scan{number}.nii.gz")
    with pytest.raises(InputError, match=r"such as scan0\.nii\.gz, are not named like BraTS.*table"):
        scan_source(tmp_path)
    with pytest.raises(InputError, match="needs the CSV file"):
        scan_source(tmp_path, "table")
    with pytest.raises(InputError, match="layout 'bids' is not known"):
        scan_source(tmp_path, "bids")


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    home = brats_case(tmp_path, "a")
    try:
        (home / "again").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    assert [case.id for case in scan_source(tmp_path).cases] == ["a"]


def test_a_scan_is_plain_data_and_needs_no_torch(tmp_path: Path) -> None:
    brats_case(tmp_path, "a")
    code = (
        "import json, sys; from pathlib import Path; from medddpm.preparation.scan import scan_source;"
        "scan = scan_source(Path(sys.argv[1])); json.dump(scan.to_dict(), sys.stdout);"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["cases"][0]["mask"] == str(tmp_path / "a" / "a_seg.nii.gz")


def test_the_order_of_files_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("b", "a", "c"):
        brats_case(tmp_path, case)
    scan = scan_source(tmp_path)
    walk = os.walk

    def shuffled(*arguments: object, **options: object):
        for folder, folders, names in walk(*arguments, **options):  # type: ignore[call-overload]
            random.Random(5).shuffle(names)
            yield folder, folders, names

    monkeypatch.setattr(os, "walk", shuffled)
    assert scan_source(tmp_path) == scan
