"""How jobs end: a code and a sentence for every exception, and a log that names nobody."""

from __future__ import annotations

import errno
import logging
from pathlib import Path

import pytest
from job_folders import last, made_job, nothing
from medddpm import errors
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.outcome import EXIT_SENTENCES, outcome_of
from medddpm.jobs.runner import run_job

# Outcomes
TorchOutOfMemory = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return made_job(tmp_path)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("The mask is empty."), 2),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "T1.nii"), 2),
        (errors.Cancelled(""), 3),
        (KeyboardInterrupt(), 3),
        (errors.OutOfMemory("Too large."), 4),
        (MemoryError(), 4),
        (TorchOutOfMemory("CUDA out of memory. Tried to allocate"), 4),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), 4),
        (RuntimeError("could not create a primitive: not enough memory"), 4),
        (RuntimeError("MPS backend out of memory"), 4),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 4),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 5),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 5),
        (SystemExit(0), 5),
        (ZeroDivisionError("division by zero"), 5),
        (OSError("no number"), 5),
    ],
)
def test_every_exception_has_a_code_and_a_sentence(folder, error, code):
    def handler(request, job, reporter):
        raise error

    assert run_job(folder, {"toy": handler}) == code
    message = last(folder).message
    assert last(folder).exit_code == code and last(folder).event == ("cancelled" if code == 3 else "failed")
    assert message.endswith((".", ".)")) and "Traceback" not in message
    assert outcome_of(error).exit_code == code


def test_real_allocation_failure_of_torch_is_out_of_memory():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert outcome_of(caught.value).exit_code == 4


def test_sentences_for_all_codes():
    assert set(EXIT_SENTENCES) == {0, 2, 3, 4, 5} and all(s.endswith(".") for s in EXIT_SENTENCES.values())


def test_an_unknown_kind_names_the_known_ones(folder):
    assert run_job(folder, {"synthesis": nothing}) == 2
    assert "'toy'" in last(folder).message and "synthesis" in last(folder).message


# The log
def test_the_log_tells_where_but_not_who(folder):
    def handler(request, job, reporter):
        logging.getLogger("medddpm.somewhere").info("reading %s", request["mask"])
        reporter.warning("Doe_John is small.")
        try:
            raise FileNotFoundError(2, "No such file", request["mask"])
        except FileNotFoundError as exc:
            raise ValueError("shapes (3, 4) differ in 'knochen' of scans/Schmidt.mhd") from exc

    run_job(folder, {"toy": handler})
    text = folder.log_path.read_text(encoding="utf-8")
    assert folder.read().id in text and "in handler" in text and "ValueError" in text and "FileNotFoundError" in text
    assert "No such file" in text and "shapes (3, 4) differ" in text
    for secret in ("DOE", "Doe", "JOHN", "knochen", "nii.gz", "mhd", "Schmidt", str(folder.path)):
        assert secret not in text
    before = len(text)
    logging.getLogger("medddpm.somewhere").warning("after the job")
    assert len(folder.log_path.read_text(encoding="utf-8")) == before
