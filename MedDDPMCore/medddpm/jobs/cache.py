"""Keeping the last models in memory, so that the next job with the same one costs sampling time only."""

from __future__ import annotations

import gc
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError

# (path, device, precision) -> model
Loader = Callable[[Path, str, str], Any]
Stamp = tuple[tuple[str, int, int], ...]


class ModelCache:
    """The last ``size`` models, each known by its files (name, bytes, time of change), device and precision.

    A model that is replaced is let go before the new one is loaded: two never share the memory unless ``size`` says so.
    """

    def __init__(self, loader: Loader, size: int = 1) -> None:
        if size < 1:
            raise ValueError("a cache of models holds at least one")
        self._loader = loader
        self._size = size
        self._models: OrderedDict[tuple[str, Stamp, str, str], Any] = OrderedDict()
        self._names: tuple[str, ...] = ()

    def get(self, path: str | os.PathLike[str], device: str = "cpu", precision: str = "fp32") -> Any:
        """The model, loaded now or earlier. Raises InputError where its file is missing, and what the loader raises."""
        path = Path(path).absolute()
        key = (str(path), _stamp(path), device, precision)
        if key in self._models:
            self._models.move_to_end(key)
        else:
            self._make_room(self._size - 1)
            self._models[key] = self._loader(path, device, precision)
        self._note_names()
        return self._models[key]

    def clear(self) -> None:
        """Let all models go and give their memory back to the device."""
        self._make_room(0)

    def held(self) -> str | None:
        """What is warm, for people: "name on device, precision". May be asked from another thread."""
        return "; ".join(self._names) or None

    def _make_room(self, keep: int) -> None:
        if len(self._models) <= keep:
            return
        while len(self._models) > keep:
            self._models.popitem(last=False)
        self._note_names()
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _note_names(self) -> None:
        self._names = tuple(f"{Path(key[0]).name} on {key[2]}, {key[3]}" for key in self._models)


def _stamp(path: Path) -> Stamp:
    """Names, sizes and change times (ns) of a model's file, or of the files in its folder."""
    try:
        files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        return tuple((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    except OSError as exc:
        raise InputError(f"The model {path} cannot be read: {exc.strerror}. Check its name.") from exc
