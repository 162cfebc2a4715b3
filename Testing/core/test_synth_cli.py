"""``medddpm synth``: what the options become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from medddpm.cli import synth
from medddpm.cli.app import app
from medddpm.synthesis import pipeline
from medddpm.synthesis.request import SynthesisRequest
from typer.testing import CliRunner

assert synth  # registers its command


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs ``synth`` on a mask file with options; returns the request that ``synthesize`` would make of them."""
    mask = tmp_path / "mask.nii.gz"
    mask.touch()
    calls: list[dict[str, Any]] = []

    def synthesize(masks: list[Path], out: Path, model: str, *, reporter: Any, **options: Any) -> list[Any]:
        calls.append({"masks": [str(path) for path in masks], "model": model, **options})
        return []

    monkeypatch.setattr(pipeline, "synthesize", synthesize)

    def run(*options: str) -> SynthesisRequest:
        result = CliRunner().invoke(app, ["synth", str(mask), "--out", str(tmp_path / "out"), *options])
        assert result.exit_code == 0, result.output
        (call,) = calls
        assert call["masks"] == [str(mask)]
        texts = {name: str(call[name]) for name in ("region", "before") if call[name] is not None}
        images = tuple(str(path) for path in call["images"])
        return SynthesisRequest(**{**call, "masks": tuple(call["masks"]), "images": images, **texts})

    return run


def test_without_options_the_request_is_the_usual_one(asked: Any) -> None:
    request = asked()
    assert request == SynthesisRequest(masks=request.masks)


def test_every_option_reaches_the_request(asked: Any) -> None:
    request = asked(
        *("--model", "m", "--samples", "2", "--seed", "9", "--sampler", "ddim", "--steps", "4", "--guidance", "2"),
        *("--device", "cpu", "--precision", "fp32", "--image", "a.nii", "--modality", "T1", "--modality", "T2"),
        *("--labels", "1=1", "--known", "T1=k.nii", "--region", "r.nii", "--seam", "3", "--ignore-memory"),
        *("--anatomy", "reference", "--mass-effect", "0.5", "--contrast", "mean", "--reference", "T1=f.nii"),
    )
    assert request == SynthesisRequest(
        **{"masks": request.masks, "model": "m", "samples": 2, "seed": 9, "sampler": "ddim", "steps": 4},
        **{"guidance": 2.0, "device": "cpu", "precision": "fp32", "images": ("a.nii",), "modalities": ("T1", "T2")},
        **{"labels": "1=1", "known": ("T1=k.nii",), "region": "r.nii", "seam_mm": 3.0, "ignore_memory": True},
        **{"anatomy": "reference", "mass_effect": 0.5, "contrast": "mean", "reference": ("T1=f.nii",)},
    )
