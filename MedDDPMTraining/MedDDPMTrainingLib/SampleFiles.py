"""The samples that a training run makes on the way: images of held-out masks beside the real ones."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from medddpm.preparation.case_files import in_order
from medddpm.training.run import RunFolder

_ITERATION = re.compile(r"iteration-(\d{1,12})")
_IMAGE = re.compile(r"(synthetic|real)-([\w.+-]{1,64}?)\.nii(?:\.gz)?")
# What a stranger's folder may hold does not fill the scene.
MAX_CASES, MAX_MODALITIES = 12, 16
# The newest rounds of samples; of older ones only the contact sheets stay.
ROUNDS = 3


@dataclass(frozen=True)
class TrainingSample:
    """The newest sample of one held-out case: modality -> file, its mask, and its contact sheet (a PNG file)."""

    case: str
    iteration: int
    synthetic: dict[str, Path]
    real: dict[str, Path]
    mask: Path | None
    sheet: Path

    @property
    def modalities(self) -> list[str]:
        """Those of the synthetic images, the usual ones first."""
        return list(in_order(self.synthetic))


def newestSamples(run: RunFolder) -> list[TrainingSample]:
    """The newest sample of each case of a run, in the order of their ids; none where there is nothing to be read.

    The contact sheet is written last: a case without it is still being written. Links are passed over.
    """
    found: dict[str, TrainingSample] = {}
    for iteration, folder in _iterations(run.samples)[:ROUNDS]:
        for case in _folders(folder):
            sample = _sample(case, iteration)
            if sample is not None and case.name not in found:
                found[case.name] = sample
    return [found[case] for case in sorted(found)][:MAX_CASES]


def _iterations(samples: Path) -> list[tuple[int, Path]]:
    """The folders of all iterations, the newest first."""
    matches = [(match, folder) for folder in _folders(samples) if (match := _ITERATION.fullmatch(folder.name))]
    return sorted(((int(match[1]), folder) for match, folder in matches), reverse=True)


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir() and not p.is_symlink())
    return []


def _sample(folder: Path, iteration: int) -> TrainingSample | None:
    images: dict[str, dict[str, Path]] = {"synthetic": {}, "real": {}}
    mask = sheet = None
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or not path.is_file():
                continue
            match = _IMAGE.fullmatch(path.name)
            if match and len(images[match[1]]) < MAX_MODALITIES:
                images[match[1]][match[2]] = path
            elif path.name in ("mask.nii.gz", "mask.nii"):
                mask = path
            elif path.name == "sheet.png":
                sheet = path
    if sheet is None or not images["synthetic"]:
        return None
    return TrainingSample(folder.name, iteration, images["synthetic"], images["real"], mask, sheet)
