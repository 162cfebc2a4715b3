"""What the panels say, without Qt."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
for name in ("MedDDPMCore", "MedDDPMSlicer", "MedDDPMSynth"):
    if str(ROOT / name) not in sys.path:
        sys.path.insert(0, str(ROOT / name))

from medddpm.labels.findings import Finding  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib import Texts  # noqa: E402
from MedDDPMSynthLib.Panels.Texts import anatomySentence, anatomyShown, checkSummary, termsText  # noqa: E402


def description(**changes):
    values = {
        "modalities": ("T1", "FLAIR"),
        "labels": load_scheme("brats").labels,
        "gridShape": (80, 96, 80),
        "spacingMm": (2.0, 2.0, 2.0),
        "license": "CC-BY 4.0",
        "intendedUse": "Research only.",
    }
    return SimpleNamespace(**{**values, **changes})


def test_the_summary_names_images_labels_with_colors_grid_license_and_use():
    text = Texts.modelSummary(description())
    for part in ("T1, FLAIR", "Peritumoral edema", "rgb(111, 184, 210)", "80 x 96 x 80 voxels of 2 mm", "CC-BY 4.0"):
        assert part in text
    assert "Research only." in text


def test_a_models_texts_cannot_bring_markup_into_the_summary():
    text = Texts.modelSummary(description(license='<img src="http://x">', intendedUse="<b>all</b>"))
    assert "<img" not in text and "<b>all" not in text
    assert "&lt;img" in text


def test_the_grid_of_unequal_voxels_names_all_sides():
    assert Texts.gridText((4, 5, 6), (1.0, 1.0, 3.0)) == "4 x 5 x 6 voxels of 1 x 1 x 3 mm"


@pytest.mark.parametrize("license", ["", "unknown", " Unknown "])
def test_an_unknown_license_is_said_to_be_unknown(license):
    assert "not known" in termsText(description(license=license))
    assert "not known" not in termsText(description())


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("Sampling image 1 of 2", 12, 25, 40.0), "Sampling image 1 of 2 – step 12 of 25 – about 40 s left"),
        (("Preparing the mask", None, None, None), "Preparing the mask"),
        ((None, 0, 25, None), "step 0 of 25"),
        ((None, None, None, None), ""),
    ],
)
def test_progress_says_what_is_known(parts, expected):
    assert Texts.progressText(*parts) == expected


@pytest.mark.parametrize(("share", "percent"), [(None, None), (-0.1, 0), (0.0, 0), (0.504, 50), (1.0, 100), (1.2, 100)])
def test_percent_stays_within_bounds(share, percent):
    assert Texts.progressPercent(share) == percent


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (99, "99 s"), (360, "6 min"), (9000, "2.5 h"), (268_000, "3.1 days")]
)
def test_durations_have_their_unit(seconds, text):
    assert Texts.duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 MB"), (12 * 2**20, "12 MB"), (1.5 * 2**30, "1.5 GB")])
def test_sizes_have_their_unit(size, text):
    assert Texts.fileSize(size) == text


@pytest.mark.parametrize(
    ("severities", "expected"),
    [
        ([], "the mask is ready"),
        (["info"], "the mask is ready"),
        (["warning", "info"], "usable; 1 remark"),
        (["error", "error", "warning"], "2 problems must"),
    ],
)
def test_the_check_is_summed_up_by_its_worst_findings(severities, expected):
    findings = [Finding("code", severity, "A sentence.") for severity in severities]
    assert expected in checkSummary(findings)


def anatomy(**changes):
    known = {"midline_shift_mm": -3.16, "ventricles_before_ml": 30.2, "ventricles_after_ml": 21.7, "mass_effect": 1.0}
    return {**known, **changes}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (anatomy(), "Ventricles 22 mL (30 mL without the tumor), midline shift 3.2 mm to the patient's left."),
        (anatomy(midline_shift_mm=2.04), "Ventricles 22 mL (30 mL without the tumor), midline shift 2.0 mm to the"),
        (anatomy(midline_shift_mm=0.02), "Ventricles 22 mL (30 mL without the tumor), midline shift 0.0 mm."),
        (anatomy(mass_effect=0.0), "Ventricles 22 mL."),
        (anatomy(ventricles_after_ml=None), ""),
        (anatomy(midline_shift_mm="far"), ""),
        ({}, ""),
    ],
)
def test_what_the_tumor_did_to_the_anatomy_is_said_in_one_line(facts, expected):
    said = anatomySentence(facts)
    assert said.startswith(expected) and bool(said) == bool(expected)
    assert anatomyShown(facts).startswith(expected or "Edit the tissues")
