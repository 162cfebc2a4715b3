"""Which files of a folder are masks: told from scans by their voxels, and said."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import InputError, MedDDPMError
from ..geometry.io import read_mask
from ..labels.check import gray_image
from ..labels.scheme import LabelScheme
from ..models.places import find_config
from ..progress import Reporter
from ..synthesis.names import EXTENSIONS, masks_in

MOST_LINES = 10


def masks_among(paths: Sequence[Path], model: str, others: Iterable[str | Path], reporter: Reporter) -> list[Path]:
    """``paths`` with folders replaced by the masks directly in them, in order of name.

    Scans are left out, and so are ``others``, the files that are named as another input; all is told. What cannot be
    read stays, to fail by itself. Raises InputError for a folder without a mask, and Cancelled.
    """
    named = {Path(other).resolve() for other in others}
    found = []
    for path in paths:
        found += _masks_of(path, find_config(model).scheme, named, reporter) if path.is_dir() else [path]
    return found


def _masks_of(folder: Path, scheme: LabelScheme, named: set[Path], reporter: Reporter) -> list[Path]:
    try:
        files, folders = masks_in(folder), sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as exc:
        raise InputError(f"The folder {folder} cannot be read: {exc.strerror}. Check its permissions.") from exc
    below = 0
    for inner in folders:
        with contextlib.suppress(OSError):
            below += len(masks_in(inner))
    hint = f" The subfolders contain {below} more, which are not searched: name them, as in {folder}/*."
    hint = hint if below else ""
    if not files:
        raise InputError(f"The folder {folder} holds no mask file ({', '.join(EXTENSIONS)}).{hint}")
    reporter.stage("look", "Looking for masks")
    left: list[str] = []
    masks = []
    for number, file in enumerate(files, 1):
        reporter.check_cancelled()
        why = "It is named as another input." if file.resolve() in named else _no_mask(file, scheme)
        left += [f"{file.name} is left out. {why}"] if why else []
        masks += [] if why else [file]
        reporter.step(number, len(files))
    if not masks:
        raise InputError(f"No file in {folder} is a mask. {' '.join(left[:3])}{hint}")
    for lines in ([f"{mask.name} is taken as a mask." for mask in masks], left):
        for line in lines[:MOST_LINES]:
            reporter.warning(line)
        if len(lines) > MOST_LINES:
            reporter.warning(f"So are {len(lines) - MOST_LINES} of the other files in {folder}.")
    if hint:
        reporter.warning(f"{folder}:{hint}")
    return masks


def _no_mask(file: Path, scheme: LabelScheme) -> str:
    """Why a file is no mask; empty for what is or may be one."""
    try:
        found = gray_image(read_mask(file), scheme)
    except MedDDPMError:
        return ""
    return "" if found is None else found.sentence
