"""Reading the layouts of others: every file finds its case by name, and whatever does not fit is named."""

from __future__ import annotations

import gzip
import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.labels.scheme import load_scheme
from medddpm.preparation.case_files import SourceScan, is_case_id, modality_name, patient_of
from medddpm.preparation.scan import scan_source
from medddpm.preparation.source_labels import labels_from_names
from medddpm.preparation.sources.brats import PARTS, split_name
from medddpm.preparation.sources.nnunet import channel_names, label_names
from medddpm.preparation.sources.table import scan_table
from source_phantoms import AFFINE, BRATS_2021, BRATS_2023, brats_case, write_tiny

USUAL = ("T1", "T1ce", "T2", "FLAIR")


def codes(scan: SourceScan) -> list[str]:
    return [problem.code for problem in scan.problems]


def only_problem(scan: SourceScan, *words: str) -> None:
    assert len(scan.problems) == 1, codes(scan)
    for word in words:
        assert word in scan.problems[0].sentence


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
    assert "t1/a_t2.nii.gz belongs to no case: its name says T2, but it lies in the folder of T1" in str(scan.problems)
    assert "stray.nii.gz belongs to no case" in str(scan.problems)


# --- nnU-Net --------------------------------------------------------------------------------------------------------

V2 = {"channel_names": {"0": "T1", "1": "T1Gd"}, "labels": {"background": 0, "tumor": 1}, "file_ending": ".nii.gz"}
V1 = {"modality": {"0": "FLAIR", "1": "T1w"}, "labels": {"0": "background", "1": "edema", "2": "necrosis"}}


def nnunet(folder: Path, plan: object, cases: tuple[str, ...] = ("BRATS_001", "BRATS_002")) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(plan), encoding="utf-8")
    for case in cases:
        write_tiny(folder / "labelsTr" / f"{case}.nii.gz")
        for channel in range(2):
            write_tiny(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
    return folder


@pytest.mark.parametrize(("plan", "names"), [(V2, ("T1", "T1ce")), (V1, ("T1", "FLAIR"))])
def test_nnunet_of_both_versions(tmp_path: Path, plan: object, names: tuple[str, ...]) -> None:
    scan = scan_source(nnunet(tmp_path, plan))
    assert (scan.layout, scan.modalities, scan.problems) == ("nnunet", names, ())
    first = "T1" if plan is V2 else "FLAIR"
    assert scan.cases[0].images[first] == tmp_path / "imagesTr" / "BRATS_001_0000.nii.gz"
    assert scan.cases[0].mask == tmp_path / "labelsTr" / "BRATS_001.nii.gz"


def test_nnunet_images_without_labels_are_told(tmp_path: Path) -> None:
    nnunet(tmp_path, {**V2, "numTraining": 5})
    write_tiny(tmp_path / "imagesTs" / "BRATS_009_0000.nii.gz")
    scan = scan_source(tmp_path)
    assert codes(scan) == ["count", "no-labels"]
    assert scan.errors == ()
    assert "imagesTs holds 1 cases without masks, such as BRATS_009" in scan.problems[1].sentence


def test_nnunet_strange_files_are_named(tmp_path: Path) -> None:
    nnunet(tmp_path, V2)
    write_tiny(tmp_path / "imagesTr" / "BRATS_003.nii.gz")
    write_tiny(tmp_path / "imagesTr" / "BRATS_001_0007.nii.gz")
    write_tiny(tmp_path / "labelsTr" / "BRATS_001.mha.nii")
    scan = scan_source(tmp_path)
    assert codes(scan) == ["unmatched-file"] * 3
    assert "no channel 7" in str(scan.problems)


def test_nnunet_cases_listed_file_by_file(tmp_path: Path) -> None:
    nnunet(tmp_path, V2, ())
    for name in ("x/one.nii.gz", "x/two.nii.gz", "y/mask.nii.gz"):
        write_tiny(tmp_path / name)
    listed = {
        "good": {"images": ["x/one.nii.gz", "x/two.nii.gz"], "label": "y/mask.nii.gz"},
        "few": {"images": ["x/one.nii.gz"], "label": "y/mask.nii.gz"},
        "out": {"images": ["x/one.nii.gz", "../../two.nii.gz"], "label": "y/mask.nii.gz"},
    }
    (tmp_path / "dataset.json").write_text(json.dumps({**V2, "dataset": listed}))
    scan = scan_source(tmp_path, "nnunet")
    assert scan.cases[0].images == {"T1": tmp_path / "x/one.nii.gz", "T1ce": tmp_path / "x/two.nii.gz"}
    assert {problem.case: problem.code for problem in scan.problems if problem.code != "missing-modality"} == {
        "few": "bad-entry",
        "out": "outside-folder",
    }


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ([], "must be an object"),
        ({"labels": {}}, "modality must name the channels"),
        ({**V2, "channel_names": {"0": "T1", "1": "t1n"}}, "names T1 or channel 1 twice"),
        ({**V2, "channel_names": {"a": "T1"}}, "no channel number"),
        ({**V2, "file_ending": ".png"}, "file_ending is '.png'"),
        ({**V2, "labels": {"tumor": "one"}}, "no label and its value"),
    ],
)
def test_nnunet_descriptions_that_make_no_sense(tmp_path: Path, plan: object, words: str) -> None:
    with pytest.raises(InputError, match=r"dataset\.json") as caught:
        scan_source(nnunet(tmp_path, plan))
    assert words in str(caught.value)


