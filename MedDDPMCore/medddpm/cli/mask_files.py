"""Mask files as the mask tools open and write them: in a scheme's values, with the brain that limits the tumor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..anatomy.placement import brain_around
from ..config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from ..errors import InputError
from ..geometry.io import read_mask, read_volume
from ..geometry.nifti import write_image
from ..geometry.volume import Mask, Volume, Window, voxel_ml
from ..labels.check import mend_mask
from ..labels.conventions import HEAD, parse_labels
from ..labels.recognize import Recognition, apply_mapping, recognize
from ..labels.scheme import SCHEMES, LabelScheme, load_scheme
from ..labels.values import clean_values
from ..masks import Edit
from ..masks.stack import one_of
from ..models.places import find_config
from ..options import option
from .console import say

TOLD = ("no-outline", "empty", "image-space")  # findings of the mask check on where a brain comes from
TOLD_NAMES = 5


@dataclass(frozen=True)
class Reading:
    """What all mask tools are told of the mask that they open."""

    image: str | None = option(
        None, "The MRI that the mask was drawn on; a missing brain is found in it.", metavar="FILE"
    )
    labels: str | None = option(None, "What the values of MASK mean in the scheme: 1=1,2=2,4=3.")
    scheme: str | None = option(None, f"{', '.join(SCHEMES)} or a .json file; by default what suits the mask.")
    model: str | None = option(None, "Model folder, .pt file or name; its labels count.")


@dataclass(frozen=True)
class Opened:
    """The mask of a file in the values of a scheme: ``labels`` (X, Y, Z) uint8 and ``affine`` to RAS mm.

    ``raw``: it came without brain or head and is written without, on its own grid, which is the ``box`` of ``labels``
    (None: it was not cropped). ``numbers`` are then the file's own for the scheme's values.
    """

    labels: np.ndarray
    affine: np.ndarray
    scheme: LabelScheme
    path: Path
    raw: bool = False
    box: Window | None = None
    numbers: Mapping[int, int] = field(default_factory=dict)

    def parts(self, text: str | None) -> tuple[int, ...] | None:
        """The scheme's values of parts, from ``--parts``."""
        if text is None:
            return None
        own = {number: value for value, number in self.numbers.items()}
        try:
            return tuple(own.get(int(part), int(part)) for part in text.split(","))
        except ValueError as exc:
            raise InputError(f"--parts is '{text}'; it must be label values with commas, as 1,3.") from exc

    def save(self, path: Path, labels: np.ndarray) -> None:
        """Write ``labels`` (values of the scheme) as a mask like the one that was opened."""
        written, doubt = self._as_file(labels)
        self._write(path, written)
        if doubt:
            said = ",".join(f"{value}={value}" for value in np.unique(written[written > 0]))
            say(f"{path} would be misread: {doubt} Give --labels {said} with it.")

    def save_edit(self, path: Path, edit: Edit) -> None:
        """Write an edited mask, and say what became of the tumor."""
        self.save(path, edit.labels)
        tumor = np.count_nonzero(one_of(edit.labels, self.scheme.tumor_values)) * voxel_ml(self.affine)
        say(f"{path}: {tumor:.1f} mL of tumor.")
        if edit.lost_voxels:
            say(f"{1 - edit.kept_fraction:.0%} of it fell outside of the head or brain outline and was cut off.")

    def save_series(self, folder: Path, series: Iterator[tuple[str, np.ndarray]]) -> None:
        """Write named masks, but for those that are no plausible ones. Raises InputError where none is."""
        count, left_out = 0, defaultdict(list)
        for name, labels in series:
            written, doubt = self._as_file(labels)
            if doubt:
                left_out[doubt].append(name)
            else:
                self._write(folder / f"{name}.nii.gz", written)
                count += 1
        for doubt, names in left_out.items():
            told = ", ".join(names[:TOLD_NAMES]) + (" ..." if len(names) > TOLD_NAMES else "")
            say(f"Left out, because it would be misread ({len(names)}): {told}. {doubt}")
        if not count:
            raise InputError(
                "No mask of the series is plausible: the tumor is too small, or leaves the outline each time."
            )
        say(f"{folder}: {count} mask{'' if count == 1 else 's'}.")

    def _write(self, path: Path, labels: np.ndarray) -> None:
        affine = self.affine.copy()
        if self.box is not None and np.count_nonzero(labels[self.box]) == np.count_nonzero(labels):
            labels = labels[self.box]
            affine[:3, 3] += affine[:3, :3] @ [side.start for side in self.box]
        elif self.box is not None:
            say(f"{path} has a larger grid, since the tumor leaves that of the mask: {_size(labels.shape)} voxels.")
        write_image(path, labels, affine, "MedDDPM mask, edited; not a patient's anatomy", self.path)

    def _as_file(self, labels: np.ndarray) -> tuple[np.ndarray, str]:
        """The label map as it is written, and why it would be read in another way; "" where it is not.

        A raw mask is written without brain or head, in the file's own numbers, or in the scheme's if those do not do.
        """
        present = {int(value) for value in np.unique(labels)} - {0}
        same = {value: value for value in present}
        if self.raw:
            present.discard(self.scheme.surround)
        for numbers in (self.numbers, same):
            if present <= numbers.keys():
                written = apply_mapping(labels, {value: numbers[value] for value in present})
                read = recognize(Mask(Volume(written, self.affine)), self.scheme)
                if read.mapping == {numbers[value]: value for value in present}:
                    return written, ""
        return written, read.question[0] if read.question else read.reading


