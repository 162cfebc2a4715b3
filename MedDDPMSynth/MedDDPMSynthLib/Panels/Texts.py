"""What the panels of this module say, as plain functions without Qt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from MedDDPMSlicerLib.Texts import _, counted


def termsText(description: Any) -> str:
    """Why the terms of a model, which stand in its summary, must be agreed to."""
    if description.config.license.strip().lower() in ("", "unknown"):
        return _("The license of this model is not known. Ask the people who gave it to you what you may do with it.")
    return _("The license and the intended use above restrict what you may do with this model and its images.")


def anatomySentence(facts: Mapping[str, Any]) -> str:
    """What is known of the anatomy of a sample, in one line; empty where nothing is."""
    shift, before, after = (facts.get(f) for f in ("midline_shift_mm", "ventricles_before_ml", "ventricles_after_ml"))
    if not all(isinstance(value, int | float) for value in (shift, before, after)):
        return ""
    said = _("Ventricles {after:.0f} mL").format(after=after)
    if facts.get("mass_effect"):
        side = (
            ""
            if round(abs(shift), 1) == 0
            else _(" to the patient's {value}").format(value=_("right") if shift > 0 else _("left"))
        )
        said += _(" ({before:.0f} mL without the tumor), midline shift {abs:.1f} mm{side}").format(
            before=before, abs=abs(shift), side=side
        )
    return f"{said}."


def verificationText(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What came of segmenting a sample again: a word with the mean Dice, and a sentence; empty where it was not."""
    word, score = facts.get("word"), facts.get("score")
    if not isinstance(word, str) or not isinstance(score, int | float):
        return (word if isinstance(word, str) else ""), ""
    names = {
        "tumor_whole": _("whole tumor"),
        "tumor_core": _("tumor core"),
        "tumor_enhancing": _("enhancing tumor"),
    }
    dice = facts.get("dice")
    known = dice if isinstance(dice, dict) else {}
    parts = ", ".join(f"{title} {known[name]:.2f}" for name, title in names.items() if name in known)
    said = _("Segmented again, Dice with the mask: {parts}.").format(parts=parts)
    if isinstance(facts.get("expected"), int | float):
        said += _(" In real images {expected:.2f} on average.").format(expected=facts["expected"])
    if rejected := facts.get("rejected"):
        said += _(" The best of {count}.").format(count=len(rejected) + 1)
    return f"{_(word)} ({score:.2f})", said


def anatomyShown(facts: Mapping[str, Any]) -> str:
    """What is said when the anatomy has become segments."""
    told = _("Edit the tissues and press Generate. Where they overlap, the one that comes first in the list counts.")
    return f"{anatomySentence(facts)} {told}".strip()


def checkSummary(findings: Sequence[Any]) -> str:
    """What the check says in one line."""
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    if errors:
        return _("Mask check: {counted} must be fixed before the images are generated.").format(
            counted=counted(errors, "problem")
        )
    if warnings:
        return _("Mask check: usable; {counted} to look at.").format(counted=counted(warnings, "warning"))
    return _("Mask check: the mask is ready.")
