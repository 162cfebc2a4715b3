"""The sample mask that comes with the extension: a brain with a glioma, in the values of the scheme "brats"."""

from __future__ import annotations

from pathlib import Path

from medddpm.errors import InputError

FILE = "glioma.nii.gz"


def sampleMaskPath() -> Path:
    """The mask file: beside the installed module, or in the repository. Raises InputError where it is gone."""
    here = Path(__file__).resolve()
    candidates = [parent / "Resources" / "SampleMasks" / FILE for parent in here.parents[1:3]]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(f"The sample mask is missing: {candidates[0]}. Install the extension again.")
