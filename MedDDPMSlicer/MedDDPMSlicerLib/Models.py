"""The models that a user can choose from, and what is to be known of each before using it.

Model folders are described without torch. A published ``.pt`` is first converted to a model folder by a job.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from medddpm.config import ModelConfig
from medddpm.errors import InputError, MedDDPMError
from medddpm.models.config_file import CONFIG_NAME, read_config
from medddpm.models.places import find_model, list_models

from .Job import Job
from .Storage import Settings

REMEMBERED, ACKNOWLEDGED, LAST = "modelFolders", "acknowledgedModels", "lastModel"
SENDS_TO = "computersWithConsent"
DEMO = "demo"
# Licences under which weights and what is made with them may be used without asking.
PERMISSIVE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")


@dataclass(frozen=True)
class ModelDescription:
    """What a person should know of a model.

    ``key`` is what requests name: the name of a bundled model or a path as text. ``permissive``: whether the license is
    one of the well-known free ones; others are to be acknowledged.
    """

    key: str
    title: str
    path: Path
    config: ModelConfig

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the images that the model makes."""
        return self.config.modalities

    @property
    def permissive(self) -> bool:
        """See the class."""
        return self.config.license.strip().casefold() in PERMISSIVE

    @property
    def steps(self) -> int:
        """Sampling steps unless told otherwise."""
        return min(self.config.sampler_steps, self.config.schedule.steps)


class ModelLibrary:
    """Bundled models, converted checkpoints (in ``modelsFolder``), and folders that were chosen before.

    ``toolsJobs`` (a JobMonitor) runs the conversion of checkpoints.
    """

    def __init__(self, modelsFolder: Path, settings: Settings, toolsJobs: Any = None) -> None:
        self._folder = Path(modelsFolder)
        self._settings = settings
        self._jobs = toolsJobs

    def entries(self) -> list[tuple[str, str]]:
        """(key, title) of all usable models: bundled, converted, remembered. What is broken or gone is left out."""
        found: dict[str, str] = {}
        converted = sorted(str(p) for p in self._folder.iterdir()) if self._folder.is_dir() else []
        for key in dict.fromkeys([*_bundled(), *converted, *self._settings.readList(REMEMBERED)]):
            with contextlib.suppress(MedDDPMError):
                found[key] = self.describe(key).title
        return list(found.items())

    def added(self) -> list[tuple[str, str]]:
        """(key, title) of those usable models that are not bundled."""
        bundled = _bundled()
        return [(key, title) for key, title in self.entries() if key not in bundled]

    def describe(self, key: str) -> ModelDescription:
        """What is to be known of a model. Raises InputError where it is gone, damaged or no model folder."""
        path = find_model(key)
        if not path.is_dir():
            raise InputError(
                f"{path} is a checkpoint file, not a model folder. Press 'Choose published .pt file…' to convert it."
            )
        config = _configOf(path, _stampOf(path / CONFIG_NAME))
        return ModelDescription(key, config.name, path, config)

    def remember(self, folder: str | Path) -> str:
        """Take a model folder into the list, if it is one; returns its key. Raises InputError where it is none."""
        key = str(Path(folder).expanduser().absolute())
        self.describe(key)
        known = self._settings.readList(REMEMBERED)
        if key not in known:
            self._settings.writeList(REMEMBERED, [*known, key])
        return key

    def forget(self, key: str) -> None:
        """Take a model out of the list; a converted one is deleted, a chosen folder stays where it is."""
        self._settings.writeList(REMEMBERED, [k for k in self._settings.readList(REMEMBERED) if k != key])
        path = Path(key)
        if path.parent == self._folder and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)

    def acknowledged(self, key: str) -> bool:
        """Whether the user has agreed to the terms of a model, or need not."""
        description = self.describe(key)
        return description.permissive or self._terms(description) in self._settings.readList(ACKNOWLEDGED)

    def acknowledge(self, key: str) -> None:
        """The user agrees to the terms of a model."""
        known = self._settings.readList(ACKNOWLEDGED)
        self._settings.writeList(ACKNOWLEDGED, sorted({*known, self._terms(self.describe(key))}))

    def sendsTo(self, host: str) -> bool:
        """Whether the user has agreed that images are sent to another computer."""
        return host in self._settings.readList(SENDS_TO)

    def allowSending(self, host: str) -> None:
        """The user agrees that images are sent there."""
        self._settings.writeList(SENDS_TO, sorted({*self._settings.readList(SENDS_TO), host}))

    @property
    def lastUsed(self) -> str:
        """The model that was chosen last; the demo where that is gone."""
        last = self._settings.read(LAST) or DEMO
        with contextlib.suppress(MedDDPMError):
            return self.describe(last).key
        return DEMO

    @lastUsed.setter
    def lastUsed(self, key: str) -> None:
        self._settings.write(LAST, key)

    def importCheckpoint(
        self,
        path: str | Path,
        name: str,
        onDone: Callable[[str], None] | None = None,
        onError: Callable[[str], None] | None = None,
    ) -> Any:
        """Convert a published ``.pt`` to a model folder by a job, which is returned.

        ``name`` becomes the folder's name. ``onDone`` gets the new key, ``onError`` a sentence. Raises InputError where
        the name is taken or impossible.
        """
        safe = re.sub(r"[^\w.+-]+", "_", name).strip("._")
        if not safe:
            raise InputError(f"'{name}' cannot be the name of a model: use letters and digits.")
        target = self._folder / safe[:60]
        if target.exists():
            raise InputError(f"There is already an imported model called '{name}'. Choose another name.")

        def take(outputs: Path) -> str:
            target.parent.mkdir(parents=True, exist_ok=True)
            (outputs / "model").replace(target)
            return self.remember(target)

        job = Job(self._jobs, ("convert", {"model": str(path), "name": name}), take, onDone, onError)
        job.outlivesScene = True
        return job

    @staticmethod
    def _terms(description: ModelDescription) -> str:
        """What is agreed to: these weights under this license."""
        return f"{description.config.weights_sha256 or description.path}|{description.config.license}"


@lru_cache(maxsize=64)
def _configOf(folder: Path, _stamp: object) -> ModelConfig:
    # The panel asks for every model whenever it changes; reading one takes 10 ms.
    return read_config(folder)


def _stampOf(path: Path) -> object:
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino
    return None


def _bundled() -> list[str]:
    return [name for name, path in list_models().items() if path.is_dir()]
