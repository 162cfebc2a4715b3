"""What the panels of MedDDPM Training say, without Qt."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
for name in ("MedDDPMCore", "MedDDPMSlicer", "MedDDPMTraining"):
    if str(ROOT / name) not in sys.path:
        sys.path.insert(0, str(ROOT / name))

from medddpm.preparation import options  # noqa: E402
from medddpm.preparation.case_files import SourceScan  # noqa: E402
from MedDDPMTrainingLib.Panels import Texts  # noqa: E402
from MedDDPMTrainingLib.SourceTable import linesOf, obstacles, toLeaveOut  # noqa: E402


def table(problems=(), cases=("a", "b", "c")):
    def case(name):
        return {"id": name, "patient": name, "images": {"T1": "x", "T2": "y"}, "mask": "m", "split": None}

    found = [dict(zip(("code", "severity", "sentence", "case", "file"), problem, strict=True)) for problem in problems]
    scan = {"layout": "brats", "modalities": ["T1", "T2"], "cases": [case(name) for name in cases], "problems": found}
    return SourceScan.from_dict(scan)


@pytest.mark.parametrize(
    ("offered", "core"),
    [
        (Texts.LAYOUTS, options.LAYOUTS),
        (Texts.REGISTRATIONS, options.REGISTRATIONS),
        (Texts.INTENSITIES, options.INTENSITIES),
        (Texts.OUTLINES, options.OUTLINES),
        (Texts.SCHEMES, options.SCHEMES),
        (Texts.GRIDS, ("auto", *options.GRIDS, Texts.OWN_GRID)),
    ],
)
def test_the_panels_offer_what_the_core_knows(offered, core):
    assert sorted(value for _, value in offered) == sorted(core)
    assert len({text for text, _ in offered}) == len(offered)


def test_what_needs_attention_comes_first_with_all_that_is_said_of_it():
    problems = [
        ("gap", "warning", "Thick slices.", "a", None),
        ("missing", "error", "The case c has no mask.", "c", None),
        ("stranger", "error", "old/x.nii belongs to no case.", None, "old/x.nii"),
        ("damaged", "error", "c is damaged.", "c", None),
    ]
    lines = linesOf(table(problems))
    assert [(line.key, line.severity) for line in lines] == [
        ("old/x.nii", "error"),
        ("c", "error"),
        ("a", "warning"),
        ("b", ""),
    ]
    assert lines[0].name == "x.nii" and lines[1].text == "The case c has no mask. c is damaged."
    assert lines[1].files == "2 of 2"


def test_leaving_out_takes_all_errors_and_keeps_what_was_left_out():
    problems = [
        ("m", "error", "No.", "c", None),
        ("s", "error", "No.", None, "x.nii"),
        ("w", "warning", "So.", "a", None),
    ]
    found = table(problems)
    out = toLeaveOut(linesOf(found), ["b"])
    assert sorted(out) == ["b", "c", "x.nii"]
    assert not obstacles(found, out)


def test_a_problem_of_the_whole_folder_cannot_be_left_out():
    lines = linesOf(table([("empty", "error", "Nothing is there.", None, None)], cases=()))
    assert [(line.key, line.name) for line in lines] == [("", "The folder")]
    assert toLeaveOut(lines, []) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("", None, None, None), "Waiting for the process"),
        (("prepare", 3, 20, 130.0), "Preparing cases – 3 of 20 – about 2 min left"),
        (("report", None, None, None), "Writing the report"),
    ],
)
def test_the_progress_of_a_preparation(arguments, expected):
    assert Texts.preparationText(*arguments) == expected


def test_every_verdict_of_the_core_has_words():
    assert set(Texts.VERDICTS) == {"improving", "flat", "diverging", "overfitting", "memorizing", "early"}
    assert Texts.verdictWords(None) == ("", "info") and Texts.verdictWords("diverging")[1] == "error"