def test_nnunet_label_names_decide_what_values_mean() -> None:
    """nnU-Net's BraTS sets number edema 1 and necrosis 2, so reading them as BraTS would exchange the two."""
    scheme = load_scheme("brats")
    regions = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
    names = label_names({"labels": regions}, Path())
    assert names == ((1, "whole tumor"), (2, "tumor core"), (3, "enhancing tumor"))
    assert labels_from_names(names, scheme) == "1=2,2=1,3=3"
    task043 = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    assert labels_from_names(label_names({"labels": task043}, Path()), scheme) == "1=2,2=1,3=3"
    assert labels_from_names(((1, "hippocampus"),), scheme) is None
    assert labels_from_names((), scheme) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["channel_names", "modality", "labels", "file_ending"]), JSON, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_description_is_understood_or_refused_with_a_sentence(plan: dict[str, object]) -> None:
    for read in (channel_names, label_names):
        try:
            result = read(plan, Path("x"))
        except InputError as exc:
            assert str(exc).startswith(str(Path("x/dataset.json")))
        else:
            assert all(isinstance(entry, int) for entry in dict(result))


# --- table ----------------------------------------------------------------------------------------------------------


def table(folder: Path, text: str, name: str = "cases.csv", encoding: str = "utf-8") -> Path:
    for file in ("p1/t1.nii.gz", "p1/flair.nrrd", "p1/m.nii.gz", "p2/t1.nii.gz", "p2/m.nii.gz"):
        if file.endswith(".gz"):
            write_tiny(folder / file)
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_a_table_names_everything(tmp_path: Path) -> None:
    text = "case,patient,T1w,mask,split\nv1,p1,p1/t1.nii.gz,p1/m.nii.gz,training\nv2,p1,p2/t1.nii.gz,p2/m.nii.gz,val\n"
    scan = scan_source(table(tmp_path, text))
    assert (scan.layout, scan.modalities, scan.problems) == ("table", ("T1",), ())
    assert [(case.id, case.patient, case.split) for case in scan.cases] == [
        ("v1", "p1", "train"),
        ("v2", "p1", "validation"),
    ]
    assert scan.cases[0].images["T1"] == tmp_path / "p1/t1.nii.gz"


