"""What is known of one prepared case, and what the outlier check says of it, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """A file's grid: voxels and spacing (mm) along the array axes, and the direction in which these grow ("LPS")."""

    shape: tuple[int, int, int]
    spacing: Triple
    orientation: str


@dataclass(frozen=True)
class Move:
    """How an image was moved to lie on another: millimeters that the middle of the head went, degrees of turning.

    ``onto``: the modality, or "template". ``gain``: how much more the two tell of each other than before (mutual
    information, nats; None where they did not overlap before). ``unusual``: too much for two images of one visit.
    """

    onto: str
    shift_mm: float
    rotation_degrees: float
    gain: float | None
    unusual: bool


@dataclass(frozen=True)
class ImageFacts:
    """One image. ``low`` to ``high`` are its intensities that became -1 to +1, in the units of the file.

    ``mean`` and ``std`` are of the scaled image, [-1, 1], inside the outline; ``surroundings`` is its median outside.
    ``histogram``: voxels inside the outline in equal bins of [-1, 1]. ``covered``: share of the outline that the image
    reaches; ``empty``: share of the outline, and ``tumor_empty`` of the tumor, in which it is as dark as nothing.
    ``sha256`` is the file's, ``voxels`` a hash of shape and values alone.
    """

    modality: str
    geometry: Geometry
    low: float
    high: float
    mean: float
    std: float
    surroundings: float
    histogram: tuple[int, ...]
    covered: float
    empty: float
    tumor_empty: float
    sha256: str
    voxels: str
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True)
class MaskFacts:
    """The mask as used. Sizes in milliliters and millimeters (right-left, front-back, foot-head).

    ``kind``: what it outlines, "brain" or "head". ``labels_ml``: scheme value -> volume. ``lost_ml`` and
    ``lost_share``: what of the head the grid cuts off; ``tumor_lost_ml`` the same of the tumor. ``made``: the outline
    was not in the file. ``geometry`` and ``sha256`` are None where there is no file; ``voxels`` is a hash of shape and
    values alone.
    """

    kind: str
    geometry: Geometry | None
    sha256: str | None
    outline_ml: float
    tumor_ml: float
    labels_ml: tuple[tuple[int, float], ...]
    extent_mm: Triple
    lost_ml: float
    lost_share: float
    tumor_lost_ml: float
    made: bool
    voxels: str


@dataclass(frozen=True)
class CaseFacts:
    """All that is known of one case.

    ``grid_affine``: where the model's grid lies, voxel -> RAS mm. ``findings``: what the mask check mended or warns of,
    each a code and a sentence.
    ``sentences``: what was found, mended, moved and cut, for reading. ``fingerprint``: what the first image looks like,
    coarsely (see ``preparation.duplicates``), to find cases that are alike.
    """

    id: str
    patient: str
    images: tuple[ImageFacts, ...]
    mask: MaskFacts
    grid_affine: tuple[tuple[float, ...], ...]
    findings: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Flag:
    """One thing about a case that a person should look at.

    ``code`` names it for programs. ``severity`` is "warning" (the case may harm the training: such cases are left out
    where that is asked for) or "info" (worth knowing). ``others``: ids of further cases that it is about.
    """

    code: str
    severity: str
    case: str
    sentence: str
    others: tuple[str, ...] = ()
