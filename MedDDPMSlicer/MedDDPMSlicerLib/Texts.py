"""Sentences for the person at the screen, as plain functions without Qt: times, sizes, progress, models, and errors.

The core names files by their whole paths, which is right at a command line. In Slicer most of them are temporary files
below the storage folder: nobody can do anything with their paths, and these hold the user's name. So there are words
for them.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from medddpm.errors import FREE_SPACE
from medddpm.jobs.outcome import outcome_of
from medddpm.synthesis.request import ANATOMIES

try:
    from slicer.i18n import tr as _
except ImportError:  # without the application nothing is translated

    def _(text: str) -> str:
        return text


PLACE = "the storage folder of MedDDPM"
REMEDY = 'Free space on its disk, for example with the button "Delete temporary files".'
# What a person calls the files that a request names.
WORDS = {
    "mask": "the mask",
    "masks": "the mask",
    "image": "the reference volume",
    "images": "the reference volume",
    "region": "the changed region",
    "anatomy": "the label map of the anatomy",
}
# What the core says before a path, which the words for it say already.
NOUNS = (
    "mask ",
    "image ",
    "context image ",
    "reference image ",
    "region ",
    "result ",
    "job ",
    "job folder ",
    "spool folder ",
)

_storages: set[Path] = set()


def knowStorage(root: Path) -> None:
    """Take the paths below ``root`` for our own from now on."""
    _storages.update((root, root.resolve()))


def sentenceOf(error: BaseException, words: Mapping[str, str] | None = None) -> str:
    """What to tell the user of an exception."""
    outcome = outcome_of(error)
    return plainSentence(outcome.message, {**(words or {}), **wordsFor(outcome.path)})


def plainSentence(sentence: str, words: Mapping[str, str] | None = None) -> str:
    """A sentence without the place of the storage. ``words``: what is said for certain files (path -> words)."""
    plain = sentence
    for path in sorted(words or {}, key=len, reverse=True):
        plain = _withWords(plain, path, (words or {})[path])
    for root in sorted(map(str, _storages), key=len, reverse=True):
        plain = plain.replace(f"{root}{os.sep}", "").replace(root, PLACE)
    return plain if plain == sentence else plain.replace(FREE_SPACE, REMEDY)


def wordsFor(path: str | None) -> dict[str, str]:
    """What to say for a file that could not be written, where it is ours."""
    return {path: f"a file in {PLACE}"} if path and _ours(path) else {}


def wordsOf(request: Mapping[str, Any]) -> dict[str, str]:
    """What to say for the files that a job's request names: our own by what they are, the user's by their names."""
    words = {}
    for kind, path in _files(request):
        words[path] = kind if _ours(path) else PureWindowsPath(path).name
    return words


def _ours(path: str) -> bool:
    return any(Path(path).is_relative_to(root) for root in _storages)


def _withWords(sentence: str, path: str, words: str) -> str:
    if not words.startswith(("the ", "a file in ")):  # a name
        return sentence.replace(path, words)
    capital = words[0].upper() + words[1:]
    for noun in NOUNS:
        sentence = sentence.replace(f"The {noun}{path}", capital).replace(f"the {noun}{path}", words)
    sentence = capital + sentence.removeprefix(path) if sentence.startswith(path) else sentence
    return sentence.replace(f". {path}", f". {capital}").replace(path, words)


def _files(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(words, path) of the files in a request."""
    for field, words in WORDS.items():
        value = request.get(field)
        paths = value if isinstance(value, list) else [value]
        yield from ((words, str(path)) for path in paths if path and path not in ANATOMIES)
    for field, kind in (("context", "real"), ("known", "real"), ("reference", "reference")):
        for text in request.get(field) or []:
            modality, _, path = str(text).partition("=")
            yield f"the {kind} {modality} image", path


GIB = 2**30


def duration(seconds: float) -> str:
    """A time span for reading: "40 s", "6 min", "2.5 h", "3.1 days"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def fileSize(size: float) -> str:
    """Bytes for reading: "0 MB", "12 MB", "1.4 GB"."""
    return f"{size / GIB:.1f} GB" if size >= GIB else f"{size / 2**20:.0f} MB"


def colorSquare(color: Sequence[int]) -> str:
    """A square in an RGB color (0 to 255) as rich text, visible on light and dark ground."""
    red, green, blue = (int(part) for part in color)
    ground = " background-color: rgb(96, 96, 96);" if min(red, green, blue) > 200 else ""
    return f'<span style="color: rgb({red}, {green}, {blue});{ground}">&#9632;</span>'


def modelSummary(description: Any) -> str:
    """A ``ModelDescription`` as rich text: images, labels with their colors, grid, license, intended use."""
    config = description.config
    labels = ", ".join(f"{colorSquare(label.color)}&nbsp;{html.escape(label.name)}" for label in config.scheme.labels)
    rows = [
        ("Images", html.escape(", ".join(config.modalities))),
        ("Labels", labels),
        ("Grid", html.escape(gridText(config.grid.shape, config.grid.spacing))),
        ("License", html.escape(config.license)),
        ("Use", html.escape(config.intended_use)),
    ]
    lines = [f'<tr><td style="padding-right: 8px;"><b>{name}</b></td><td>{text}</td></tr>' for name, text in rows]
    return f"<table>{''.join(lines)}</table>"


def gridText(shape: Iterable[int], spacing: Iterable[float]) -> str:
    """ "80 x 96 x 80 voxels of 2 mm", or of "1 x 1 x 3 mm"."""
    sides = [f"{side:g}" for side in spacing]
    voxel = sides[0] if len(set(sides)) == 1 else " x ".join(sides)
    return f"{' x '.join(str(count) for count in shape)} voxels of {voxel} mm"


def progressText(
    stage: str | None, step: int | None, total: int | None, secondsLeft: float | None, what: str = "step"
) -> str:
    """ "Sampling image 1 of 2 - step 12 of 25 - about 40 s left", as far as it is known; ``what`` is counted."""
    parts = [stage or ""]
    if step is not None and total:
        parts.append(f"{what} {step} of {total}")
    if secondsLeft is not None:
        parts.append(f"about {duration(secondsLeft)} left")
    return " – ".join(part for part in parts if part)


def progressPercent(progress: float | None) -> int | None:
    """Whole percent of a share from 0 to 1; None where it is unknown."""
    return None if progress is None else max(0, min(100, round(100 * progress)))


def counted(number: int, noun: str) -> str:
    """ "1 case", "20 cases"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
