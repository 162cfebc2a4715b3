"""Synthesis that cannot be: impossible requests, writes that fail, too little memory, weights that are no numbers."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
import torch
from medddpm import errors
from medddpm.config import GridConfig
from medddpm.errors import InputError, OutOfMemory
from medddpm.models import device
from medddpm.models.registry import save_model_folder
from medddpm.synthesis import batch, estimate
from medddpm.synthesis.estimate import memory_needed
from medddpm.synthesis.results import raise_failures
from small_models import reference_network
from synthesis_phantoms import contents, save_mask, save_tiny, tiny_config
from synthesis_runs import Recorder, leftovers, record, run_command, synthesize

SHAPES = ((16, 14, 16), (16, 18, 16))  # (D, H, W): of the model, and of the larger grid

pytestmark = pytest.mark.usefixtures("one_thread")

BAD = [
    ({"model": "no-such-model"}, r"The model 'no-such-model' does not exist.*known by name"),
    ({"device": "cuda:63"}, r"The device 'cuda:63' is not available"),
    ({"device": "toaster"}, r"The device 'toaster' is unknown\. Choose auto, cpu"),
    ({"precision": "fp8"}, r"The option precision is 'fp8', but must be one of auto, fp32"),
    ({"sampler": "euler"}, r"euler"),
    ({"steps": 0}, r"The option steps is 0, but must be 1 to 10000\."),
    ({"steps": 7}, r"7 sampling steps were asked for; this model allows 1 to 6\."),
    ({"samples": 0}, r"The option samples is 0, but must be 1 to 1000\."),
    ({"seed": -1}, r"The option seed is -1, but must be 0 to 9223372036854725807"),
    ({"images": ("a.nii", "b.nii")}, r"1 masks? but 2 images"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD)
def test_an_impossible_request_is_refused(
    tmp_path: Path, tiny: Path, mask: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        synthesize(mask, tmp_path / "out", **{"model": tiny, **options})
    assert not contents(tmp_path).keys() - {"in/brain.nii.gz"}


def test_the_out_folder_must_be_one(tmp_path: Path, tiny: Path, mask: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"The folder .*file/below cannot be made: .* Choose another folder\."):
        synthesize(mask, tmp_path / "file" / "below", tiny)


def test_a_write_that_fails_is_told_by_its_file(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nib, "save", full)
    [result] = synthesize(mask, tmp_path / "out", tiny)
    assert (result.state, result.exit_code) == ("failed", 2)
    assert "brain_mask.nii.gz could not be written: No space left on device." in result.message
    assert not contents(tmp_path / "out") and not leftovers(tmp_path / "out")


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you tried 9"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda e: type(e).__name__)
def test_out_of_memory_has_its_exit_code_and_advice(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(batch, "sample", fail)
    [result] = synthesize(mask, tmp_path / "out", tiny)
    assert result.exit_code == 4 and "There was not enough memory" in result.message and "choose" in result.message
    with pytest.raises(errors.MedDDPMError) as raised:
        raise_failures([result])
    assert raised.value.exit_code == 4


def test_what_cannot_fit_is_not_started(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimate, "available_memory", lambda *device: 1e6)
    reporter = Recorder()
    with pytest.raises(OutOfMemory, match=r"'tiny' needs about 0\.\d GB .* only 0\.0 GB are free\. What helps: close"):
        synthesize(mask, tmp_path / "out", tiny, precision="fp32", reporter=reporter)
    assert not reporter.steps
    code = run_command(monkeypatch, "synth", mask, "--model", tiny, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 4 and "Or start all the same. See --ignore-memory." in capsys.readouterr().err
    assert synthesize(mask, tmp_path / "out", tiny, ignore_memory=True)[0].state == "done"


def test_a_head_beyond_the_grid_gets_a_larger_one_or_is_refused_for_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(tiny_config(), grid=GridConfig((16, 14, 16), (10.0, 10.0, 10.0), "LPS"))
    state = reference_network(small.network).state_dict()
    save_model_folder(tmp_path / "small", small, state)
    save_mask(tmp_path / "mask.nii.gz")
    reporter = Recorder()
    [result] = synthesize(tmp_path / "mask.nii.gz", tmp_path / "out", tmp_path / "small", reporter=reporter)
    assert result.state == "done"
    said = "The mask does not fit the model's grid of 160 x 140 x 160 mm; one of 160 x 180 x 160 mm is used"
    assert any(said in sentence for sentence in reporter.warnings)
    grid = nib.load(tmp_path / "out/mask/model-grid/mask_sample-01_T1.nii.gz")
    assert grid.shape == (16, 18, 16)
    assert record(tmp_path / "out/mask")["placement"]["grid_shape"] == [16, 18, 16]
    needed = {shape: memory_needed(small.network, shape, torch.device("cpu"), torch.float32) for shape in SHAPES}
    monkeypatch.setattr(estimate, "available_memory", lambda *device: sum(needed.values()) / 2)
    [result] = synthesize(tmp_path / "mask.nii.gz", tmp_path / "no", tmp_path / "small", precision="fp32")
    assert (result.state, result.exit_code) == ("failed", 4) and said in result.message
    monkeypatch.setattr(device, "_native", lambda *device: ())
    assert run_command(monkeypatch, "check", tmp_path / "mask.nii.gz", "--model", tmp_path / "small") == 4
    assert said in capsys.readouterr().err


def test_weights_that_are_no_numbers_are_told(tmp_path: Path, mask: Path) -> None:
    broken = save_tiny(tmp_path / "broken", change=lambda weight: weight * float("nan"))
    sentences = []
    with contextlib.suppress(InputError):
        sentences = [result.message for result in synthesize(mask, tmp_path / "out", broken)]
    if not sentences:  # refused when it was loaded, even better
        with pytest.raises(InputError, match=r"NaN|not finite"):
            synthesize(mask, tmp_path / "out", broken)
    else:
        assert "not finite" in sentences[0]
    assert not list((tmp_path / "out").rglob("*sample*"))
