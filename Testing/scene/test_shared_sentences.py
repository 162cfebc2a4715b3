"""Sentences in Slicer name no path of a file that only we use."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medddpm.errors import FREE_SPACE, InputError
from MedDDPMSlicerLib.Storage import Storage
from MedDDPMSlicerLib.Texts import PLACE, REMEDY, plainSentence, sentenceOf, wordsFor, wordsOf

FULL = f"could not be written because the disk is full. {FREE_SPACE}"


@given(st.text(max_size=60))
def test_other_sentences_stay_as_they_are(text: str) -> None:
    for other in (text, "/data/scan 1.nii.gz is truncated. Copy it.", f"/elsewhere/x {FULL}"):
        assert plainSentence(other) == other


def test_a_file_of_ours_that_could_not_be_written_is_told_with_what_helps(storage: Storage) -> None:
    """Whatever its case is called: the event names the file, so that nobody has to find it in the sentence."""
    path = str(storage.root / "seat-1" / "synthesis" / "0179-ab12" / "outputs" / "Jane's scan. 2" / "a b_T1.nii.gz")
    said = plainSentence(f"{path} {FULL}", wordsFor(path))
    assert said == f"A file in {PLACE} could not be written because the disk is full. {REMEDY}"
    assert sentenceOf(InputError(f"The spool folder {path} {FULL}", path=path)) == said
    assert wordsFor("/data/out/T1.nii.gz") == wordsFor(None) == {}, "the user's own keep their names"


def test_what_is_left_of_a_path_names_no_person(storage: Storage) -> None:
    said = plainSentence(f"There is no model '{storage.root / 'models' / 'gone'}'. Nothing in {storage.root}.")
    assert said == f"There is no model '{Path('models') / 'gone'}'. Nothing in {PLACE}."


def test_files_of_a_request_have_words(storage: Storage) -> None:
    mask, scan, region = (str(storage.exchangeFile(".nrrd")) for _ in range(3))
    words = wordsOf({"masks": [mask], "images": [], "context": [f"T1={scan}"], "region": region, "model": "demo"})
    assert plainSentence(f"{mask} cannot be used.", words) == "The mask cannot be used."
    assert plainSentence(f"The context image {scan} lies elsewhere.", words) == "The real T1 image lies elsewhere."
    assert plainSentence(f"No. The region {region} is empty.", words) == "No. The changed region is empty."
    assert plainSentence(f"No. {region} is empty.", words) == "No. The changed region is empty."
    assert plainSentence(f"Neither {mask} nor {scan}.", words) == "Neither the mask nor the real T1 image."
    theirs = wordsOf({"masks": ["/data/a case.nii.gz"], "image": None})
    assert plainSentence("/data/a case.nii.gz is empty.", theirs) == "a case.nii.gz is empty."
    assert wordsOf({"mask": mask, "image": scan}) == {mask: "the mask", scan: "the reference volume"}
    words = wordsOf({"masks": [mask], "reference": [f"T1={scan}"], "anatomy": region})
    assert plainSentence(f"The reference image {scan} is empty.", words) == "The reference T1 image is empty."
    assert plainSentence(f"{region} is empty.", words) == "The label map of the anatomy is empty."
    assert wordsOf({"masks": [mask], "anatomy": "seed"}) == {mask: "the mask"}, "a word is no file"


def test_errors_of_slicer_itself_are_plain(storage: Storage) -> None:
    path = storage.exchangeFile(".nrrd")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    assert sentenceOf(full) == f"A file in {PLACE} could not be written because the disk is full. {REMEDY}"
    assert sentenceOf(InputError(f"{path} is empty."), {str(path): "the mask"}) == "The mask is empty."


@pytest.mark.skipif(os.name != "posix", reason="links need no rights there")
def test_a_storage_behind_a_link_is_known_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    storage = Storage(tmp_path / "home" / "MedDDPM")
    for root in (storage.root, storage.root.resolve()):
        assert plainSentence(f"{root / 'models' / 'a'} is gone.") == f"{Path('models') / 'a'} is gone."
