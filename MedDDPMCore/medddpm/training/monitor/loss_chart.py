"""The loss of a run over its iterations as a PNG, drawn with Pillow as the contact sheets are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...parse import printable
from ...synthesis.sheet import save_sheet
from .verdict import Metric, finite, series, thinned

NAME = "loss.png"
WIDTH, HEIGHT, SCALE = 900, 500, 2  # drawn at SCALE times the size, so that lines become smooth
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 96, 60
POINTS, SMOOTHED, LONGEST = 900, 60, 84
TICKS = 5
WIDE = 20.0  # ratio of the largest to the smallest loss from which the axis is logarithmic
BLACK, GRAY, GRID, LIGHT, BLUE, ORANGE = "#222222", "#666666", "#e3e3e3", "#9ecae1", "#08519c", "#d94801"
HINT = "Lower is better. Validation loss that rises for good while training loss falls is a sign of overfitting."


def draw_loss(metrics: Sequence[Metric], path: Path, name: str) -> None:
    """Draw training and validation loss of the lines of ``metrics.jsonl`` to ``path``, whole or not at all.

    Without any loss nothing is written. Raises InputError where the file cannot be written.
    """
    train, validation = (finite(series(metrics, kind)) for kind in ("train", "validation"))
    both = np.concatenate([train, validation], axis=1)
    if not both.size:
        return
    title = f"Loss during the training of {printable(name)}"
    title = title if len(title) <= LONGEST else f"{title[: LONGEST - 3]}..."
    axes = _Axes(both[1], int(both[0].max()))
    axes.grid()
    many = train.shape[1] > SMOOTHED
    if many:
        axes.curve(thinned(train, POINTS), LIGHT, 1)
    axes.curve(thinned(train, SMOOTHED), BLUE, 3)
    axes.curve(validation, ORANGE, 2, dots=True)
    legend = [(LIGHT, "Training, as logged")] if many else []
    legend += [(BLUE, f"Training{', smoothed' if many else ''}")] if train.size else []
    if validation.size:
        iteration, loss = validation[:, validation[1].argmin()]
        told = f"Validation, lowest {loss:.4g} at iteration {iteration:,.0f}"
        legend.append((ORANGE, told))
    axes.words(title, legend)
    save_sheet(axes.image.reduce(SCALE), path, title)


class _Axes:
    """A drawing with axes for losses from 0 to ``last`` iterations; a few losses far above the others are cut off."""

    def __init__(self, losses: np.ndarray, last: int) -> None:
        self.image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), "white")
        self._draw = ImageDraw.Draw(self.image)
        self._last = max(1, last)
        low, high = float(losses.min()), float(np.percentile(losses, 99))
        self._log = low > 0 and high > WIDE * low
        pad = 0.05 * (self._place(high) - self._place(low)) or 0.5 * abs(self._place(high)) or 1.0
        self._low, self._high = self._place(low) - pad, self._place(high) + pad

    def _place(self, loss: float) -> float:
        return math.log10(loss) if self._log else loss

    def _x(self, iteration: float) -> float:
        return SCALE * (LEFT + (WIDTH - LEFT - RIGHT) * iteration / self._last)

    def _y(self, place: float) -> float:
        share = min(1.0, max(0.0, (place - self._low) / (self._high - self._low)))
        return SCALE * (HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share)

    def grid(self) -> None:
        """Lines and numbers of both axes."""
        bottom, top = SCALE * (HEIGHT - BOTTOM), SCALE * TOP
        powers = [factor * 10.0**power for power in range(-9, 9) for factor in (1, 3)]
        for value in powers if self._log else _ticks(self._low, self._high):
            if self._low <= self._place(value) <= self._high:
                y = self._y(self._place(value))
                self._draw.line((self._x(0), y, self._x(self._last), y), GRID, SCALE)
                self._text((self._x(0) - 16, y), f"{value:.3g}", 13, GRAY, "rm")
        for iteration in _ticks(0, self._last):
            self._text((self._x(iteration), bottom + 14), f"{iteration:,.0f}", 13, GRAY, "ma")
        self._draw.line((self._x(0), top, self._x(0), bottom, self._x(self._last), bottom), GRAY, SCALE)
        self._text(((self._x(0) + self._x(self._last)) / 2, bottom + 54), "Iteration", 14, BLACK, "ma")
        self._text((SCALE * 12, top - 16), "Loss (logarithmic)" if self._log else "Loss", 14, BLACK, "lb")

    def curve(self, losses: np.ndarray, color: str, width: int, dots: bool = False) -> None:
        """The losses, joined by a line."""
        points = [(self._x(i), self._y(self._place(v))) for i, v in losses.T.tolist()]
        if len(points) > 1:
            self._draw.line(points, color, width * SCALE, joint="curve")
        for x, y in points if dots or len(points) == 1 else []:
            self._draw.ellipse((x - 6, y - 6, x + 6, y + 6), color)

    def words(self, title: str, legend: list[tuple[str, str]]) -> None:
        """What the chart shows, and whose curves these are."""
        self._text((SCALE * 12, SCALE * 10), title, 18, BLACK, "la")
        self._text((SCALE * 12, SCALE * 38), HINT, 13, GRAY, "la")
        x, y = self._x(self._last), SCALE * (TOP - 16)
        for color, text in reversed(legend):
            x -= ImageFont.load_default(13 * SCALE).getlength(text)
            self._text((x, y), text, 13, BLACK, "lm")
            self._draw.line((x - 34 * SCALE, y, x - 8 * SCALE, y), color, 3 * SCALE)
            x -= 54 * SCALE

    def _text(self, at: tuple[float, float], text: str, size: int, color: str, anchor: str) -> None:
        self._draw.text(at, text, color, ImageFont.load_default(size * SCALE), anchor)


def _ticks(low: float, high: float) -> list[float]:
    """About ``TICKS`` round numbers between two."""
    rough = (high - low) / TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [n * step for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
