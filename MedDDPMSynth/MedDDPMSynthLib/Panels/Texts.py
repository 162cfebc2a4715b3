"""What the panels of this module say, as plain functions without Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from MedDDPMSlicerLib.Texts import counted


def termsText(description: Any) -> str:
    """Why the terms of a model, which stand in its summary, must be agreed to."""
    if description.licence.strip().lower() in ("", "unknown"):
        return "The license of this model is not known. Ask the people who gave it to you what you may do with it."
    return "The license and the intended use above restrict what you may do with this model and its images."


def checkSummary(findings: Sequence[Any]) -> str:
    """What the check says in one line."""
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    if errors:
        return f"Mask check: {counted(errors, 'problem')} must be put right before the images are generated."
    if warnings:
        return f"Mask check: usable; {counted(warnings, 'remark')} to look at."
    return "Mask check: the mask is ready."
