"""What the panels say, without Qt."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
for name in ("MedDDPMCore", "MedDDPMSlicer", "MedDDPMSynth"):
    if str(ROOT / name) not in sys.path:
        sys.path.insert(0, str(ROOT / name))

import typer  # noqa: E402
from medddpm.cli.options import given, with_options  # noqa: E402
from medddpm.errors import InputError  # noqa: E402
from medddpm.labels.findings import Finding  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from medddpm.options import option, options_table  # noqa: E402
from medddpm.synthesis.request import SynthesisRequest  # noqa: E402
from MedDDPMSlicerLib import RequestOptions, Texts  # noqa: E402
from MedDDPMSynthLib.Options import PLACED, advancedOptions, optionsOfScript, withWidget  # noqa: E402
from MedDDPMSynthLib.Panels.Texts import anatomySentence, anatomyShown, checkSummary, termsText  # noqa: E402
from typer.testing import CliRunner  # noqa: E402


def description(**changes):
    values = {
        "modalities": ("T1", "FLAIR"),
        "scheme": load_scheme("brats"),
        "grid": SimpleNamespace(shape=(80, 96, 80), spacing=(2.0, 2.0, 2.0)),
        "license": "CC-BY 4.0",
        "intended_use": "Research only.",
    }
    return SimpleNamespace(config=SimpleNamespace(**{**values, **changes}))


def test_the_summary_names_images_labels_with_colors_grid_license_and_use():
    text = Texts.modelSummary(description())
    for part in ("T1, FLAIR", "Peritumoral edema", "rgb(111, 184, 210)", "80 x 96 x 80 voxels of 2 mm", "CC-BY 4.0"):
        assert part in text
    assert "Research only." in text


def test_a_models_texts_cannot_bring_markup_into_the_summary():
    text = Texts.modelSummary(description(license='<img src="http://x">', intended_use="<b>all</b>"))
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
        (["warning", "info"], "usable; 1 warning"),
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


@dataclass(frozen=True)
class WithChurn(SynthesisRequest):
    """A request with one more option of the sampler."""

    churn: float | None = option(None, "Noise added back at each step.", low=0, high=2, unit="times")


def test_an_option_is_one_field_for_the_command_line_jobs_slicer_and_documents():
    app, asked = typer.Typer(rich_markup_mode=None), []

    @app.command()
    @with_options(WithChurn)
    def command(**options):
        asked.append(WithChurn(("m.nii",), **given(options)))

    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "--churn" in shown and "Noise added back at each step." in shown and "0<=x<=2" in shown.replace(".0", "")
    assert CliRunner().invoke(app, ["--churn", "0.5"]).exit_code == 0 and asked[0].churn == 0.5
    assert CliRunner().invoke(app, ["--churn", "3"]).exit_code == 2

    job = asked[0].to_dict()
    assert WithChurn.from_dict(job) == asked[0] and job["churn"] == 0.5
    with pytest.raises(InputError, match="churn is 3, but must be 0 to 2 times"):
        WithChurn.from_dict(job | {"churn": 3})

    told = advancedOptions(WithChurn)[-1]
    assert (told.label, told.help, told.unit) == ("Churn", "Noise added back at each step.", "times")
    assert RequestOptions.rangeOf(told) == (0, 2) and RequestOptions.defaultOf(told) == 0
    node = SimpleNamespace(**{RequestOptions.parameterName(o.name): 0 for o in RequestOptions.shownOptions(WithChurn)})
    node.churn = 0.5
    assert RequestOptions.valuesOf(node, WithChurn)["churn"] == 0.5

    assert "| `churn` | `--churn` | 0 to 2 times |  | Noise added back at each step. |" in options_table(WithChurn)


def test_all_that_a_person_can_choose_has_a_place_in_the_panel():
    advanced = [told.name for told in advancedOptions()]
    own = ["sampler", "steps", "guidance", "device", "precision", "verify", "best_of", "on", "ignore_memory"]
    assert advanced == own
    assert {*advanced, *PLACED} == {told.name for told in RequestOptions.shownOptions(SynthesisRequest)}
    for told in advancedOptions():
        assert told.help.endswith(".") and not re.search(r"--[a-z]", told.help), "also a tooltip and a cell of a table"


def test_an_error_names_the_widget_that_helps():
    said = withWidget("It will not fit.", "ignore_memory")
    assert said == "It will not fit. See 'Start even if memory is short' under Advanced."
    assert withWidget("It is empty.", "labels") == withWidget("It is empty.", None) == "It is empty."


def test_scripts_name_options_as_slicer_does():
    wanted = optionsOfScript("reference", massEffect=0.5, seamMm=2.0, guidance=3.0, frames=4)
    assert (wanted.anatomy, wanted.mass_effect, wanted.seam_mm, wanted.frames) == ("reference", 0.5, 2.0, 4)
    with pytest.raises(InputError, match=r"no option 'mass_effect'.*massEffect"):
        optionsOfScript(mass_effect=0.5)
