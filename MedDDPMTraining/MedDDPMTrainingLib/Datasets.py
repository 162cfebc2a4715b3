"""What a person should know of a prepared dataset before training on it; read without torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from medddpm.dataset import DatasetConfig, read_dataset_config
from medddpm.errors import InputError
from MedDDPMSlicerLib.Texts import counted, gridText

REPORT = "report.html"


@dataclass(frozen=True)
class DatasetSummary:
    """A prepared dataset: its configuration, and how many cases each split has. ``report``: its page, if there."""

    folder: Path
    config: DatasetConfig
    counts: dict[str, int]
    report: Path | None

    @property
    def sentence(self) -> str:
        """One line for a panel."""
        parts = ", ".join(f"{self.counts.get(split, 0)} {split}" for split in ("train", "validation", "test"))
        total = counted(sum(self.counts.values()), "case")
        grid = gridText(self.config.grid.shape, self.config.grid.spacing)
        return f"{total} ({parts}), {', '.join(self.config.modalities)}, {grid}."


class Datasets:
    """Descriptions of dataset folders; one that has not changed is not read again."""

    def __init__(self) -> None:
        self._known: tuple[str, float, DatasetSummary] | None = None

    def describe(self, folder: str | Path) -> DatasetSummary:
        """What is in a dataset folder. Raises InputError where it is none, or has no case to train on."""
        path = Path(folder).expanduser()
        if not str(folder) or not path.is_dir():
            raise InputError(f"The folder {folder} does not exist. Prepare a dataset, or choose another folder.")
        changed = _modified(path / "dataset.json")
        if self._known is not None and self._known[:2] == (str(path), changed):
            return self._known[2]
        config = read_dataset_config(path)
        counts = dict(Counter(case.split for case in config.cases))
        if not counts.get("train"):
            raise InputError(f"The dataset {path} has no case to train on. Prepare it again with smaller test shares.")
        report = path / REPORT
        summary = DatasetSummary(path, config, counts, report if report.is_file() else None)
        self._known = (str(path), changed, summary)
        return summary


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError as exc:
        raise InputError(
            f"{path.parent} is not a prepared dataset: it has no dataset.json. Prepare your scans first, or choose the "
            "folder that a preparation wrote."
        ) from exc
