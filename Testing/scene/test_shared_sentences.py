"""Sentences in Slicer name no path of a file that only we use."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from MedDDPMSlicerLib.PlainSentences import PLACE, REMEDY, plainSentence, sentenceOf, withoutStorage, wordsOf
from MedDDPMSlicerLib.Storage import Storage

FULL = "could not be written because the disk is full. Free space or choose another folder."
ROOTS = ["/home/Jane Doe/.local/MedDDPM", r"C:\Users\Jane Doe\AppData\Local\MedDDPM", r"\\server\homes\jd\MedDDPM"]
WORD = st.text(st.characters(categories=("L", "N"), include_characters="-_+ ("), min_size=1, max_size=12)
NAMES = WORD.map(str.strip).filter(lambda name: name and name[-1] not in ".,;:'\")]")
PLAIN_NAMES = NAMES.map(lambda name: name.replace(" ", "_").replace("(", ""))
BEFORE = st.sampled_from(["", "Something is wrong. ", "The disk says: ", "The folder ", "[Errno 28] No space: '"])
AFTER = st.sampled_from([f" {FULL}", ": It is damaged.", ".", "' has gone.", ", which is needed.", "\nand more"])


def below(root: str, *names: str) -> str:
    """A path below ``root`` in the spelling of its system."""
    return ("\\" if "\\" in root else "/").join([root, *names])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ROOTS), st.lists(PLAIN_NAMES.filter(bool), max_size=4), BEFORE, AFTER, st.booleans())
@example(ROOTS[1], ["seat-1", "synthesis", "0179-ab12", "outputs", ".part-17-T1.nii.gz"], "", f" {FULL}", True)
def test_no_path_below_the_storage_is_left(root: str, names: list[str], before: str, after: str, doubled: bool) -> None:
    path = below(root, "seat-1", *names, "file.nii.gz")
    path = path.replace("\\", "\\\\") if doubled else path  # as Python shows it in messages of the system
    plain = withoutStorage(f"{before}{path}{after}", [root])
    assert "Jane" not in plain and "MedDDPM/" not in plain and "MedDDPM\\" not in plain and ".nii" not in plain, plain
    assert PLACE in plain.replace("The s", "the s") and all(name not in plain for name in names if len(name) > 8)
    assert plain.endswith(after.replace("Free space or choose another folder.", REMEDY))
    assert withoutStorage(plain, [root]) == plain


@given(st.sampled_from(ROOTS), NAMES, st.sampled_from(["", "model-grid"]), st.sampled_from(["", ".part-12-"]))
def test_cases_may_be_called_anything(root: str, case: str, inner: str, part: str) -> None:
    folders = ["seat-1", "synthesis", "0179-ab12", "outputs", case, *([inner] if inner else [])]
    path = below(root, *folders, f"{part}{case}_sample-01_T1.nii.gz")
    expected = f"A file in {PLACE} could not be written because the disk is full. {REMEDY}"
    assert withoutStorage(f"{path} {FULL}", [root]) == expected
    assert withoutStorage(f"{below(root, *folders, 'provenance.json')} {FULL}", [root]) == expected


@given(st.sampled_from(ROOTS), PLAIN_NAMES.filter(bool), st.sampled_from(["models", "datasets", "runs"]))
def test_names_that_the_user_chose_stay(root: str, name: str, room: str) -> None:
    path = below(root, room, name, "checkpoints", "step-1.pt")
    expected = below(name, "checkpoints", "step-1.pt") if "\\" not in root else f"{name}\\checkpoints\\step-1.pt"
    assert withoutStorage(f"{path} {FULL}", [root]) == f"{expected} {FULL}", "there another folder can be chosen"


@given(st.text(max_size=60), st.sampled_from(ROOTS))
def test_other_sentences_stay_as_they_are(text: str, root: str) -> None:
    for other in (text, f"{root}-2/x is gone. Choose another folder.", "/data/scan 1.nii.gz is truncated. Copy it."):
        assert withoutStorage(other, [root]) == other


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("The job {}/seat-1/tools/07-a is in use.", "The job is in use."),
        ("The spool folder {}/seat-1/tools cannot be made.", f"The s{PLACE[5:]} cannot be made."),
        ("The job could not be submitted to {}/seat-1/tools: No space.", f"… to {PLACE}: No space."),
        ("{}/seat-1/a-1 could not be submitted again.", f"The s{PLACE[5:]} could not be submitted again."),
        ("There is no model '{}/models/gone'.", "There is no model 'gone'."),
        ("The model {}/models/a/b.safetensors is damaged.", "The model a/b.safetensors is damaged."),
        ("Nothing in {}.", f"Nothing in {PLACE}."),
    ],
)
def test_sentences_stay_sentences(sentence: str, plain: str) -> None:
    said = withoutStorage(sentence.format("/home/x/MedDDPM"), ["/home/x/MedDDPM"])
    assert said == plain.replace("…", "The job could not be submitted")


def test_files_of_a_request_have_words(storage: Storage) -> None:
    mask, scan, region = (str(storage.exchangeFile(".nrrd")) for _ in range(3))
    words = wordsOf({"masks": [mask], "images": [], "known": [f"T1={scan}"], "region": region, "model": "demo"})
    assert plainSentence(f"{mask} cannot be used.", words) == "The mask cannot be used."
    assert plainSentence(f"The known image {scan} lies elsewhere.", words) == "The real T1 image lies elsewhere."
    assert plainSentence(f"No. The region {region} is empty.", words) == "No. The changed region is empty."
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
        assert plainSentence(f"{root}/exchange/a.nrrd is gone.") == f"A file in {PLACE} is gone."
