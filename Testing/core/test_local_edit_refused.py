"""Local edits that are refused: impossible requests, and files that do not belong together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from edit_phantoms import AFFINE, SHAPE, Edit, bright, mask_of
from medddpm.errors import InputError
from medddpm.geometry.nifti import write_image
from medddpm.progress import SilentReporter
from medddpm.synthesis.pipeline import run_batch
from medddpm.synthesis.request import SynthesisRequest
from synthesis_phantoms import contents
from synthesis_runs import synthesize


def elsewhere(edit: Edit, name: str) -> Path:
    """The file ``name`` of the edit, moved half a meter away."""
    path = mask_of(edit).parent / f"{name}.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] += 500
    write_image(path, np.asarray(nib.load(path).dataobj), moved, "moved")
    return path


def far_region(edit: Edit) -> Edit:
    elsewhere(edit, "region")
    return {}


def far_image(edit: Edit) -> Edit:
    elsewhere(edit, "t1")
    return {}


def half_image(edit: Edit) -> Edit:
    path = mask_of(edit).parent / "t1.nii.gz"
    write_image(path, np.asarray(nib.load(path).dataobj)[:20], AFFINE, "half")
    return {}


def empty_region(edit: Edit) -> Edit:
    write_image(edit["region"], np.zeros(SHAPE, np.uint8), AFFINE, "empty")
    return {}


def flat_image(edit: Edit) -> Edit:
    write_image(mask_of(edit).parent / "t1.nii.gz", np.full(SHAPE, 7, np.int16), AFFINE, "flat")
    return {}


def missing_image(edit: Edit) -> Edit:
    return {"context": ("T1=nowhere.nii.gz",)}


REFUSED = [
    (
        lambda e: {"context": ("T1 t1.nii",)},
        r"The context image 'T1 t1\.nii' is not understood\. Write it as MODALITY=FILE",
    ),
    (lambda e: {"context": ("=t1.nii",)}, r"The context image '=t1\.nii' is not understood"),
    (
        lambda e: {"context": ("T1=a.nii", "t1=b.nii")},
        r"two context images for t1\. Give one image for each",
    ),
    (lambda e: {"context": ("T2=a.nii",)}, r"a context image for T2, but the model 'tiny' makes T1, FLAIR\."),
    (lambda e: {"region": None}, r"context images but no region\. Give the label map"),
    (lambda e: {"context": ()}, r"a region to generate but no context image\. Give the images of the scan"),
    (lambda e: {"seam_mm": -1.0}, r"The option seam_mm is -1, but must be 0 to 50 mm\."),
    (lambda e: {"seam_mm": float("nan")}, r"The option seam_mm is nan"),
    (missing_image, r"nowhere\.nii\.gz does not exist"),
]


REFUSED_CASES = [
    (far_region, r"The region .*region\.nii\.gz does not overlap the mask in space\."),
    (empty_region, r"The region .* is empty: it has no voxel above 0\."),
    (far_image, r"The context image .*t1\.nii\.gz does not overlap the mask in space\."),
    (half_image, r"The context image .*t1\.nii\.gz covers only \d\d% of the mask\. Register it"),
    (flat_image, r"The context image .*t1\.nii\.gz is constant inside its mask\."),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_an_impossible_edit_is_refused(
    tmp_path: Path, tiny: Path, edit: Edit, change: Callable[[Edit], Edit], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        synthesize(mask_of(edit), tmp_path / "out", tiny, **{**edit, **change(edit)})
    assert not contents(tmp_path / "out")


@pytest.mark.parametrize(("change", "sentence"), REFUSED_CASES)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, edit: Edit, change: Callable[[Edit], Edit], sentence: str
) -> None:
    values = {**edit, "region": str(edit["region"]), **change(edit)}
    request = SynthesisRequest((str(mask_of(edit)),), **values)
    [result] = run_batch(request, bright(), tmp_path / "out", SilentReporter())
    assert result.state == "failed" and result.exit_code == 2
    assert re.search(sentence, result.message), result.message
    assert not contents(tmp_path / "out")


def test_a_request_goes_through_a_job_file(edit: Edit) -> None:
    request = SynthesisRequest(("m.nii",), context=edit["context"], region="r.nrrd", seam_mm=2.5, compress=False)
    assert SynthesisRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    with pytest.raises(InputError, match="seam_mm must be a number"):
        SynthesisRequest.from_dict({"masks": ["m.nii"], "seam_mm": "wide"})
    former = {"masks": ["m.nii"], "known": ["T1=t1.nii"], "region": "r.nrrd"}
    assert SynthesisRequest.from_dict(former).context == ("T1=t1.nii",)
