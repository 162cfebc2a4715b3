"""Slicer's segmentation files (.seg.nrrd): names, terminology codes, and overlapping layers flattened to one label map.

The header has ``Segment{N}_Name``, ``_ID``, ``_LabelValue``, ``_Layer`` and ``_Tags`` for each segment N. Files
written before Slicer 4.11 have one layer a segment and no values. Cropped extents need no care: the header's origin is
that of the stored voxels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from .volume import Segment

_KEY = re.compile(r"Segment(\d{1,5})_(?:ID|Name|LabelValue|Layer)")


@dataclass(frozen=True)
class StoredSegment:
    """A segment as the header describes it: the layer it is in and its value there."""

    layer: int
    value: int
    name: str
    code: str


def stored_segments(path: Path, metadata: Mapping[str, str], layers: int) -> list[StoredSegment]:
    """The segments that ``metadata`` describes, in their order; empty where it describes none. Raises InputError."""
    kinds = (metadata.get(f"Segmentation_{key}Representation", "") for key in ("Master", "Source"))
    if any("fractional" in kind.lower() for kind in kinds):
        raise InputError(f"{path} holds a fractional segmentation. Export it from Slicer as a binary label map.")
    numbers = sorted({int(match.group(1)) for key in metadata if (match := _KEY.fullmatch(key))})
    return [_stored_segment(path, metadata, number, layers) for number in numbers]


def flatten(path: Path, layers: np.ndarray, stored: list[StoredSegment]) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """One label map (X, Y, Z) from ``layers`` (X, Y, Z, L), and its segments.

    Where segments overlap, the one with the smaller volume wins, so that a tumor painted over a head is not lost.
    Values are kept; a value that an earlier segment of another layer has already is replaced by the lowest free one.
    """
    if layers.shape[3] == 1:
        return layers[..., 0], tuple(Segment(s.value, s.name, s.code) for s in stored)
    if layers.dtype.kind not in "iu":
        raise InputError(f"{path} has several layers of fractional numbers. Export it as a binary label map.")
    volumes = _volumes(layers)
    keys = [(s.layer, s.value) for s in stored]
    keys += [key for key in volumes if key not in keys]
    values = _distinct_values(keys)
    dtype = np.uint8 if max(values.values(), default=0) < 256 else np.int32
    labels = np.zeros(layers.shape[:3], dtype)
    for layer, value in sorted(volumes, key=lambda key: volumes[key], reverse=True):
        labels[layers[..., layer] == value] = values[layer, value]
    return labels, tuple(Segment(values[s.layer, s.value], s.name, s.code) for s in stored)


def terminology_code(tags: str) -> str:
    """The type's ``scheme^value^meaning`` in a ``Segment{N}_Tags`` entry, or "" where there is none."""
    for tag in tags.split("|"):
        parts = tag.split("~")
        if parts[0].startswith("TerminologyEntry:") and len(parts) > 2:
            return parts[2] if parts[2].strip("^ ") else ""
    return ""


def _stored_segment(path: Path, metadata: Mapping[str, str], number: int, layers: int) -> StoredSegment:
    prefix = f"Segment{number}_"
    layer = _integer(path, metadata, prefix + "Layer", number if layers > 1 else 0)
    value = _integer(path, metadata, prefix + "LabelValue", 1 if layers > 1 else number + 1)
    if not 0 <= layer < layers:
        raise InputError(f"{path} has {prefix}Layer = {layer}, but only {layers} layers. Save the segmentation again.")
    if not 0 < value < 2**31:
        raise InputError(
            f"{path} has {prefix}LabelValue = {value}, which must be above 0. Save the segmentation again."
        )
    name = metadata.get(prefix + "Name") or metadata.get(prefix + "ID", "")
    return StoredSegment(layer, value, name, terminology_code(metadata.get(prefix + "Tags", "")))


def _integer(path: Path, metadata: Mapping[str, str], key: str, default: int) -> int:
    try:
        return int(metadata.get(key, default))
    except ValueError as exc:
        raise InputError(f"{path} has {key} = '{metadata[key]}', not an integer. Save the segmentation again.") from exc


def _volumes(layers: np.ndarray) -> dict[tuple[int, int], int]:
    """Voxels of each (layer, value) that occurs."""
    volumes: dict[tuple[int, int], int] = {}
    for layer in range(layers.shape[3]):
        for value, count in zip(*np.unique(layers[..., layer], return_counts=True), strict=True):
            if value != 0:
                volumes[layer, int(value)] = int(count)
    return volumes


def _distinct_values(keys: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    wanted = {value for _, value in keys}
    used: set[int] = set()
    values: dict[tuple[int, int], int] = {}
    for key in keys:
        value = key[1]
        if value in used and key not in values:
            value = next(n for n in range(1, len(keys) + len(wanted) + 2) if n not in wanted | used)
        values.setdefault(key, value)
        used.add(values[key])
    return values