def open_mask(path: Path, whole: bool = False, **options: Any) -> Opened:
    """Read a mask and bring it to a scheme's values. Where it has no brain or head, that is found in ``image``, else
    laid around the tumor as for a synthesis, which is said; with ``whole`` it stays in what is written. ``options``:
    the fields of ``Reading``.

    Raises InputError where it has values without a meaning, or the image shows another place.
    """
    asked, mask = Reading(**options), read_mask(path)
    scheme = _scheme(asked.scheme, asked.model) or _suitable(mask)
    values, found = in_scheme(path, mask, scheme, asked.labels)
    for sentence in (*mask.volume.notes, *found.sentences):
        say(sentence)
    if found.outline:
        if asked.image is not None:
            say(f"The image {asked.image} is not used: the mask has a brain or head of its own.")
        return Opened(values, mask.volume.affine, scheme, path)
    numbers = {value: number for number, value in found.mapping.items() if 0 < number < 256}
    numbers = numbers if len(numbers) == len(found.mapping) else {}
    made = _with_outline(path, Volume(values, mask.volume.affine), scheme, asked.image)
    larger = made.shape != mask.volume.shape
    if whole:
        if larger:
            say(f"What is written has a larger grid, which holds it: {_size(made.shape)} voxels.")
        return Opened(made.data, made.affine, scheme, path)
    say("It only limits where the tumor can be; what is written has none, as the mask itself.")
    first = np.rint(np.linalg.inv(made.affine) @ mask.volume.affine[:, 3])[:3].astype(int)
    x, y, z = (slice(at, at + n) for at, n in zip(first.tolist(), mask.volume.shape, strict=True))
    return Opened(made.data, made.affine, scheme, path, True, (x, y, z) if larger else None, numbers)


def in_scheme(
    path: Path, mask: Mask, scheme: LabelScheme, labels: str | None = None, option: str = "labels"
) -> tuple[np.ndarray, Recognition]:
    """The mask of ``path`` in the values of ``scheme``; ``labels`` is what ``option`` says of them.

    Raises InputError where it has values without a meaning.
    """
    found = recognize(mask, scheme, parse_labels(labels) if labels else None)
    if found.question:
        raise InputError(f"{path}: {' '.join(found.question)}", option=option)
    if found.unknown:
        raise InputError(
            f"{path} has the value {found.unknown[0]}, whose meaning is not known. Say what all values mean, as "
            f"1=1,2=2,4=3 (value in the file = value of the scheme '{scheme.name}', 0: nothing).",
            option=option,
        )
    values, _ = clean_values(mask.volume.data, 1.0)
    return apply_mapping(values, found.mapping), found


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _with_outline(path: Path, labels: Volume, scheme: LabelScheme, image: str | None) -> Volume:
    network = NetworkConfig(1, len(scheme.labels), base_channels=32, multipliers=(1,))
    grid = GridConfig((96, 96, 96), (2.0, 2.0, 2.0))
    config = ModelConfig(scheme.name, ("image",), network, ScheduleConfig(), scheme, grid)
    own = {value: value for value in scheme.values}
    scan = None if image is None else read_volume(image)
    mended, done, left = mend_mask(Mask(labels), config, scan, own, (), brain_around)
    if left.errors:
        raise left.refusal(str(path))
    for finding in (*left.findings, *done):
        if finding.code in TOLD:
            say(finding.fix or finding.sentence)
    return mended.volume


def _scheme(name: str | None, model: str | None) -> LabelScheme | None:
    if name and model:
        raise InputError("Give either --scheme or --model, not both.")
    if model:
        return find_config(model).scheme
    return load_scheme(name) if name else None


def _suitable(mask: Mask) -> LabelScheme:
    """The labels of BraTS, of a whole head, or those with tissues where the mask plainly has some."""
    anatomy = load_scheme("glioma-anatomy")
    found = recognize(mask, anatomy)
    plain = found.convention.name in (anatomy.name, "names", "structures")
    has_tissues = not set(anatomy.tissue_values).isdisjoint(found.mapping.values())
    if plain and has_tissues:
        return anatomy
    return load_scheme("whole-head" if found.kind == HEAD and found.convention.name == "whole-head" else "brats")
