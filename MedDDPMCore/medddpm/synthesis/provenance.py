"""``provenance.json``: where a synthetic image comes from, and the proof that a case is finished."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..files import write_text
from ..models.model import Model
from .case import INTENSITY_SCALE, PreparedCase
from .request import SynthesisRequest

NAME = "provenance.json"
STATEMENT = (
    "SYNTHETIC image, computed by a generative model from a mask. Not an image of a patient. "
    "Not for diagnosis, treatment or clinical conclusions."
)
DESCRIPTION = f"SYNTHETIC by MedDDPM {__version__} - not a patient, research only"


def fingerprint(
    request: SynthesisRequest, model: Model, sampler: str, steps: int, mask_hash: str, image_hash: str | None
) -> dict[str, Any]:
    """All that the images of a case depend on; two equal fingerprints mean equal images."""
    return {
        "mask_sha256": mask_hash,
        "image_sha256": image_hash,
        "model_sha256": model.weights_hash,
        "seeds": [request.seed + k for k in range(request.samples)],
        "sampler": sampler,
        "steps": steps,
        "precision": str(model.dtype).removeprefix("torch."),
        "modalities": list(request.modalities or model.config.modalities),
    }


def write_provenance(
    folder: Path, model: Model, case: PreparedCase, facts: dict[str, Any], seconds: float, files: list[str]
) -> None:
    """Write the record; done last, since its presence says that the case is whole."""
    record = {
        "synthetic": True,
        "statement": STATEMENT,
        **facts,
        "model": {
            "name": model.config.name,
            "licence": model.config.licence,
            "intended_use": model.config.intended_use,
        },
        "intensity": f"0 is empty space (network value -1), {INTENSITY_SCALE} the brightest (+1)",
        "placement": case.placement.to_dict(),
        "mask_check": list(case.sentences),
        "files": files,
        "device": _device_name(model.device),
        "seconds": round(seconds, 2),
        "versions": {"medddpm": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_text(folder / NAME, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def is_finished(folder: Path, facts: dict[str, Any]) -> bool:
    """True where ``folder`` holds the complete result of exactly these facts."""
    try:
        record = json.loads((folder / NAME).read_text(encoding="utf-8"))
        same = all(record.get(key) == value for key, value in facts.items())
        return same and all((folder / name).is_file() for name in record["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
