"""Set-up of the core's tests: one thread, and what several files share that is dear to make.

Helpers to import are in modules beside this one, such as small_models.py.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# One thread here and in every process that a test starts: sums are rounded differently by other numbers of threads, and
# several tests compare what two processes wrote byte by byte. Must be set before torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from medddpm.models.model import Model
from prepared_scans import prepared_dataset, write_scans
from small_models import SMALL, reference_network, small_config

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
