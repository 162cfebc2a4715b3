"""Completing the anatomy and making a growth series as jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from job_folders import last
from medddpm.anatomy import completion
from medddpm.anatomy.registration import register
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.handlers import default_handlers
from medddpm.jobs.runner import run_job
from medddpm.models.registry import load_model
from medddpm.sampling.sample import Known, SampleStep, sample
from synthesis_phantoms import affine_of, phantom, positions, save_tiny, voxels
from test_synthesis_anatomy import AFFINE, SHAPE, made, mask, model, record

assert mask and model  # fixtures


def job(place: Path, kind: str, mask: Path, model: Path, **options: Any) -> tuple[JobFolder, int]:
    """A job that has ended, and its exit code."""
    folder = JobFolder(place / kind)
    request = {"masks": [str(mask)], "model": str(model), "device": "cpu", "precision": "fp32", **options}
    folder.create(request, kind)
    return folder, run_job(folder, default_handlers())


@pytest.mark.slow
def test_the_anatomy_is_the_one_that_a_synthesis_with_this_seed_has(tmp_path: Path, model: Path, mask: Path) -> None:
    folder, code = job(tmp_path, "anatomy", mask, model, seed=4, mass_effect=0.5)
    assert code == 0, last(folder).message
    found = read_mask(folder.output("anatomy.nrrd")).volume
    result = made(mask, tmp_path / "out", model, seed=4, mass_effect=0.5)
    np.testing.assert_array_equal(found.data, voxels(result.folder / "brain_sample-01_anatomy.nii.gz")[0])
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    facts = json.loads(folder.output("facts.json").read_text(encoding="utf-8"))
    assert facts == record(result)["samples"][0]["anatomy"] and facts["mass_effect"] == 0.5


@pytest.mark.slow
def test_on_a_finer_grid_than_the_models_all_that_the_mask_shows_stays(tmp_path: Path, model: Path) -> None:
    shape = (70, 82, 64)
    affine = affine_of("RAS", (2.7, 2.6, 2.9), shape)
    given = phantom(positions(shape, affine))
    given[35:38, 40:44, 30:34] = 6  # ventricles, painted by hand
    path = tmp_path / "fine.nii.gz"
    write_image(path, given, affine, "mask")
    folder, code = job(tmp_path, "anatomy", path, model, labels=",".join(f"{v}={v}" for v in range(1, 12)))
    assert code == 0, last(folder).message
    found = read_mask(folder.output("anatomy.nrrd")).volume.data
    kept = given != 4
    np.testing.assert_array_equal(found[kept], given[kept])
    assert found[~kept].min() >= 4 and (found[~kept] > 4).mean() > 0.999


@pytest.mark.slow
def test_a_growth_series_is_one_job_with_one_seed(tmp_path: Path, model: Path, mask: Path) -> None:
    folder, code = job(tmp_path, "growth", mask, model, seed=3, frames=3, compress=False)
    assert code == 0, last(folder).message
    cases = sorted(folder.outputs.iterdir())
    assert [case.name for case in cases] == ["frame-001", "frame-002", "frame-003"]
    records = [json.loads((case / "provenance.json").read_text(encoding="utf-8")) for case in cases]
    assert [record["seeds"] for record in records] == [[3]] * 3
    assert len({record["samples"][0]["anatomy"]["map"] for record in records}) == 1
    tumors = [np.isin(voxels(case / f"{case.name}_mask.nii")[0], (1, 2, 3)) for case in cases]
    assert tumors[0].sum() < tumors[1].sum() < tumors[2].sum() and not (tumors[0] & ~tumors[2]).any()
    np.testing.assert_array_equal(tumors[2], np.isin(phantom(positions(SHAPE, AFFINE)), (1, 2, 3)))


def test_what_cannot_be_done_is_said(tmp_path: Path, model: Path, mask: Path) -> None:
    folder, code = job(tmp_path / "a", "anatomy", mask, save_tiny(tmp_path / "plain", steps=4))
    assert code == 2 and "has no tissue labels" in str(last(folder).message)
    for number, (frames, words) in enumerate(((None, "whole number"), (1, "2 to 200"), ("3", "whole number"))):
        folder, code = job(tmp_path / str(number), "growth", mask, model, frames=frames)
        assert code == 2 and words in str(last(folder).message)


@pytest.mark.slow
def test_a_tumor_that_is_painted_larger_needs_no_new_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    monkeypatch.setattr(completion, "register", lambda *given: fits.append(given) or register(*given))
    labels = phantom(positions(SHAPE, AFFINE))
    larger = labels.copy()
    larger[10:16, 20:26, 20:26][larger[10:16, 20:26, 20:26] == 4] = 2
    wider = labels.copy()
    wider[:, :, :12] = 0
    first = completion.complete_anatomy(Volume(labels, AFFINE), 31)
    second = completion.complete_anatomy(Volume(larger, AFFINE), 31)
    assert len(fits) == 1 and first.facts != second.facts, "the tumor pushes anew"
    monkeypatch.setattr(completion, "_FITS", {})
    np.testing.assert_array_equal(completion.complete_anatomy(Volume(larger, AFFINE), 31).fractions, second.fractions)
    assert len(fits) == 2
    completion.complete_anatomy(Volume(wider, AFFINE), 31)
    completion.complete_anatomy(Volume(labels, AFFINE), 32)
    assert len(fits) == 4
    for seed in range(40, 46):
        completion.complete_anatomy(Volume(labels, AFFINE), seed)
    assert len(completion._FITS) == completion.KEPT_FITS


def test_the_image_of_means_is_there_before_the_first_evaluation(model: Path) -> None:
    loaded = load_model(model, device="cpu", precision="fp32")
    condition = torch.zeros(1, 11, 48, 56, 48)
    condition[:, 8, 10:-10, 10:-10, 10:-10] = 1
    seen: list[SampleStep] = []
    sample(loaded, condition, steps=2, seed=1, callback=seen.append)
    assert [step.step for step in seen] == [0, 1, 2]
    first, inside = seen[0].x0[0], condition[0, 8] > 0
    assert first.shape == (2, 48, 56, 48) and (first[:, ~inside] == -1).all()
    assert (first[:, inside].std(1) < 1e-4).all() and (first[:, inside].mean(1) > -0.5).all()
    known = Known(torch.zeros(2, 48, 56, 48), torch.zeros(2, 48, 56, 48))
    seen.clear()
    sample(loaded, condition, steps=2, seed=1, callback=seen.append, known=known)
    assert (seen[0].x0 == 0).all(), "what is known is shown"
