"""A reader study: can experts tell synthetic from real images? The plan, and what each reader answers. No torch.

The images of a plan are blinded copies: one grid, one range of intensities, no name, no header text of their origin,
since voxel size, field of view or scaling would tell them apart; ``key.json`` alone says which is which. As in the
paper, 20 real and 20 synthetic volumes are read, then the center slice of each.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import csv_text, make_folder, read_text, sha256, write_text
from ..geometry.io import read_volume
from ..geometry.marks import is_marked
from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume
from ..jobs.folder import JobFolder
from ..jobs.owner import OwnerFile
from ..labels.morphology import bounding_box
from ..options import check_options, option
from ..parse import from_dict, parse_json, printable
from ..preparation.facts import without_ending
from ..preparation.sources.folders import PARTS, image_files
from ..progress import Reporter, SilentReporter
from ..synthesis.names import safe_name

REAL, SYNTHETIC = "real", "synthetic"
VOLUMES, SLICES = "volumes", "slices"
PLAN, KEY, IMAGES, READINGS = "plan.json", "key.json", "images", "readings"
DESCRIPTION = "MedDDPM reader study: real or SYNTHETIC, blinded copy - research only"
HIGHEST_CONFIDENCE = 5
MARGIN = 4  # voxels around the largest head
BRIGHTEST = 1000
EMPTY = 0.02  # below this share of the brightest value there is no head


@dataclass(frozen=True)
class ReadingRequest:
    """``real`` and ``synthetic``: folders of images; the study is made in the folder ``out``."""

    real: str
    synthetic: str
    out: str
    modality: str = option("T1ce", "The modality to be read, as the names of its images end.")
    each: int = option(20, "Number of real images, and of synthetic ones.", low=1, high=500)
    slices: bool = option(True, "Also the center slice of each, after the volumes.")
    spacing: float = option(1.0, "Voxel size of the images that readers see.", low=0.2, high=5.0, unit="mm")
    seed: int = option(0, "Seed of the choice and of the order.", low=0)

    def __post_init__(self) -> None:
        check_options(self)
        if not self.modality.strip():
            raise InputError("Name the modality to be read, for example T1ce.")


@dataclass(frozen=True)
class Item:
    """One image to be read: its ``part`` of the study and its number there, from 1."""

    part: str
    number: int

    @property
    def file(self) -> str:
        """Its path below the study's folder."""
        return f"{IMAGES}/{self.part[:-1]}-{self.number:03d}.nii.gz"


@dataclass(frozen=True)
class Plan:
    """What is read: ``count`` images in each of the ``parts``, one after the other."""

    modality: str
    count: int
    parts: tuple[str, ...]
    spacing: float
    seed: int

    def order(self, reader: str) -> list[Item]:
        """All images as this reader sees them: the parts in turn, each in a random order of the reader's own."""
        own = int.from_bytes(hashlib.sha256(reader.encode()).digest()[:8])
        rng = np.random.default_rng([self.seed, own])
        return [Item(part, number) for part in self.parts for number in (rng.permutation(self.count) + 1).tolist()]


@dataclass(frozen=True)
class Reading:
    """One answer: ``answer`` real or synthetic, ``confidence`` 1 (guess) to 5 (certain), ``seconds`` it took."""

    part: str
    number: int
    answer: str
    confidence: int
    seconds: float

    def __post_init__(self) -> None:
        if self.answer not in (REAL, SYNTHETIC):
            raise InputError(f"An answer is '{REAL}' or '{SYNTHETIC}', not '{printable(str(self.answer))}'.")
        if not 1 <= self.confidence <= HIGHEST_CONFIDENCE:
            raise InputError(f"Confidence is a whole number from 1 to {HIGHEST_CONFIDENCE}.")


COLUMNS = [field.name for field in fields(Reading)]


