"""Telling before a synthesis how long it takes and whether it fits, as a job: the model's weights are not loaded."""

from __future__ import annotations

import json
from typing import Any

from ..files import write_text
from ..jobs.folder import JobFolder
from ..models.device import choose_device, choose_precision
from ..models.places import find_config
from ..progress import Reporter
from ..sampling.solvers import sampler_and_steps
from ..sampling.unconditional import check_guidance, evaluations_per_step
from .estimate import estimate as estimated
from .estimate import memory_advice
from .request import SynthesisRequest

OUTPUT_NAME = "estimate.json"


def estimate(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write ``outputs/estimate.json`` for the synthesis ``request``; its masks need not exist.

    Fields: seconds, memory_bytes, available_bytes (null: unknown), fits, advice (a sentence, empty where it fits),
    device, precision. Raises InputError where the model, the device or the sampler cannot be used.
    """
    wanted = SynthesisRequest.from_dict(request)
    reporter.stage("estimate", "Estimating time and memory")
    config = find_config(wanted.model)
    device = choose_device(wanted.device)
    dtype = choose_precision(wanted.precision, device)
    _, steps = sampler_and_steps(config, wanted.sampler, wanted.steps)
    check_guidance(wanted.guidance, config)
    evaluations = steps * evaluations_per_step(wanted.guidance) * wanted.samples * len(wanted.masks)
    needed = estimated(config, evaluations, device, dtype)
    data = {
        "seconds": needed.seconds,
        "memory_bytes": needed.memory,
        "available_bytes": needed.available,
        "fits": needed.fits,
        "advice": "" if needed.fits else memory_advice(device, dtype),
        "device": str(device),
        "precision": {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[str(dtype).removeprefix("torch.")],
    }
    write_text(folder.output(OUTPUT_NAME), json.dumps(data) + "\n")
