"""The dataset on the disks of the machines that train, where the shared disk is slower than training.

Every process copies its share, so that each machine has all of the training cases once.
"""

from __future__ import annotations

import getpass
import hashlib
import shutil
import tempfile
from pathlib import Path

from ..dataset import read_dataset_config
from ..errors import InputError
from ..files import atomic_path
from .config import TrainConfig
from .dataset import PreparedDataset
from .distributed import Team


class LocalDataset(PreparedDataset):
    """The training cases, copied to a folder of this machine that only this user can enter, until ``close``."""

    def __init__(self, folder: Path, local: Path, team: Team) -> None:
        self._local, self._team = local, team
        names = [f"{case.id}.safetensors" for case in read_dataset_config(folder).cases if case.split == "train"]
        local.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in names[team.local_rank :: team.local_size]:
            copy_once(Path(folder) / "cases" / name, local / name)
        team.barrier()
        super().__init__(folder, "train", local)

    def close(self) -> None:
        """Give the files free and, in the first process of this machine, delete them."""
        super().close()
        if self._team.local_rank == 0:
            shutil.rmtree(self._local, ignore_errors=True)


def open_dataset(config: TrainConfig, team: Team) -> PreparedDataset:
    """The training cases as ``config.scale.cache`` says; called by all processes of ``team`` at once."""
    folder = Path(config.dataset)
    if config.scale.cache == "map":
        return PreparedDataset(folder, "train")
    return LocalDataset(folder, local_folder(folder, config.scale.cache_folder), team)


def local_folder(dataset: Path, parent: str) -> Path:
    """Where the copies of ``dataset`` lie: a folder of this user in ``parent`` (empty: that for temporary files)."""
    key = hashlib.sha256(str(dataset.absolute()).encode()).hexdigest()[:12]
    return Path(parent or tempfile.gettempdir()) / f"medddpm-{getpass.getuser()}-{key}"


def copy_once(source: Path, copy: Path) -> None:
    """Copy a file; one of the same size and time of change, left by a run that was killed, is taken as it is.

    Raises InputError where the file cannot be read or the copy not be written.
    """
    try:
        wanted = source.stat()
        there = copy.stat() if copy.is_file() else None
        if there is not None and (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
            return
    except OSError as exc:
        raise InputError(
            f"The prepared case {source} cannot be read ({exc.strerror}). Prepare the dataset again."
        ) from exc
    with atomic_path(copy) as temporary:
        shutil.copy2(source, temporary)
