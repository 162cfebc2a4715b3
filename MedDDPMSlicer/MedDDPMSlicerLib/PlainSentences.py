"""Sentences of the core for the person at the screen: no path of a file that only we use, but words for it.

The core names files by their whole paths, which is right at a command line. In Slicer most of them are temporary files
below the storage folder: nobody can do anything with their paths, and these hold the user's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from medddpm.jobs.outcome import outcome_of

PLACE = "the storage folder of MedDDPM"
REMEDY = 'Free space on its disk, for example with the button "Delete temporary files".'
# Below these folders of the storage the names are those that the user chose, so they are kept.
NAMED = ("models", "datasets", "runs")
# What a person calls the files that a request names.
WORDS = {
    "mask": "the mask",
    "masks": "the mask",
    "image": "the reference volume",
    "images": "the reference volume",
    "region": "the changed region",
}

_SEPARATOR = r"[\\/]+"
_NAME = r"""[^\s\\/]*[^\s\\/.,;:'")\]]"""
# Our names have no spaces, but cases are called like the user's masks, and the files in their folders like the cases.
_OF_CASE = rf"(?:\.part-\d+-(?:[0-9a-f]{8}-)?)?(?:(?P=case)(?:{_NAME})?|provenance\.json)"
_CASE = rf"outputs{_SEPARATOR}(?P<case>[^\\/\n]+){_SEPARATOR}(?:{_NAME}{_SEPARATOR})?{_OF_CASE}"
_BELOW = rf"(?P<below>(?:{_SEPARATOR}(?:{_CASE}|{_NAME}))*)(?:{_SEPARATOR})?"
_NOUN = r"(?:\b[Tt]he (?P<noun>job|folder|(?:spool|job) folder|mask|(?:known |reference )?image|region|file) )?"
# What the core advises where a folder cannot be written; the user has not chosen this one.
_ADVICE = re.compile(r"Free space,? or (?:choose|move)[^.]*\.|Choose another(?: folder)?\.")

_storages: set[Path] = set()


def knowStorage(root: Path) -> None:
    """Take the paths below ``root`` for our own from now on."""
    _storages.update((root, root.resolve()))


def sentenceOf(error: BaseException, words: Mapping[str, str] | None = None) -> str:
    """What to tell the user of an exception."""
    return plainSentence(outcome_of(error).message, words)


def plainSentence(sentence: str, words: Mapping[str, str] | None = None) -> str:
    """A sentence without the paths of the storage. ``words``: what is said for certain files (path -> words)."""
    for path in sorted(words or {}, key=len, reverse=True):
        sentence = _withWords(sentence, path, (words or {})[path])
    return withoutStorage(sentence, [str(root) for root in _storages])


def wordsOf(request: Mapping[str, Any]) -> dict[str, str]:
    """What to say for the files that a job's request names: our own by what they are, the user's by their names."""
    words = {}
    for kind, path in _files(request):
        ours = any(Path(path).is_relative_to(root) for root in _storages)
        words[path] = kind if ours else PureWindowsPath(path).name
    return words


def withoutStorage(sentence: str, roots: Iterable[str]) -> str:
    """The sentence with plain words for all paths at or below ``roots``, and with advice that fits to these."""
    found = 0
    for root in sorted(roots, key=len, reverse=True):
        ours = _spelled(root)
        named = rf"{ours}{_SEPARATOR}(?:{'|'.join(NAMED)}){_SEPARATOR}(?=[^\s\\/])"
        sentence = re.sub(named, "", sentence, flags=re.IGNORECASE)
        sentence, count = re.subn(rf"{_NOUN}{ours}(?![\w-]|\.\w){_BELOW}", _placeWords, sentence, flags=re.IGNORECASE)
        found += count
    return _ADVICE.sub(REMEDY, sentence) if found else sentence


def _placeWords(match: re.Match[str]) -> str:
    noun = (match["noun"] or "").lower()
    if noun == "job":
        return _placed(match, "the job")
    isFile = not noun.endswith("folder") and PureWindowsPath(match["below"]).suffix
    return _placed(match, f"a file in {PLACE}" if isFile else PLACE)


def _withWords(sentence: str, path: str, words: str) -> str:
    if not words.startswith("the "):  # a name
        return re.sub(_spelled(path), lambda _: words, sentence)
    return re.sub(_NOUN + _spelled(path), lambda match: _placed(match, words), sentence)


def _placed(match: re.Match[str], words: str) -> str:
    """``words`` with a capital letter where a sentence begins."""
    before = match.string[: match.start()].rstrip(" ")
    begins = not before or before[-1] in ".!?\n"
    return words[0].upper() + words[1:] if begins else words


def _spelled(path: str) -> str:
    """A pattern for a path, however its separators are written: Windows has two, and some messages double them."""
    return r"(?<![\w.-])" + _SEPARATOR.join(re.escape(part) for part in re.split(_SEPARATOR, path.rstrip("\\/")))


def _files(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(words, path) of the files in a request."""
    for field, words in WORDS.items():
        value = request.get(field)
        yield from ((words, str(path)) for path in (value if isinstance(value, list) else [value]) if path)
    for field, kind in (("known", "real"), ("reference", "reference")):
        for text in request.get(field) or []:
            modality, _, path = str(text).partition("=")
            yield f"the {kind} {modality} image", path
    anatomy = str(request.get("anatomy") or "")
    if Path(anatomy).is_absolute():  # else it is a word
        yield "the label map of the anatomy", anatomy
