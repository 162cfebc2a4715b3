"""What the scripts that take pictures share: the window, scrolling, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from driving import WINDOW, rest

PANEL_WIDTH = 540
GRAYS, GRAY_TOLERANCE = 86, 6


def savePicture(path: Path) -> None:
    """Save what the main window shows, with a palette where Pillow is installed. Raises OSError."""
    if not slicer.util.mainWindow().grab().save(str(path)):
        raise OSError(f"No picture could be written to {path}.")
    compress(path)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def prepareWindow() -> None:
    """A window of fixed size with a panel of fixed width, without what the tutorial does not need."""
    window = slicer.util.mainWindow()
    window.showNormal()
    window.resize(*WINDOW)
    dock = slicer.util.findChildren(window, name="PanelDockWidget")[0]
    dock.setMinimumWidth(PANEL_WIDTH)
    dock.setMaximumWidth(PANEL_WIDTH)
    for probe in slicer.util.findChildren(window, name="DataProbeCollapsibleWidget"):
        probe.collapsed = True
    rest(0.3)


def scroll(widget: Any) -> None:
    """Scroll the panel so that the widget is in sight, its end last."""
    area = widget.parent()
    while not isinstance(area, qt.QScrollArea):
        area = area.parent()
    top = widget.mapTo(area.widget(), qt.QPoint(0, 0)).y()
    bar = area.verticalScrollBar()
    bar.setValue(0)
    if top + widget.height > area.viewport().height:
        bar.setValue(min(top, top + widget.height - area.viewport().height + 10))


def compress(path: Path) -> None:
    """Write a picture again with a palette: enough grays that an image shows no false contours, the rest for colors."""
    try:
        from PIL import Image
    except ImportError:
        return
    with Image.open(path) as image:
        whole = image.convert("RGB")
    pixels = np.asarray(whole)
    gray = np.ptp(pixels, axis=2, keepdims=True) <= GRAY_TOLERANCE
    colors = Image.fromarray(np.where(gray, 0, pixels).astype(np.uint8)).quantize(256 - GRAYS).getpalette() or []
    grays = [level for level in np.linspace(0, 255, GRAYS).round().astype(int).tolist() for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*grays, *colors[: 3 * (256 - GRAYS)]])
    whole.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
