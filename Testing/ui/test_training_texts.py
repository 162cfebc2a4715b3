"""What the panels of MedDDPM Training say, without Qt."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
for name in ("MedDDPMCore", "MedDDPMSlicer", "MedDDPMTraining"):
    if str(ROOT / name) not in sys.path:
        sys.path.insert(0, str(ROOT / name))

from medddpm.preparation import options  # noqa: E402
from medddpm.preparation.facts import SourceScan  # noqa: E402
from medddpm.preparation.options import PrepareOptions  # noqa: E402
from medddpm.training.monitor.verdict import KINDS  # noqa: E402
from medddpm.training.presets import PRESETS  # noqa: E402
from MedDDPMSlicerLib.RequestOptions import shownOptions  # noqa: E402
from MedDDPMTrainingLib.Orders import TrainChoices  # noqa: E402
from MedDDPMTrainingLib.Run import VERDICTS  # noqa: E402
from MedDDPMTrainingLib.SourceTable import linesOf, obstacles, toLeaveOut  # noqa: E402


def table(problems=(), cases=("a", "b", "c")):
    def case(name):
        return {"id": name, "patient": name, "images": {"T1": "x", "T2": "y"}, "mask": "m", "split": None}

    found = [dict(zip(("code", "severity", "sentence", "case", "file"), problem, strict=True)) for problem in problems]
    scan = {"layout": "brats", "modalities": ["T1", "T2"], "cases": [case(name) for name in cases], "problems": found}
    return SourceScan.from_dict(scan)


def test_all_choices_have_a_title_of_their_own():
    for told in (*shownOptions(PrepareOptions), *shownOptions(TrainChoices)):
        assert len(set(told.titles.values())) == len(told.titles), told.name
        assert told.help.endswith(".") and "--" not in told.help, "also a tooltip"


def test_the_panel_offers_what_the_core_knows():
    told = {one.name: one for one in (*shownOptions(PrepareOptions), *shownOptions(TrainChoices))}
    assert set(told["scheme"].titles) == set(options.SCHEMES)
    assert set(told["grid"].titles) == {"auto", *options.GRIDS}
    assert set(told["preset"].titles) == set(PRESETS)


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


def test_every_verdict_of_the_core_has_words():
    assert set(VERDICTS) == set(KINDS)
