"""The estimate of a training as a job of kind "train_estimate"."""

from __future__ import annotations

import json
from typing import Any

from ..files import write_text
from ..jobs.folder import JobFolder
from ..models.device import choose_device
from ..parse import from_dict
from ..progress import Reporter
from .config import TrainConfig
from .estimate import as_json, estimate_training

OUTPUT_NAME = "estimate.json"


def train_estimate(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write ``outputs/estimate.json`` for a training; ``request`` has the fields of ``TrainConfig``.

    Fields: seconds_per_iteration, seconds and, of these, monitor_seconds (null: not even the weights fit),
    memory_bytes, available_bytes (null: unknown), fits, advice (empty where it fits), disk_bytes, sentence, device,
    precision. Raises InputError where the configuration, the dataset or the device cannot be used.
    """
    config: TrainConfig = from_dict(TrainConfig, request, "The training")
    reporter.stage("estimate", "Estimating time and memory")
    found = estimate_training(config)
    data = as_json(found, choose_device(config.device), config.precision)
    write_text(folder.output(OUTPUT_NAME), json.dumps(data) + "\n")