def test_a_table_from_a_spreadsheet(tmp_path: Path) -> None:
    """Semicolons, a byte-order mark, Windows line ends and separators, quoted cells, empty lines and columns."""
    text = 'Case;Mask;T1;\r\n"a";p1\\m.nii.gz;"p1\\t1.nii.gz";\r\n;;;\r\nb;p2/m.nii.gz;p2/t1.nii.gz;\r\n'
    scan = scan_source(table(tmp_path, text, encoding="utf-8-sig"))
    assert scan.problems == ()
    assert [case.id for case in scan.cases] == ["a", "b"]


def test_an_empty_mask_in_a_table_is_a_case_without_tumor(tmp_path: Path) -> None:
    scan = scan_source(table(tmp_path, "case,T1,mask\na,p1/t1.nii.gz,p1/m.nii.gz\nb,p2/t1.nii.gz,\n"))
    assert scan.errors == ()
    only_problem(scan, "The case b has no mask in the table: it is taken for a case without tumor")


def test_paths_count_from_the_source_where_it_is_given(tmp_path: Path) -> None:
    path = table(tmp_path / "data", "case,T1,mask\na,p1/t1.nii.gz,p1/m.nii.gz\n")
    moved = path.rename(tmp_path / "cases.csv")
    assert scan_source(tmp_path / "data", table=moved).problems == ()
    assert codes(scan_source(moved)) == ["unreadable", "unreadable"]
    absolute = f"case,T1,mask\na,{tmp_path}/data/p1/t1.nii.gz,{tmp_path}/data/p1/m.nii.gz\n"
    moved.write_text(absolute)
    assert scan_source(moved).problems == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no case"),
        ("case,T1,mask\n", "has no case"),
        ("case,T1\na,p1/t1.nii.gz\n", "lacks the column 'mask'; it has case, T1"),
        ("case,mask\na,p1/m.nii.gz\n", "no column of images"),
        ("case,T1,mask,age\na,p1/t1.nii.gz,p1/m.nii.gz,54\n", "unknown column 'age' with '54'"),
        ("case,T1,T1w,mask\na,p1/t1.nii.gz,p2/t1.nii.gz,p1/m.nii.gz\n", "two columns for T1"),
        ("case,T1,mask\na,p1/t1.nii.gz,p1/m.nii.gz,extra\n", "line 2: it has 4 entries for 3 columns"),
    ],
)
def test_tables_that_make_no_sense(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=r"cases\.csv") as caught:
        scan_source(table(tmp_path, text))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,p1/t1.nii.gz,p1/m.nii.gz,train\n" * 2, "line 3: the case a has a line already"),
        ("../a,p1/t1.nii.gz,p1/m.nii.gz,\nb,p1/t1.nii.gz,p1/m.nii.gz,\n", "line 2: the case is '../a'"),
        ("a,../t1.nii.gz,p1/m.nii.gz,\n", "line 2: '../t1.nii.gz' leads out of"),
        ("a,p1/gone.nii.gz,p1/m.nii.gz,\n", "gone.nii.gz does not exist"),
        ("a,p1/t1.nii.gz,p1/m.nii.gz,sometimes\n", "line 2: the split is 'sometimes'"),
    ],
)
def test_rows_that_make_no_sense(tmp_path: Path, row: str, words: str) -> None:
    scan = scan_source(table(tmp_path, "case,T1,mask,split\n" + row))
    assert words in scan.errors[0].sentence


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"case,T1\xff\xfe,mask\n")
    with pytest.raises(InputError, match="not UTF-8 text"):
        scan_source(path)


@given(st.text(alphabet=string.ascii_letters + '0123,;\t"\n\r ./\\caseT1mask', max_size=120))
@settings(max_examples=200, deadline=None)
def test_any_table_is_understood_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("case,mask,T1\n" + text, encoding="utf-8", newline="")
    try:
        found = scan_table(path)
    except InputError as exc:
        assert "any.csv" in str(exc)
    else:
        root = path.parent
        files = [file for case in found.cases() for file in (*case.images.values(), case.mask) if file]
        relative = [file for file in files if file.is_relative_to(root)]
        assert all(file.resolve().is_relative_to(root.resolve()) for file in relative)


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
