"""``medddpm synth`` and ``check``: what the options become, and which files of a folder are masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mask_phantoms import affine, anatomy, head, med_ddpm, tumor
from medddpm.cli.commands import app
from medddpm.synthesis import pipeline
from medddpm.synthesis.request import SynthesisRequest
from typer.testing import CliRunner
from volume_files import write_any


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs ``synth`` on a mask file with options; returns the request that comes of them."""
    mask = tmp_path / "mask.nii.gz"
    mask.touch()
    calls: list[SynthesisRequest] = []
    monkeypatch.setattr(pipeline, "run", lambda request, *_: calls.append(request) or [])

    def run(*options: str) -> SynthesisRequest:
        result = CliRunner().invoke(app, ["synth", str(mask), "--out", str(tmp_path / "out"), *options])
        assert result.exit_code == 0, result.output
        (request,) = calls
        assert request.masks == (str(mask),)
        return request

    return run


def test_without_options_the_request_is_the_usual_one(asked: Any) -> None:
    request = asked()
    assert request == SynthesisRequest(masks=request.masks)


def test_every_option_reaches_the_request(asked: Any) -> None:
    request = asked(
        *("--model", "m", "--samples", "2", "--seed", "9", "--sampler", "ddim", "--steps", "4", "--guidance", "2"),
        *("--device", "cpu", "--precision", "fp32", "--image", "a.nii", "--modality", "T1", "--modality", "T2"),
        *("--labels", "1=1", "--context", "T1=k.nii", "--region", "r.nii", "--blend-width", "3", "--ignore-memory"),
        *("--anatomy", "reference", "--mass-effect", "0.5", "--contrast", "mean", "--reference", "T1=f.nii"),
    )
    assert request == SynthesisRequest(
        **{"masks": request.masks, "model": "m", "samples": 2, "seed": 9, "sampler": "ddim", "steps": 4},
        **{"guidance": 2.0, "device": "cpu", "precision": "fp32", "images": ("a.nii",), "modalities": ("T1", "T2")},
        **{"labels": "1=1", "context": ("T1=k.nii",), "region": "r.nii", "seam_mm": 3.0, "ignore_memory": True},
        **{"anatomy": "reference", "mass_effect": 0.5, "contrast": "mean", "reference": ("T1=f.nii",)},
    )


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """A patient's folder: masks of several kinds, scans of several scalings, and what is damaged."""
    folder = tmp_path / "patient"
    (folder / "more").mkdir(parents=True)
    scan = np.where(head(), 200 + 100 * np.random.default_rng(1).random(head().shape), 0)
    aseg = np.array([0, 2, 4, 3, 42, 41, 43, 8, 10, 11, 12, 16], np.int32)
    soft = np.clip(1.5 - np.sqrt(sum((i - 24) ** 2 for i in np.indices(head().shape))) / 5, 0, 1)
    files = {
        "a_seg.nii.gz": med_ddpm(),
        "aparc+aseg.mgz": aseg[anatomy()],
        "core.nrrd": tumor(),
        "probability.nii": soft.astype(np.float32),
        "resampled.nii.gz": 0.5 * (med_ddpm().astype(np.float32) + np.roll(med_ddpm(), 1, 0)),
        "a_t1.nii.gz": scan.astype(np.int16),
        "a_flair.nii.gz": scan.astype(np.float32),
        "a_t2.mha": ((scan - scan.mean()) / scan.std()).astype(np.float32),
        "brain.mgz": np.rint(scan / 300 * 255).astype(np.uint8),
        "unit.nii.gz": (scan / 300).astype(np.float32),
        "symmetric.nii.gz": (scan / 150 - 1).astype(np.float32),
        "region.nii.gz": (tumor() > 0).astype(np.uint8),
        "more/b_seg.nii.gz": med_ddpm(),
    }
    for name, data in files.items():
        write_any(folder / name, data, affine())
    (folder / "damaged.nii.gz").write_bytes((folder / "a_seg.nii.gz").read_bytes()[:200])
    (folder / "notes.txt").touch()
    return folder


MASKS = ["a_seg.nii.gz", "aparc+aseg.mgz", "core.nrrd", "damaged.nii.gz", "probability.nii", "resampled.nii.gz"]
SCANS = ["a_flair.nii.gz", "a_t1.nii.gz", "a_t2.mha", "brain.mgz", "symmetric.nii.gz", "unit.nii.gz"]


def test_masks_are_told_from_scans_and_all_is_said(
    patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []
    monkeypatch.setattr(pipeline, "run", lambda request, *_: given.extend(map(Path, request.masks)) or [])
    options = ["--context", f"T1={patient}/a_t1.nii.gz", "--region", f"{patient}/region.nii.gz"]
    result = CliRunner().invoke(app, ["synth", str(patient), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    assert [path.name for path in given] == MASKS
    for name in MASKS:
        assert f"{name} is taken as a mask." in result.output
    for name in SCANS:
        why = "It is named as another input." if name == "a_t1.nii.gz" else "This looks like a grayscale image"
        assert f"{name} is left out. {why}" in result.output
    assert "region.nii.gz is left out. It is named as another input." in result.output
    assert "The subfolders contain 1 more" in result.output


@pytest.mark.slow
def test_a_folder_is_checked_mask_by_mask(patient: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(patient), "--model", "demo"])
    assert result.exit_code == 2 and "a_t1.nii.gz is left out." in result.output
    assert f"{patient / 'a_seg.nii.gz'} can be used." in result.output
    assert f"Error: {patient / 'damaged.nii.gz'} is truncated or damaged" in result.output
    assert f"{patient / 'core.nrrd'} cannot be used as it is" in result.output
    for name in [*MASKS, "region.nii.gz"]:
        if name != "core.nrrd":
            (patient / name).unlink()
    fixed = tmp_path / "fixed.nii.gz"
    result = CliRunner().invoke(app, ["check", str(patient), "--model", "demo", "--fix", str(fixed)])
    assert result.exit_code == 0 and fixed.exists(), result.output


def test_many_files_are_counted_and_none_is_a_sentence(patient: Path, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for n in range(12):
        write_any(tmp_path / "many" / f"{n}.nrrd", med_ddpm(), affine())
    result = CliRunner().invoke(app, ["check", str(tmp_path / "many"), "--model", "demo"])
    assert result.exit_code == 0 and "So are 2 of the other files" in result.output
    for name in MASKS:
        (patient / name).unlink()
    result = CliRunner().invoke(
        app, ["check", str(patient), "--model", "demo", "--image", str(patient / "region.nii.gz")]
    )
    assert "No file in" in str(result.exception) and "The subfolders contain 1 more" in str(result.exception)
    (tmp_path / "empty").mkdir()
    result = CliRunner().invoke(app, ["check", str(tmp_path / "empty"), "--model", "demo"])
    assert "holds no mask file (.seg.nrrd" in str(result.exception)
