"""Prepared cases, as training reads them: files that are mapped into memory."""

from __future__ import annotations

import getpass
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..dataset import read_dataset_config
from ..errors import InputError
from ..files import atomic_path
from .config import TrainConfig

if TYPE_CHECKING:  # what only reads a dataset does without lightning-fabric
    from .distributed import Team

NAMES = ("images", "fractions")


def as_floats(images: Tensor, fractions: Tensor) -> tuple[Tensor, Tensor]:
    """Stored tensors, or parts of them, as float32: images in [-1, 1], fractions from 0 to 1."""
    return images.float(), fractions.float() / 255


class PreparedDataset(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The cases of one split as (images, fractions), both float32 (C, D, H, W).

    The files are mapped, not read: the system keeps of them in memory what fits, once for all processes of a machine.
    ``cases``: the folder with the cases' files, where it is not the one of the dataset. Raises InputError naming the
    file where a case is missing, damaged or not as described; a file must not be changed while it is mapped.
    """

    def __init__(self, folder: Path, split: str, cases: Path | None = None) -> None:
        self.folder = Path(folder)
        self.config = read_dataset_config(self.folder)
        self.cases = [case for case in self.config.cases if case.split == split]
        if not self.cases:
            raise InputError(f"The dataset {folder} has no case in the split '{split}'.")
        self._files = cases or self.folder / "cases"
        self._mapped: dict[int, tuple[Tensor, Tensor]] = {}
        for index in range(len(self.cases)):
            self.stored(index)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return as_floats(*self.stored(index))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        """For a process that prepares batches: it maps the files itself."""
        return {**self.__dict__, "_mapped": {}}

    def close(self) -> None:
        """Give the files free; they are mapped again when they are needed."""
        self._mapped = {}

    def stored(self, index: int) -> tuple[Tensor, Tensor]:
        """A case as it is stored, float16 and uint8, mapped: what is not looked at is not read."""
        if index in self._mapped:
            return self._mapped[index]
        path = self._files / f"{self.cases[index].id}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        except (OSError, SafetensorError) as exc:
            raise InputError(f"The prepared case {path} cannot be read ({exc}). Prepare the dataset again.") from exc
        channels = len(self.config.modalities), len(self.config.scheme.labels)
        depth_first = self.config.grid.shape[::-1]
        expected = {name: (count, *depth_first) for name, count in zip(NAMES, channels, strict=True)}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != expected:
            raise InputError(f"The prepared case {path} holds {found}, but the dataset describes {expected}.")
        self._mapped[index] = tensors["images"], tensors["fractions"]
        return self._mapped[index]


class LocalDataset(PreparedDataset):
    """The training cases, copied to a folder of this machine that only this user can enter, until ``close``.

    For a shared disk that is slower than training. Every process copies its share, so that each machine has all once.
    """

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
