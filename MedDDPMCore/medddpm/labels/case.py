"""A mask under examination, and whether it has the size, shape and way up of a head or brain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..config import MaskPrior, ModelConfig
from ..geometry.grid import place
from ..geometry.volume import Mask, Volume, Window, axis_codes, spacing_of, voxel_ml
from .conventions import BRAIN, HEAD, outline_kind
from .findings import INFO, WARNING, Finding, amount, milliliters
from .outline import coordinate
from .recognize import Recognition
from .sizes import unit_factor

# From the voxels of a tumor (X, Y, Z) and their affine to a brain around it, on the same grid or that grid extended,
# and a clause on how.
BrainAround = Callable[[np.ndarray, np.ndarray], tuple[Volume, str]]
# Adults, where a model brings no limits of its own training data: mL and mm (right-left, front-back, foot-head).
ADULT: dict[str, MaskPrior] = {
    BRAIN: MaskPrior((800.0, 2100.0), (0.02, 350.0), ((105.0, 170.0), (130.0, 205.0), (95.0, 175.0))),
    HEAD: MaskPrior((2000.0, 6500.0), (0.02, 350.0), ((120.0, 215.0), (150.0, 270.0), (120.0, 340.0))),
}
AXES = ("right to left", "front to back", "foot to head")
# A head's outline lies between these (mm) whatever its age; beyond, the unit of the spacing is wrong.
OUTLINE_MM = (45.0, 450.0)
# All measured brains (29 of 29) have a front-back skewness of +0.14 to +0.29 and a correlation of front with top of
# +0.17 to +0.29; a smaller value of the other sign is a brain turned round or upside down.
TURNED = -0.08


@dataclass
class Case:
    """The state that goes through the steps of the check.

    ``labels``: the label map (X, Y, Z), first in the file's values, from recognition on uint8 in the scheme's;
    ``image``: the reference image's intensities on the mask's grid, where there is one. A step that makes going on
    senseless sets ``stopped``; ``declined`` findings could be repaired, but nobody wanted that.
    """

    mask: Mask
    config: ModelConfig
    labels: np.ndarray
    image: np.ndarray | None = None
    brain_around: BrainAround | None = None
    recognition: Recognition | None = None
    findings: list[Finding] = field(default_factory=list)
    declined: list[Finding] = field(default_factory=list)
    stopped: bool = False

    @property
    def affine(self) -> np.ndarray:
        """Voxel index -> RAS mm."""
        return self.mask.volume.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing along the array axes, mm."""
        return spacing_of(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, mL."""
        return voxel_ml(self.affine)

    @property
    def kind(self) -> str:
        """``"brain"`` or ``"head"``: what the model wants outlined."""
        return outline_kind(self.config.scheme)

    @property
    def surround(self) -> np.ndarray:
        """Voxels inside of the outline that are no tumor: of the surround label or of a tissue."""
        return self._of(self.config.scheme.surround, *self.config.scheme.tissue_values)

    @property
    def tumor(self) -> np.ndarray:
        """Voxels of any tumor part."""
        return self._of(*self.config.scheme.tumor_values)

    def _of(self, *values: int) -> np.ndarray:
        found = np.zeros(self.labels.shape, dtype=bool)
        for value in values:  # few: faster than np.isin
            found |= self.labels == value
        return found

    def within(self, box: Window) -> Case:
        """The same examination, with the same lists of findings, of a part of the map: most of a scan is air."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        mask = Mask(Volume(self.mask.volume.data[box], affine), self.mask.segments)
        image = None if self.image is None else self.image[box]
        return replace(self, mask=mask, labels=self.labels[box].copy(), image=image)

    def move_to(self, labels: Volume) -> None:
        """Go on with ``labels`` on another grid, on which there is no image."""
        self.labels, self.image, self.mask = labels.data, None, Mask(labels, self.mask.segments)

    def add(
        self, code: str, severity: str, sentence: str, fix: str = "", fixable: bool = False, invented: bool = False
    ) -> None:
        """Note a finding."""
        self.findings.append(Finding(code, severity, sentence, fixable, fix, invented))

    def stop(self, code: str, sentence: str, fix: str) -> None:
        """Note an error that nothing can be done about, and end the check."""
        self.add(code, "error", sentence, fix)
        self.stopped = True

    def amount(self, voxels: np.ndarray) -> str:
        """How much of the mask is true in ``voxels``, for reading."""
        return amount(int(np.count_nonzero(voxels)), self.voxel_ml)


def outline_points(case: Case) -> np.ndarray:
    """RAS coordinates (mm), (N, 3), of some ten thousand voxels of the outline, borders included."""
    outline = np.ascontiguousarray(case.labels > 0)
    spots = np.flatnonzero(outline)
    some = np.stack(np.unravel_index(spots[:: max(1, len(spots) // 20_000)], outline.shape), axis=1)
    ends = [_end(outline, axis, last) for axis in range(3) for last in (False, True)]
    return np.concatenate([some, np.array(ends)]) @ case.affine[:3, :3].T + case.affine[:3, 3]


def _end(outline: np.ndarray, axis: int, last: bool) -> list[int]:
    """Indices of a voxel of the outline, which is not empty, in its first or last plane along an array axis."""
    planes = np.flatnonzero(outline.any(axis=tuple(a for a in range(3) if a != axis)))
    plane = int(planes[-1 if last else 0])
    spot = [int(i) for i in np.argwhere(outline.take(plane, axis=axis))[0]]
    return [*spot[:axis], plane, *spot[axis:]]


def check_units(case: Case) -> None:
    """Find a spacing in the wrong unit, from the outline's size or, without an outline, from the field of view's."""
    found = bool(case.recognition and case.recognition.outline)
    view = max(n * s for n, s in zip(case.labels.shape, case.spacing, strict=True))
    extent = float(np.ptp(outline_points(case), axis=0).max()) if found else view
    wrong = not OUTLINE_MM[0] <= extent <= OUTLINE_MM[1] if found else unit_factor(view, case.spacing) != 1
    if not wrong:
        return
    factor = unit_factor(view, (0.0, 0.0, 0.0) if found else case.spacing)  # an outline is no small part of a head
    what = f"The {case.kind}" if found else "The field of view"
    spacing = " x ".join(f"{s:g}" for s in case.spacing)
    guesses = {10.0: "centimeters", 1000.0: "meters", 0.001: "micrometers", 0.1: "tenths of a millimeter"}
    unit = guesses.get(round(factor, 6))
    guess = f"is the spacing in {unit} instead of millimeters?" if unit else "is the spacing right?"
    sentence = (
        f"{what} would be {extent:,.4g} mm large, which is not plausible for a head, with the voxel spacing {spacing} "
        f"mm: {guess}"
    )
    case.stop("spacing-units", sentence, "Correct the spacing in the file.")


def check_size(case: Case) -> None:
    """Compare outline volume, outline extent and tumor volume with the training data's or an adult's."""
    prior, whose = _prior(case)
    outline_ml = float(np.count_nonzero(case.labels)) * case.voxel_ml
    _outside(case, "outline-size", f"The {case.kind} is {milliliters(outline_ml)}", outline_ml, prior.outline_ml, whose)
    extents = np.ptp(outline_points(case), axis=0) + np.abs(case.affine[:3, :3]).max(axis=1)
    for extent, limits, axis in zip(extents, prior.outline_extent_mm, AXES, strict=True):
        text = f"The {case.kind} measures {extent:.0f} mm from {axis}"
        _outside(case, "outline-extent", text, float(extent), limits, whose, "mm")
    tumor_ml = float(np.count_nonzero(case.tumor)) * case.voxel_ml
    if tumor_ml:
        _outside(case, "tumor-size", f"The tumor is {milliliters(tumor_ml)}", tumor_ml, prior.tumor_ml, whose)


def _prior(case: Case) -> tuple[MaskPrior, str]:
    if case.config.prior is not None:
        return case.config.prior, "the masks this model was trained on"
    return ADULT[case.kind], "adults"


def _outside(
    case: Case, code: str, text: str, value: float, limits: tuple[float, float], whose: str, unit: str = "mL"
) -> None:
    low, high = limits
    if low <= value <= high:
        return
    word = "smaller" if value < low else "larger"
    sentence = f"{text}, {word} than in {whose} ({low:g} to {high:g} {unit})."
    case.add(code, WARNING, sentence, "Check the mask and its spacing; the images may be unrealistic.")


def check_orientation(case: Case) -> None:
    """Find a brain or head that lies otherwise than the file's orientation says (left and right cannot be told)."""
    points = outline_points(case)
    _, y, z = (points - points.mean(axis=0)).T
    problem = _wide_problem(case, points)
    if not problem and case.kind == BRAIN:
        skew = float((y**3).mean() / y.std() ** 3) if y.std() else 0.0
        rise = float((y * z).mean() / (y.std() * z.std())) if y.std() and z.std() else 0.0
        if skew < TURNED:
            problem = "front and back look exchanged (its narrow end, the front, lies at the back)"
            rise = -rise
        if rise < TURNED:
            problem = (
                "it looks upside down (the frontal lobes lie lowest)"
                if not problem
                else problem + " and so do top and bottom"
            )
    elif not problem and _upside_down_head(case):
        problem = "it looks upside down (its dome lies at the bottom)"
    if problem:
        codes = "".join(axis_codes(case.affine))
        sentence = f"The {case.kind} is not oriented as the file says ({codes}): {problem}."
        case.add(
            "orientation", WARNING, sentence, "Check the orientation of the file, best by loading it over its image."
        )


def _wide_problem(case: Case, points: np.ndarray) -> str:
    """Whether the outline is wider than it is long, which only a cut-off head is."""
    wide, long = (float(v) for v in np.ptp(points, axis=0)[:2])
    if wide <= 1.12 * long or _cut(case, 1):
        return ""
    return f"it is wider ({wide:.0f} mm) than long ({long:.0f} mm)"


def _cut(case: Case, axis: int) -> bool:
    """Whether the field of view cuts the outline along the array axis nearest to a patient axis."""
    array_axis = int(np.abs(case.affine[axis, :3]).argmax())
    planes = np.moveaxis(case.labels, array_axis, 0)
    return bool(planes[0].any() or planes[-1].any())


def _upside_down_head(case: Case) -> bool:
    """Heads end in a dome at the top and in face and neck at the bottom: compare the outermost fifths."""
    outline = case.labels > 0
    height = coordinate(outline.shape, case.affine, 2)[outline]
    low, high = float(height.min()), float(height.max())
    fifth = (high - low) / 5
    bottom = np.count_nonzero(height < low + fifth)
    return bool(np.count_nonzero(height > high - fifth) > 1.3 * bottom)


def grid_steps(config: ModelConfig) -> list[int]:
    """By how many voxels each side of the model's grid may grow to hold a mask; 0: what is beyond is cut.

    Of a head, what is beyond the height of the grid is neck.
    """
    whole = outline_kind(config.scheme) == BRAIN
    return [config.network.divisor if whole or code not in "SI" else 0 for code in config.grid.orientation]


def check_grid(case: Case) -> None:
    """Say so where the mask does not fit the model's grid, and warn where that cuts it."""
    placement = place(case.labels.shape, case.affine, case.labels > 0, case.config.grid, grid_steps(case.config))
    if placement.sentence:
        case.add("grid", WARNING if placement.lost else INFO, placement.sentence)


def check_tumor(case: Case) -> None:
    """Say so where there is no tumor: the model then makes a healthy brain."""
    if not case.tumor.any():
        case.add("no-tumor", INFO, f"The mask has no tumor: the model will make a {case.kind} without one.")