def plan_reading(request: ReadingRequest, reporter: Reporter | None = None) -> Plan:
    """Choose images, write their blinded copies and the key, and last the plan, without which there is no study.

    Of each case one image is taken before a second one of any. Raises InputError where the folders hold too few images,
    a real one says that it is synthetic, a synthetic one does not, or the folder has a study already.
    """
    from ..geometry.nifti import write_image  # which needs nibabel; a panel that reads studies does not

    reporter = reporter or SilentReporter()
    out, rng = Path(request.out), np.random.default_rng(request.seed)
    if (out / PLAN).exists():
        raise InputError(f"{out} holds a reader study already. Choose another folder.")
    chosen = [(kind, path) for kind in (REAL, SYNTHETIC) for path in _chosen(request, kind, rng)]
    chosen = [chosen[i] for i in rng.permutation(len(chosen))]
    if len({sha256(path) for _, path in chosen}) < len(chosen):
        raise InputError("Some of the images are the same file. Give each image once.")
    boxes = [_box(path, request.spacing) for _, path in chosen]
    shape = np.max([size for _, size in boxes], axis=0) + 2 * MARGIN
    reporter.stage("write", "Writing the blinded images")
    for number, ((_, path), (low, size)) in enumerate(zip(chosen, boxes, strict=True), 1):
        reporter.check_cancelled()
        data, affine = _blinded(path, low - (shape - size) // 2 * request.spacing, shape, request.spacing)
        write_image(out / Item(VOLUMES, number).file, data, affine, DESCRIPTION)
        if request.slices:
            middle = len(data.T) // 2
            affine[:3, 3] += affine[:3, 2] * middle
            write_image(out / Item(SLICES, number).file, data[:, :, middle : middle + 1], affine, DESCRIPTION)
        reporter.step(number, len(chosen))
    key = {str(number): {"kind": kind, "file": str(path)} for number, (kind, path) in enumerate(chosen, 1)}
    write_text(out / KEY, json.dumps(key, indent=1) + "\n")
    parts = (VOLUMES, SLICES) if request.slices else (VOLUMES,)
    plan = Plan(request.modality, len(chosen), parts, request.spacing, request.seed)
    write_text(out / PLAN, json.dumps(asdict(plan), indent=1) + "\n")
    return plan


def reading_job(request: dict[str, Any], _folder: JobFolder, reporter: Reporter) -> None:
    """``plan_reading`` as a job."""
    plan_reading(from_dict(ReadingRequest, request, "The job's request"), reporter)


def read_plan(folder: Path) -> Plan:
    """The plan of a study's folder. Raises InputError where there is none, or it makes no sense."""
    path = Path(folder) / PLAN
    if not path.is_file():
        raise InputError(f"{folder} holds no reader study: it has no {PLAN}. Choose the folder that it was made in.")
    plan: Plan = from_dict(Plan, parse_json(read_text(path), str(path)), str(path))
    if not 1 <= plan.count <= 1000 or not plan.parts or not set(plan.parts) <= {VOLUMES, SLICES}:
        raise InputError(f"{path} is no plan of a reader study. Make the study again.")
    return plan


def read_key(folder: Path, plan: Plan) -> dict[int, str]:
    """What each image is, real or synthetic, by its number. Raises InputError where the key is missing or damaged."""
    path = Path(folder) / KEY
    data = parse_json(read_text(path, "The key of the study"), str(path))
    kinds = [str(entry.get("kind")) if isinstance(entry, dict) else "" for entry in data.values()]
    if sorted(data) != sorted(map(str, range(1, plan.count + 1))) or not set(kinds) <= {REAL, SYNTHETIC}:
        raise InputError(f"{path} does not belong to the plan beside it. Copy both from where the study was made.")
    return {int(number): kind for number, kind in zip(data, kinds, strict=True)}


class Session:
    """A reader at work: one at a time under one name, resumed wherever it was left; otherwise InputError.

    ``done``: the answers so far. Every answer is on the disk before ``answer`` returns. ``owner``: to be touched.
    """

    def __init__(self, folder: Path, reader: str) -> None:
        self.folder, self.reader = Path(folder), reader.strip()
        if not self.reader or safe_name(self.reader) != self.reader:
            raise InputError("Name the reader by letters, digits and hyphens, for example R1.")
        self.plan = read_plan(self.folder)
        make_folder(self.folder / READINGS)
        self._file = self.folder / READINGS / f"{self.reader}.csv"
        self.owner = OwnerFile(self._file.with_suffix(".lock"))
        self.owner.take(f"The reading of {self.reader}")
        try:
            self.done = list(read_answers(self._file, self.plan)) if self._file.exists() else []
        except InputError:
            self.close()
            raise

    @property
    def order(self) -> list[Item]:
        """All images in this reader's order."""
        return self.plan.order(self.reader)

    def next(self) -> Item | None:
        """The first image without an answer; None where all have one."""
        seen = {(reading.part, reading.number) for reading in self.done}
        return next((item for item in self.order if (item.part, item.number) not in seen), None)

    def answer(self, item: Item, answer: str, confidence: int, seconds: float) -> None:
        """Keep an answer. Raises InputError where it makes no sense or cannot be written."""
        self._keep([*self.done, Reading(item.part, item.number, answer, confidence, round(seconds, 1))])

    def take_back(self) -> Item | None:
        """Forget the last answer; its image comes next again."""
        if not self.done:
            return None
        last = self.done[-1]
        self._keep(self.done[:-1])
        return Item(last.part, last.number)

    def _keep(self, done: list[Reading]) -> None:
        write_text(self._file, csv_text([COLUMNS, *(asdict(reading).values() for reading in done)]))
        self.done = done

    def close(self) -> None:
        """Let the reader go on another time."""
        self.owner.release()


def read_answers(path: Path, plan: Plan) -> Iterator[Reading]:
    """The answers in a reader's CSV. Raises InputError where the file is no such table or not of this plan."""
    rows = csv.DictReader(read_text(path, "The reader's answers").splitlines())
    known = {(item.part, item.number) for item in plan.order("")}
    try:
        if rows.fieldnames != COLUMNS:
            raise ValueError("other columns")
        for row in rows:
            number, confidence, seconds = int(row["number"]), int(row["confidence"]), float(row["seconds"])
            known.remove((row["part"], number))
            yield Reading(row["part"], number, row["answer"], confidence, seconds)
    except (ValueError, TypeError, KeyError, csv.Error, InputError) as exc:
        raise InputError(f"{path} is no list of answers to this study. Move it away and begin again.") from exc


def _chosen(request: ReadingRequest, kind: str, rng: np.random.Generator) -> list[Path]:
    folder = Path(getattr(request, kind))
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give the folder of the {kind} images.")
    own = safe_name(request.modality).casefold()
    names = {own, *(name for name, part in PARTS.items() if part == PARTS.get(own))}
    ends = [f"{mark}{name}" for mark in "_-" for name in names]
    cases: dict[str, list[Path]] = {}
    for path in image_files(folder):
        stem = (without_ending(path.name) or "").casefold()
        for end in filter(stem.endswith, ends):  # one at most
            cases.setdefault(stem.removesuffix(end).split("_sample-")[0], []).append(path)
    found = sum(map(len, cases.values()))
    if found < request.each:
        raise InputError(
            f"{folder} has {found} {request.modality} images, but {request.each} {kind} ones are to be read. Give more "
            f"images, or read fewer; names of images end in _{own}."
        )
    queues = [[paths[i] for i in rng.permutation(len(paths))] for paths in cases.values()]
    queues = [queues[i] for i in rng.permutation(len(queues))]
    rounds = [path for turn in range(max(map(len, queues))) for queue in queues for path in queue[turn : turn + 1]]
    for path in rounds[: request.each]:
        if is_marked(path) != (kind == SYNTHETIC):
            says = "says that it is synthetic" if kind == REAL else "does not say that it is synthetic"
            raise InputError(f"{path} {says}, but lies in the folder of the {kind} images. Move it.", path=path)
    return rounds[: request.each]


def _box(path: Path, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the head is: its first corner, mm along L, P and S, and its size in voxels of the study."""
    volume, low, high = _read(path)
    box = bounding_box(volume.data > low + EMPTY * (high - low))
    ends = np.stack([[s.start, s.stop - 1] for s in box])
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    world = (corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]
    return world.min(0), np.ceil((world.max(0) - world.min(0)) / spacing - 1e-3).astype(int) + 1


def _read(path: Path) -> tuple[Volume, float, float]:
    """The image, and what is black and white in it."""
    volume = read_volume(path)
    low, high = float(volume.data.min()), float(np.percentile(volume.data, 99.9))
    if high <= low:
        raise InputError(f"{path} has one intensity only. Take it out of the folder.", path=path)
    return volume, low, high


def _blinded(path: Path, corner: np.ndarray, shape: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    volume, low, high = _read(path)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = corner * [-1, -1, 1]
    x, y, z = shape.tolist()
    data = resample(volume.data, index_map(affine, volume.affine), (x, y, z), low)
    stored = np.rint(np.clip((data - low) / (high - low), 0, 1) * BRIGHTEST).astype(np.int16)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)  # where it lay would tell, too
    return stored, affine
