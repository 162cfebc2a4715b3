"""What the buttons and the mouse of the effect do to the mask; everything but widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medddpm.errors import InputError
from medddpm.labels.scheme import LabelScheme
from MedDDPMSlicerLib.SegmentReading import readSegments
from MedDDPMSlicerLib.Segments import segmentValues

from . import Lesions, Options
from .Ghost import Ghost, GhostCache
from .Lesions import SaveUndo, Steps
from .Options import Motion, Point
from .SchemeChoice import chooseScheme


class EditActions:
    """Runs the operations with the parameters of the effect.

    ``read`` and ``write`` are the parameters (name, text); ``segmentationNode`` gives the node that is edited and
    ``synthParameters`` the parameter node of MedDDPM Synth (or None). Errors are InputError, with a sentence. What
    changes the mask is a generator that pauses, see ``Lesions``.
    """

    def __init__(
        self,
        read: Options.Read,
        write: Callable[[str, str], None],
        segmentationNode: Callable[[], Any],
        synthParameters: Callable[[], Any],
        saveUndo: SaveUndo,
    ) -> None:
        self._read, self._write = read, write
        self._chosen, self._synthParameters = segmentationNode, synthParameters
        self._saveUndo = saveUndo
        self._ghosts = GhostCache()

    def scheme(self) -> LabelScheme:
        """The labels of the mask, whose segments are read where nothing is known of them yet."""
        node, scheme = self._node(), self.knownScheme()
        if not any(segmentValues(node, scheme).values()):
            readSegments(node, scheme)
        return scheme

    def knownScheme(self) -> LabelScheme:
        """The labels of the mask, at no cost."""
        return chooseScheme(self._chosen(), self._synthParameters())

    def place(self, point: Point) -> Steps:
        """A lesion at a point (RAS mm, world), after the parameters."""
        options = Options.chosen(Options.LesionOptions, self._read)
        outcome = yield from Lesions.placeLesion(self._node(), self.scheme(), point, options, self._saveUndo)
        self.pick(point)
        return outcome

    def apply(self) -> Steps:
        """Change the tumor as the values say, and put these back."""
        motion, at = Options.chosen(Motion, self._read), Options.picked(self._read)
        outcome = yield from Lesions.changeTumor(self._node(), self.scheme(), motion, at, self._saveUndo)
        self._movePicked(motion)
        self.reset()
        return outcome

    def mirror(self) -> Steps:
        """Bring the tumor to the other side."""
        at = Options.picked(self._read)
        return (yield from Lesions.mirrorTumor(self._node(), self.scheme(), at, self._saveUndo))

    def drop(self, start: Point, motion: Motion) -> Steps:
        """The lesion at ``start`` (RAS mm, world) was dragged."""
        outcome = yield from Lesions.changeTumor(self._node(), self.scheme(), motion, start, self._saveUndo)
        self.pick(start)
        self._movePicked(motion)
        return outcome

    def pick(self, point: Point) -> None:
        """Remember the lesion that was clicked."""
        self._write("Picked", Options.formatPoint(point))

    def reset(self) -> None:
        """Put all values of a change back."""
        for name in Options.MOTION_NAMES:
            self._write(name, Options.DEFAULTS[name])

    def scaleDiameter(self, factor: float) -> None:
        """Another diameter for the next lesion, within its limits."""
        told, diameter = Options.OPTIONS["Diameter"], Options.valueOf(self._read, "Diameter")
        self._write("Diameter", Options.textOf(min(max(round(diameter * factor, 1), told.low), told.high)))

    def newShape(self) -> None:
        """Another shape for the next lesion."""
        seed = Options.valueOf(self._read, "Seed")
        self._write("Seed", str(seed % Options.MAX_SEED + 1))

    def ghostAt(self, point: Point) -> Ghost:
        """The outline of the lesion at a point."""
        return self._ghosts.get(self._node(), self.scheme(), point)

    def ghostOfChange(self) -> tuple[Ghost, Motion] | None:
        """What Apply would change and how; None where the values say no change."""
        motion = Options.chosen(Motion, self._read)
        if self._chosen() is None or not motion.changes:
            return None
        return self._ghosts.get(self._node(), self.scheme(), Options.picked(self._read), motion.grow), motion

    def forget(self) -> None:
        """Free what only a preview needs."""
        self._ghosts.clear()

    def _node(self) -> Any:
        node = self._chosen()
        if node is None:
            raise InputError("Choose a segmentation first.")
        return node

    def _movePicked(self, motion: Motion) -> None:
        """Let the remembered point go along with its lesion, where it only was shifted."""
        point = Options.parsePoint(self._read("Picked"))
        if point is not None:
            r, a, s = (p + d for p, d in zip(point, motion.shift, strict=True))
            self.pick((r, a, s))
