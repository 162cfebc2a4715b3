"""Sentences of the core for the person at the screen: no path of a file that only we use, but words for it.

The core names files by their whole paths, which is right at a command line. In Slicer most of them are temporary files
below the storage folder: nobody can do anything with their paths, and these hold the user's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from medddpm.errors import FREE_SPACE
from medddpm.jobs.outcome import outcome_of
from medddpm.synthesis.request import ANATOMIES

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
