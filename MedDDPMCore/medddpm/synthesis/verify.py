"""Samples segmented again: whether their images show the tumor that the mask has, and the best of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..files import csv_text, write_text
from ..geometry.grid import to_network
from ..models.model import Model
from ..models.places import find_model
from ..models.segmenter import OWN_NAME, REGIONS, Segmenter, read_segmenter
from .anatomy import SampleAnatomy
from .provenance import verifications
from .request import OWN, UNVERIFIED, SynthesisRequest

TABLE = "verification.csv"
GOOD, DOUBTFUL = 0.85, 0.5  # of the Dice that the segmenter reaches in real images
RULE = (
    f"score: mean Dice over the regions of the mask; expected: that in held-out real images. good: {GOOD:g} of it or "
    f"more, and each region {DOUBTFUL:g} of its own or more; doubtful: {DOUBTFUL:g} of it or more; poor: less; not "
    "rated: where no real images were held out."
)


@dataclass(frozen=True)
class Candidate:
    """Images (C, X, Y, Z) in [-1, 1] on the model's grid, what they were made from, and what came of verifying them."""

    seed: int
    images: np.ndarray
    anatomy: SampleAnatomy
    verification: dict[str, Any]


def best_of(candidates: Iterable[Candidate]) -> Candidate:
    """The one with the highest score, the first of equal ones; it tells of the others. Holds two at a time."""
    candidates = iter(candidates)
    best, rejected = next(candidates), []
    for one in candidates:
        better = one.verification["score"] > best.verification["score"]
        best, worse = (one, best) if better else (best, one)
        rejected.append({"seed": worse.seed, **worse.verification})
    return replace(best, verification={**best.verification, "rejected": rejected}) if rejected else best


class Verifier:
    """The segmenter of a request. Raises InputError where it is missing or does not fit the model."""

    def __init__(self, request: SynthesisRequest, model: Model) -> None:
        self._segmenter: Segmenter = read_segmenter(_path(request, model), model.config, model.device)
        self._best_of = request.best_of

    def facts(self) -> dict[str, Any]:
        """What the results depend on, and how they are to be read, for the record."""
        config = self._segmenter.config
        known = {"segmenter_sha256": config.weights_sha256, "best_of": self._best_of, "rule": RULE}
        return {**known, "real_dice": config.real_dice, "real_cases": config.real_cases}

    def require_tumor(self, fractions: np.ndarray) -> None:
        """Raise InputError where several samples of a mask cannot be compared: it has no tumor to be found."""
        images = torch.zeros(len(self._segmenter.images.modalities), *fractions.shape[:0:-1])
        truth = self._segmenter.volumes(images, torch.from_numpy(to_network(fractions)))[1]
        if self._best_of > 1 and not bool(truth.any()):
            raise InputError(
                "The mask has no tumor that the segmenter could find, so the best of several samples cannot be told. "
                "Make one of each.",
                option="best_of",
            )

    def verified(self, images: np.ndarray, fractions: np.ndarray) -> dict[str, Any]:
        """Of images (C, X, Y, Z) in [-1, 1]: Dice of each region with the mask, (L, X, Y, Z), score and word."""
        found = self._segmenter.dice(*(torch.from_numpy(to_network(part)) for part in (images, fractions)))
        if not found:
            return {"dice": {}, "word": "no tumor"}
        score, real = fmean(found.values()), self._segmenter.config.real_dice
        expected = fmean(real[name] for name in found) if found.keys() <= real.keys() else None
        dice = {name: round(value, 4) for name, value in found.items()}
        known = {} if expected is None else {"expected": round(expected, 4)}
        return {"dice": dice, "score": round(score, 4), **known, "word": _word(found, real)}


def _word(found: Mapping[str, float], real: Mapping[str, float]) -> str:
    """By ``RULE``."""
    if not found.keys() <= real.keys():
        return "not rated"
    share = fmean(found.values()) / max(fmean(real[name] for name in found), 1e-6)
    if share >= GOOD and all(dice >= DOUBTFUL * real[name] for name, dice in found.items()):
        return "good"
    return "doubtful" if share >= DOUBTFUL else "poor"


def open_verifier(request: SynthesisRequest, model: Model) -> Verifier | None:
    """The verifier of a request; None where nothing is to be verified."""
    return None if request.verify == UNVERIFIED else Verifier(request, model)


def _path(request: SynthesisRequest, model: Model) -> Path:
    if request.verify != OWN:
        return Path(request.verify)
    place = find_model(request.model)
    own = place / OWN_NAME if place.is_dir() else place.with_name(OWN_NAME)
    if not own.is_file():
        raise InputError(
            f"The model '{model.config.name}' has no segmenter of its own ({own} does not exist). Give the file of one "
            "that fits its images.",
            option="verify",
        )
    return own


def write_table(out: Path, folders: Sequence[Path]) -> None:
    """Write ``verification.csv``: a line for each verified sample of the cases in ``folders``."""
    lines: list[list[str | float | None]] = [
        ["case", "seed", "word", "score", "expected", *REGIONS, "made", "rejected"]
    ]
    for folder in folders:
        for seed, found in verifications(folder):
            dice = [found["dice"].get(name) for name in REGIONS]
            rejected = [one.get("score") for one in found.get("rejected", ())]
            told = " ".join(f"{score:.4f}" for score in rejected if score is not None)
            scores = found.get("score"), found.get("expected")
            lines.append([folder.name, seed, found["word"], *scores, *dice, 1 + len(rejected), told])
    write_text(out / TABLE, csv_text(lines))


def verified_sentence(folders: Sequence[Path]) -> str:
    """How many samples are good, doubtful and poor; "" where none was verified."""
    found = [one for folder in folders for _, one in verifications(folder)]
    words = [one["word"] for one in found]
    scores = [one["score"] for one in found if "score" in one]
    if not found:
        return ""
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    mean = f" (mean Dice {fmean(scores):.2f}{_expected(found)})" if scores else ""
    return f"Segmented again: {counts}{mean}."


def _expected(found: Sequence[Mapping[str, Any]]) -> str:
    expected = [one["expected"] for one in found if "expected" in one]
    return f", in real images {fmean(expected):.2f}" if expected else ""
