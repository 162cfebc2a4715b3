"""Small charts as inline SVG: no script, colors from the page's style, said in words for those who cannot see them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 260, 130
LEFT, RIGHT, TOP, BOTTOM = 28, 8, 8, 30
MAX_BARS = 14


def histogram(values: Sequence[float], unit: str) -> str:
    """How often values fall into equal bins. ``values`` must not be empty."""
    data = np.asarray(values, float)
    counts, edges = np.histogram(data, _bins(data))
    words = f"{len(data)} cases from {data.min():.4g} to {data.max():.4g} {unit}, median {np.median(data):.4g} {unit}"
    most = max(1, int(counts.max()))
    wide = (WIDTH - LEFT - RIGHT) / len(counts)
    bars = "".join(
        f'<rect class="bar" x="{LEFT + i * wide + 0.5:.1f}" y="{_y(n / most):.1f}" width="{wide - 1:.1f}" '
        f'height="{_y(0) - _y(n / most):.1f}"/>'
        for i, n in enumerate(counts.tolist())
        if n
    )
    return _svg(words, bars + _axes((f"{edges[0]:.4g}", f"{edges[-1]:.4g} {unit}"), str(most), "cases"))


def curves(histograms: Sequence[Sequence[int]]) -> str:
    """The median and the middle 80 percent of distributions over [-1, 1], each case counting alike."""
    shares = np.asarray(histograms, float)
    totals = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, totals, out=np.zeros_like(shares), where=totals > 0)
    low, middle, high = np.percentile(shares, [10, 50, 90], axis=0)
    most = max(1e-9, float(high.max()))
    x = LEFT + (np.arange(shares.shape[1]) + 0.5) * (WIDTH - LEFT - RIGHT) / shares.shape[1]
    band = _points(x, high / most) + " " + _points(x[::-1], low[::-1] / most)
    drawn = f'<polygon class="band" points="{band}"/><polyline class="curve" points="{_points(x, middle / most)}"/>'
    peak = (middle.argmax() + 0.5) / shares.shape[1]
    words = f"Distribution of intensity in {len(shares)} cases, most often at {peak:.0%} of the full range"
    return _svg(words, drawn + _axes(("dark", "bright"), "", "share of voxels"))


def _bins(data: np.ndarray) -> np.ndarray:
    """Edges of as many bins as the number of values can fill."""
    low, high = float(data.min()), float(data.max())
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, 1 + int(np.clip(round(len(data) ** 0.5 * 2), 4, MAX_BARS)))


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _points(x: np.ndarray, shares: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{_y(float(b)):.1f}" for a, b in zip(x, shares, strict=True))


def _axes(ends: tuple[str, str], top: str, what: str) -> str:
    floor = _y(0)
    return (
        f'<line class="axis" x1="{LEFT}" y1="{floor:.1f}" x2="{WIDTH - RIGHT}" y2="{floor:.1f}"/>'
        f'<text x="{LEFT}" y="{floor + 14:.1f}">{escape(ends[0])}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{floor + 14:.1f}" text-anchor="end">{escape(ends[1])}</text>'
        f'<text x="{LEFT - 4}" y="{TOP + 9}" text-anchor="end">{escape(top)}</text>'
        f'<text transform="translate(10 {floor:.1f}) rotate(-90)">{escape(what)}</text>'
    )


def _svg(words: str, inside: str) -> str:
    label = escape(words, quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>{inside}</svg>'
