"""What jobs run with: the model cache, the handlers, and no more packages than they need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from job_folders import made_job
from medddpm import errors
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.handlers import ModelCache, default_handlers
from medddpm.jobs.runner import run_job

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return made_job(tmp_path)


def test_the_cache_keeps_one_model_and_notices_changes(tmp_path):
    loaded, alive = [], set()

    class Model:
        def __init__(self, *key):
            assert not alive, "the former model was still held"
            alive.add(id(self))
            loaded.append(key)

        def __del__(self):
            alive.discard(id(self))

    model = tmp_path / "modell ä"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    cache = ModelCache(Model)
    cache.get(model, "cpu", "bf16")
    cache.get(model, "cpu", "bf16")
    assert len(loaded) == 1
    cache.get(model, "cpu", "fp32")
    (model / "model.safetensors").write_bytes(b"22")
    cache.get(model, "cpu", "fp32")
    assert len(loaded) == 3
    cache.clear()
    assert not alive
    with pytest.raises(errors.InputError, match="nowhere"):
        cache.get(tmp_path / "nowhere")


def test_the_synthesis_handler_gets_the_cache_and_frees_it_when_memory_is_short(folder, monkeypatch, tmp_path):
    import types

    loaded, seen = [], []
    cache = ModelCache(lambda *key: loaded.append(key))

    def run(request, job, reporter, models):
        models.get(tmp_path)
        seen.append(request["sampler"])
        raise MemoryError

    monkeypatch.setitem(sys.modules, "medddpm.synthesis.job", types.SimpleNamespace(run=run))
    assert run_job(folder, {"toy": default_handlers(cache)["synthesis"]}) == 4
    cache.get(tmp_path)
    assert seen == ["ddim"] and len(loaded) == 2, "it was let go"


def test_watching_jobs_needs_neither_torch_nor_numpy():
    code = "import sys, medddpm.jobs.spool; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout.strip() == "[]"


def test_the_worker_needs_no_command_line_packages():
    code = "import sys, medddpm.jobs.__main__; print([m for m in ('torch', 'typer', 'rich') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout.strip() == "[]"
