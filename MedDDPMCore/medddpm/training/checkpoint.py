"""Training checkpoints: everything that an exact resume needs, written whole or not at all, and kept by rule."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import atomic_path, read_bounded, write_text
from ..progress import Reporter, SilentReporter
from .sections import CheckpointConfig

_NAME = re.compile(r"step-(\d{8,10})\.pt")
_VALIDATION_NAME, _MAX_VALIDATION_BYTES = "validation.json", 4 * 1024 * 1024
_DAMAGE = (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


class Damaged(InputError):  # noqa: N818 - named as the user reads it
    """A checkpoint file cannot be read."""


class Checkpoints:
    """The checkpoints of one run, ``step-<iteration>.pt`` in ``folder``.

    Kept are the newest ones, one every ``keep_every`` iterations, and the best by validation, as ``config`` says.
    ``validation.json`` beside them holds the validation loss that was known when each was written.
    """

    def __init__(self, folder: Path, config: CheckpointConfig | None = None, reporter: Reporter | None = None) -> None:
        self.folder = Path(folder)
        self._config = config or CheckpointConfig()
        self._reporter: Reporter = reporter or SilentReporter()

    def steps(self) -> list[int]:
        """Finished iterations of the checkpoints that are there, the newest last."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir() if path.is_file())
        return sorted(int(match[1]) for match in found if match is not None)

    def path(self, step: int) -> Path:
        """Where the checkpoint of ``step`` finished iterations is."""
        return self.folder / f"step-{step:08d}.pt"

    def save(self, step: int, state: dict[str, Any], validation: float | None = None) -> Path:
        """Write ``state`` (tensors and plain data) for ``step`` finished iterations, then delete what the rule lets go.

        Raises InputError with a sentence where it cannot be written (a full disk); those before are kept then.
        """
        final = self.path(step)
        self._write(final, {"step": step, **state})
        known = {**self._validations(), step: validation}
        rated = {key: value for key, value in known.items() if value is not None and math.isfinite(value)}
        kept = self._kept(self.steps(), rated)
        with contextlib.suppress(InputError):  # without it the best is not known, which a full disk may cost
            write_text(
                self.folder / _VALIDATION_NAME, json.dumps({key: rated[key] for key in sorted(rated.keys() & kept)})
            )
        for old in set(self.steps()) - kept:
            with contextlib.suppress(OSError):  # Windows: someone reads it; the next save tries again
                self.path(old).unlink(missing_ok=True)
        return final

    def load_newest(self) -> dict[str, Any] | None:
        """The newest checkpoint that is whole, or None where there is none at all; loaded without unpickling code.

        A damaged one is put aside as ``<name>.damaged`` with a warning. Raises InputError where all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                checkpoint = read_checkpoint(self.path(step))
            except Damaged as exc:
                self._reporter.warning(f"{exc} The training resumes from the one before.")
                with contextlib.suppress(OSError):
                    self.path(step).replace(self.path(step).with_suffix(".pt.damaged"))
                continue
            if checkpoint.get("step") == step:
                return checkpoint
            raise InputError(f"{self.path(step)} is of iteration {checkpoint.get('step')}, not {step}. Rename it.")
        if steps:
            raise InputError(
                f"No checkpoint in {self.folder} can be read; those of the iterations {', '.join(map(str, steps))} are "
                "damaged. Copy an undamaged one there, or start a new training."
            )
        return None

    def _write(self, final: Path, state: dict[str, Any]) -> None:
        try:
            with atomic_path(final) as temporary, temporary.open("wb") as stream:
                try:
                    torch.save(state, stream)
                except RuntimeError as exc:  # torch's words for a write that failed
                    raise OSError(f"torch could not write it ({str(exc).splitlines()[0][:80]})") from exc
        except InputError as exc:
            kept, room = self.steps(), ""
            last = f"The last good one, of iteration {kept[-1]}, is kept." if kept else "There is none before it."
            with contextlib.suppress(OSError):
                room = f" {shutil.disk_usage(self.folder).free / 1e9:.1f} GB are free there."
            raise InputError(f"The checkpoint {exc} {last}{room}") from exc

    def _kept(self, steps: list[int], validations: dict[int, float]) -> set[int]:
        config = self._config
        kept = set(steps[-config.newest :])
        if config.keep_every:
            kept |= {step for step in steps if step % config.keep_every == 0}
        rated = [step for step in steps if step in validations]
        if config.best and rated:
            kept.add(min(rated, key=lambda step: (validations[step], step)))
        return kept

    def _validations(self) -> dict[int, float | None]:
        """What is known of each step; a file that is not readable as such says nothing."""
        try:
            data = json.loads(read_bounded(self.folder / _VALIDATION_NAME, _MAX_VALIDATION_BYTES))
        except (OSError, ValueError, RecursionError, InputError):
            return {}
        entries = data.items() if isinstance(data, dict) else ()
        return {int(key): float(value) for key, value in entries if key.isdecimal() and type(value) in (int, float)}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint in a file, on the CPU. Raises Damaged where a byte of it is not as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # torch itself does not look at the checksums
        if broken is not None:
            raise ValueError(f"wrong checksum of {broken}")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as exc:
        raise Damaged(f"The checkpoint {path} is damaged ({type(exc).__name__}).") from exc
    if not isinstance(checkpoint, dict):
        raise Damaged(f"The checkpoint {path} is damaged (it does not hold the state of a training).")
    return checkpoint


def random_state() -> dict[str, Any]:
    """The states of torch's random number generators now.

    Training draws from generators of its own, seeded by what they are for. This keeps a resumed run exact where a
    library draws from the global ones all the same.
    """
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": on_gpus}


def restore_random_state(state: dict[str, Any]) -> None:
    """The inverse of ``random_state``; GPUs that were not there then keep their states."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
