"""What panels say of times, sizes, progress and models, as plain functions without Qt."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

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
