"""Set-up of the core's tests: one thread, and what several files share that is dear to make.

Helpers to import are in modules beside this one, such as small_models.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

# One thread here and in every process that a test starts: sums are rounded differently by other numbers of threads, and
# several tests compare what two processes wrote byte by byte. Must be set before torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from edit_phantoms import Edit, made_edit
from medddpm.models.model import Model
from prepared_scans import prepared_dataset, write_scans
from small_models import SMALL, reference_network, small_config
from synthesis_phantoms import save_mask, save_tiny
from worker_processes import made_spool, toy_workers

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_model() -> Model:
    """The reference network with T = 12, fp32 on the CPU."""
    return Model(small_config(), reference_network(SMALL), torch.device("cpu"), torch.float32, "0" * 64)


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small cases of three patients; read only."""
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture
def copied(scans: Path, tmp_path: Path) -> Path:
    """The cases, to be spoiled."""
    return Path(shutil.copytree(scans, tmp_path / "scans"))


@pytest.fixture(scope="session")
def prepared(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of them, with one worker; read only."""
    return prepared_dataset(scans, tmp_path_factory.mktemp("prepared") / "dataset")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A good mask."""
    save_mask(tmp_path / "in" / "brain.nii.gz")
    return tmp_path / "in" / "brain.nii.gz"


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """A local edit of a scan beside it: options of a synthesis."""
    return made_edit(tmp_path / "in")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Results do not depend on how many threads other tests left torch with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """An empty folder for jobs, whose name is no ASCII."""
    return made_spool(tmp_path)


@pytest.fixture
def start(tmp_path: Path, spool: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start worker processes; none survives the test."""
    with toy_workers(tmp_path, spool) as launch:
        yield launch
