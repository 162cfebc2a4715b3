"""The small jobs that surround a synthesis: check, outline, convert, estimate; the first two with little installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mask_phantoms import SHAPE, affine, ball, brain, config, head
from medddpm.geometry.io import read_mask
from medddpm.geometry.itk import write_nrrd
from medddpm.geometry.volume import Mask, Volume, axis_codes
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.handlers import default_handlers
from medddpm.jobs.runner import run_job
from medddpm.labels.check import mend_mask
from medddpm.models.registry import load_model
from nibabel.orientations import aff2axcodes
from synthesis_phantoms import save_tiny
from test_checkpoints import tiny_weights, wrapped

CORE = Path(__file__).parents[2] / "MedDDPMCore"
BLOCK = "import sys\nfor name in ("
BLOCK += "'torch', 'nibabel', 'safetensors', 'PIL', 'typer', 'rich'): sys.modules[name] = None\n"


def run(tmp_path: Path, kind: str, request: dict[str, Any]) -> tuple[JobFolder, int]:
    folder = JobFolder(tmp_path / "job")
    folder.create(request, kind)
    return folder, run_job(folder, default_handlers())


def findings(folder: JobFolder) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.output("findings.json").read_text(encoding="utf-8"))
    return found


def last_event(folder: JobFolder) -> Event:
    return folder.events()[0][-1]


def labels_of(*parts: tuple[np.ndarray, int]) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    for part, value in parts:
        labels[part] = value
    return labels


def save(path: Path, data: np.ndarray) -> Path:
    write_nrrd(path, data, affine())
    return path


def test_check_tells_and_fix_mends_a_mask_without_brain(tmp_path: Path) -> None:
    mask = save(tmp_path / "mask.nrrd", labels_of((ball((20, 0, 10), 16), 2), (ball((20, 0, 10), 8), 3)))
    request = {"mask": str(mask), "labels": "2=2,3=3"}
    folder, code = run(tmp_path / "a", "check", request)
    assert code == 0
    told = findings(folder)
    assert not told["usable"] and told["fixed"] == []
    assert any(f["severity"] == "error" and f["fixable"] for f in told["findings"])
    folder, code = run(tmp_path / "b", "check", {**request, "fix": True})
    assert code == 0
    told = findings(folder)
    assert told["usable"] and told["fixed"]
    fixed = read_mask(folder.output("fixed.nrrd")).volume
    assert np.allclose(fixed.affine, affine(), atol=1e-6)
    assert set(np.unique(fixed.data)) == {0, 2, 3, 4}


def test_an_image_is_no_mask_and_is_not_mended_into_an_empty_one(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    image = save(tmp_path / "image.nrrd", np.where(brain(), draw.uniform(50, 255, SHAPE), 0).astype(np.float32))
    folder, code = run(tmp_path, "check", {"mask": str(image), "fix": True})
    assert code == 0
    told = findings(folder)
    assert not told["usable"] and [f["code"] for f in told["findings"]] == ["gray-image"]
    assert not folder.output("fixed.nrrd").exists()


def test_only_the_findings_that_were_named_are_cleaned_up() -> None:
    speck = np.zeros(SHAPE, bool)
    speck[24, 26, 30] = True
    island = np.zeros(SHAPE, bool)
    island[1:4, 1:4, 1:4] = True
    labels = labels_of((brain(), 4), (ball((20, 0, 0), 14), 2), (speck, 1), (island, 4))
    mask, own = Mask(Volume(labels, affine())), {v: v for v in (1, 2, 3, 4)}
    mended, done, left = mend_mask(mask, config(), labels=own, codes=("islands",))
    assert [f.code for f in done] == ["islands"]
    assert "specks" in {f.code for f in left.findings}
    data = mended.volume.data
    assert not data[island].any()
    assert data[24, 26, 30] == 1
    everything, done, _ = mend_mask(mask, config(), labels=own)
    assert {f.code for f in done} == {"islands", "specks"}
    assert everything.volume.data[24, 26, 30] != 1
    untouched, done, _ = mend_mask(mask, config(), labels=own, codes=())
    assert done == () and np.array_equal(untouched.volume.data, labels)


@pytest.mark.parametrize(("kind", "shape"), [("brain", brain), ("head", head)])
def test_outline_finds_what_stands_out(tmp_path: Path, kind: str, shape: Any) -> None:
    inside = shape()
    draw = np.random.default_rng(0)
    image = np.where(inside, draw.integers(150, 600, SHAPE), 0).astype(np.int16)
    if kind == "head":  # air is never quite empty
        image += draw.integers(0, 20, SHAPE).astype(np.int16)
    folder, code = run(tmp_path, "outline", {"image": str(save(tmp_path / "image.nrrd", image)), "kind": kind})
    assert code == 0
    found = read_mask(folder.output("outline.nrrd")).volume.data > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.95


def test_outline_of_nothing_is_a_sentence(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nrrd", np.zeros(SHAPE, np.int16))
    folder, code = run(tmp_path, "outline", {"image": str(image), "kind": "head"})
    last = last_event(folder)
    assert code == 2 and "Paint it by hand" in str(last.message)


def test_check_and_outline_need_neither_torch_nor_nibabel(tmp_path: Path) -> None:
    mask = save(tmp_path / "mask.nrrd", labels_of((brain(), 4), (ball((20, 0, 0), 14), 2)))
    image = save(tmp_path / "image.nrrd", np.where(brain(), 400, 0).astype(np.int16))
    for name, kind, request in (
        ("c", "check", {"mask": str(mask), "labels": "2=2,4=4", "fix": True}),
        ("o", "outline", {"image": str(image), "kind": "brain"}),
        ("n", "check", {"mask": str(CORE.parent / "Resources" / "SampleMasks" / "glioma.nii.gz")}),
    ):
        JobFolder(tmp_path / name).create(request, kind)
    code = BLOCK + (
        "from pathlib import Path\n"
        "import medddpm.masks\n"
        "from medddpm.jobs.folder import JobFolder\n"
        "from medddpm.jobs.handlers import default_handlers\n"
        "from medddpm.jobs.runner import run_job\n"
        "for name in 'con': print(run_job(JobFolder(Path(sys.argv[1]) / name), default_handlers()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(CORE)}
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert result.stdout.split() == ["0", "0", "2"], result.stderr
    last = last_event(JobFolder(tmp_path / "n"))
    assert "nibabel" in str(last.message) and "NRRD" in str(last.message)


def test_convert_makes_a_model_folder(tmp_path: Path) -> None:
    torch.save({"ema": wrapped(tiny_weights(), 12)}, tmp_path / "published.pt")
    folder, code = run(tmp_path, "convert", {"model": str(tmp_path / "published.pt"), "name": "head"})
    assert code == 0, last_event(folder)
    assert load_model(folder.output("model")).config.schedule.steps == 12


def test_convert_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    folder, code = run(tmp_path, "convert", {"model": str(tmp_path / "model.pt")})
    assert code == 2
    assert not folder.output("model").exists()


def test_estimate_of_a_request(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "tiny", steps=6)
    request: dict[str, Any] = {"masks": ["not-there.nrrd"], "model": str(model), "steps": 3, "device": "cpu"}
    folder, code = run(tmp_path / "one", "estimate", request)
    assert code == 0, last_event(folder)
    one = json.loads(folder.output("estimate.json").read_text())
    assert one["fits"] and one["advice"] == "" and one["device"] == "cpu" and one["seconds"] > 0
    folder, _ = run(tmp_path / "four", "estimate", {**request, "samples": 4})
    four = json.loads(folder.output("estimate.json").read_text())
    # The speed of the device is measured once a process, so four samples take four times one.
    assert four["seconds"] == pytest.approx(4 * one["seconds"])
    assert four["memory_bytes"] == one["memory_bytes"]


def test_axis_codes_are_nibabels() -> None:
    for seed in range(200):
        matrix = np.eye(4)
        turned, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
        matrix[:3, :3] = turned @ np.diag([1.0, 2.0, 0.5])
        if np.sort(np.abs(matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)), axis=0)[-1].min() > 0.75:
            assert axis_codes(matrix) == "".join(aff2axcodes(matrix))
