"""Training checkpoints: everything that an exact resume needs, written whole or not at all."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import atomic_path

KEEP = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write ``state`` (tensors and plain data) for ``step`` finished iterations; keep the newest ``KEEP``."""
    final = folder / f"step-{step:08d}.pt"
    with atomic_path(final) as temporary:
        torch.save({"step": step, **state}, temporary)
    for old in sorted(folder.glob("step-*.pt"))[:-KEEP]:
        old.unlink()
    return final


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a run, or None where there is none; loaded without unpickling code."""
    candidates = sorted(folder.glob("step-*.pt"))
    if not candidates:
        return None
    path = candidates[-1]
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as exc:
        raise InputError(
            f"The checkpoint {path} is damaged ({type(exc).__name__}). Move it away to go on from the one before."
        ) from exc


def require_same(stored: str, current: dict[str, Any], free: tuple[str, ...]) -> None:
    """Refuse to resume with another configuration; fields named in ``free`` may differ.

    Raises InputError naming the first field that differs and both values.
    """
    before = json.loads(stored)
    now = json.loads(json.dumps(current))
    for key in sorted(set(before) | set(now)):
        if key not in free and before.get(key) != now.get(key):
            raise InputError(
                f"This run was started with {key} = {before.get(key)}, the configuration now says {now.get(key)}. "
                "Restore the value or choose another output folder."
            )
