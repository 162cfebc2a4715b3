"""Reading tables of cases: spreadsheets as they come, and rows that make no sense."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.preparation.scan import scan_source
from medddpm.preparation.sources.described import scan_table
from source_phantoms import codes, only_problem, write_tiny


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
        ("a,p1/t1.nii.gz,p1/m.nii.gz,train\n" * 2, "line 3: the case a already has a line"),
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
