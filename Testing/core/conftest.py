"""Set-up of the core's tests: one thread, and the small model. Helpers to import are in small_models.py."""

from __future__ import annotations

import os

# One thread here and in every process that a test starts: sums are rounded differently by other numbers of threads, and
# several tests compare what two processes wrote byte by byte. Must be set before torch is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from medddpm.models.model import Model
from small_models import SMALL, reference_network, small_config

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_model() -> Model:
    """The reference network with T = 12, fp32 on the CPU."""
    return Model(small_config(), reference_network(SMALL), torch.device("cpu"), torch.float32, "0" * 64)
