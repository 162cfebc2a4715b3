"""Reading datasets of nnU-Net: channels, labels, cases, and descriptions that make no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.labels.recognize import labels_from_names
from medddpm.labels.scheme import load_scheme
from medddpm.preparation.scan import scan_source
from medddpm.preparation.sources.described import channel_names, label_names
from source_phantoms import codes, write_tiny

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


def test_the_decathlons_4d_files_are_told_as_such(tmp_path: Path) -> None:
    nnunet(tmp_path, {**V1, "tensorImageSize": "4D"}, ())
    for folder in ("imagesTr", "labelsTr"):
        write_tiny(tmp_path / folder / "BRATS_001.nii.gz")
    with pytest.raises(InputError, match=r"Decathlon.*BRATS_001.*case_0000\.nii\.gz for FLAIR.*convert_MSD_dataset"):
        scan_source(tmp_path)
    write_tiny(tmp_path / "imagesTr" / "BRATS_001_0000.nii.gz")
    assert scan_source(tmp_path).cases


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
        ({**V2, "channel_names": {"a": "T1"}}, "not a channel number"),
        ({**V2, "file_ending": ".png"}, "file_ending is '.png'"),
        ({**V2, "labels": {"tumor": "one"}}, "not a label with its value"),
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
    assert labels_from_names(names, scheme) == {1: 2, 2: 1, 3: 3}
    task043 = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    assert labels_from_names(label_names({"labels": task043}, Path()), scheme) == {1: 2, 2: 1, 3: 3}
    assert labels_from_names(((1, "spleen"), (2, "edema")), scheme) == {2: 2}
    assert labels_from_names((), scheme) == {}


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
