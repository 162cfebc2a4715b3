"""Tissues of a brain from its MR images: fractions of the values 4 to 11 of the scheme glioma-anatomy.

Label maps of healthy brains laid on the brain say what is to be expected where (``prior``), a mixture model of all
images together what is found (``mixture``). What it finds first pulls the label maps to their places, where it begins
again; so large, compressed or shifted ventricles are found, too. Neighbors then agree by a mean field, and fluid is
told apart as ventricles and the rest by growing through fluid from where the maps are sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..geometry.resample import resample
from ..geometry.volume import Volume, voxel_ml
from ..labels.morphology import close
from .brain_maps import CORTEX, CSF, TISSUES, VENTRICLES, WHITE
from .mixture import (
    CONTRAST,
    DEEP_GRAY,
    MIXED,
    PURE,
    Lattice3,
    Mixture,
    first_guess,
    fit,
    log_prior,
    neighbors,
    normalized,
    without_mixed,
)
from .prior import BRIGHTNESS, Prior, lay_bank
from .scan import Scan, scan_of

SAMPLE_MM = 2.0  # distance of the voxels from which the mixture is estimated
ITERATIONS = (24, 12)  # before and after the maps have followed the images
PRIOR_BLUR_MM = (3.0, 1.5)
# Of the pure classes, wherever the maps have something else: sulci and gyri differ from brain to brain.
ANYWHERE = np.array([0.04, 0.04, 0.0005, 0.04, 0.0005, 0.0005], np.float32)
EDGE_MM = 2.5  # voxels at the outline are cut and interpolated with the background; they are not learned from
DEEP_MM = 8.0  # from the outline on, where there is no dura
# Noise of neighboring voxels is alike, so each tells less than its likelihood says; those at the outline even less.
TRUST, EDGE_TRUST = 0.5, 0.15
UNSEEN_TRUST = 0.1  # of these, where an image does not reach
LEAST_LIKELY = 10.0  # logarithm by which, at the outline, nothing is less likely than as an outlier
NEIGHBORS = 0.3  # weight of a face neighbor 1 mm away in the Markov random field
MEAN_FIELD_STEPS = 5
MENINGES = 0.3  # where fluid is as likely as this by the maps, dura and vessels count as fluid, as they do there
PLEXUS_MM = 4.0  # in ventricles, what is up to twice as wide is plexus or flow
LOW_CONTRAST, LOW_DICE, HIGH_UNSEEN, WRONG_WAY = 1.2, 0.93, 0.03, 0.1


@dataclass(frozen=True)
class Tissues:
    """Tissues of a brain. ``fractions`` (8, X, Y, Z) float32, 0 to 1, in the order of ``numbering.TISSUES`` (values 4
    to 11 of the scheme glioma-anatomy): they sum to 1 in the brain without tumor and to 0 elsewhere.

    ``sentences`` say what is doubtful. ``facts``: "contrast" (white matter against cortex, in standard deviations of
    the noise), "outline Dice" (of the brain and the label maps laid on it), and the volume of each value in mL.
    """

    fractions: np.ndarray
    sentences: tuple[str, ...]
    facts: dict[str, float]


def segment_tissues(
    images: Mapping[str, Volume], brain: np.ndarray | None = None, tumor: np.ndarray | None = None
) -> Tissues:
    """Tissues of a brain from any of its T1, T1ce, T2 and FLAIR images (the keys), all on one grid.

    ``brain`` and ``tumor`` (edema included) are (X, Y, Z) bool on that grid; without ``brain`` it is taken from the
    images, if these are skull-stripped. Raises InputError where there is no image, where grids differ, and where the
    brain is not known or too small.
    """
    scan = scan_of(images, brain, tumor)
    prior = lay_bank(scan.brain, scan.affine)
    first = _fitted(scan, prior, 0)
    prior = prior.following(_brightness(scan, first.shares), scan.known, scan.affine)
    model = _fitted(scan, prior, 1, first)
    fractions = np.zeros((len(TISSUES), *scan.shape), np.float32)
    fractions[(slice(None), *scan.box)] = _divided(scan, prior, model, _mean_field(scan, model))
    facts = {"contrast": model.mixture.contrast, "outline Dice": prior.dice}
    volumes = fractions.sum(axis=(1, 2, 3), dtype=np.float64) * voxel_ml(scan.affine)
    facts |= {f"mL of {value}": float(volume) for value, volume in zip(TISSUES, volumes, strict=True)}
    return Tissues(fractions, (*_contradictions(scan, first), *_doubts(scan, facts)), facts)


def most_of(fractions: np.ndarray) -> np.ndarray:
    """The value of the largest of ``fractions`` (8, X, Y, Z) at each voxel, uint8; 0 where they sum below a half."""
    return np.where(fractions.sum(axis=0) < 0.5, 0, np.array(TISSUES, np.uint8)[fractions.argmax(axis=0)])


@dataclass(frozen=True)
class _Model:
    """The mixture as found, and what it says of the N known voxels.

    ``likelihood`` and ``log_prior`` (K, N) are logarithms for all classes, ``splits`` as of ``Mixture.splits``.
    ``expected`` (8, X, Y, Z): the prior of ``TISSUES``.
    """

    mixture: Mixture
    likelihood: np.ndarray
    log_prior: np.ndarray
    splits: np.ndarray
    expected: np.ndarray

    @cached_property
    def posterior(self) -> np.ndarray:
        """(K, N): of all classes."""
        return normalized(self.likelihood + self.log_prior)

    @property
    def shares(self) -> np.ndarray:
        """(7, N): of the pure classes and outliers."""
        return without_mixed(self.posterior, self.splits)


def _fitted(scan: Scan, prior: Prior, round_: int, before: _Model | None = None) -> _Model:
    """The mixture estimated from a part of the voxels, beginning with what was found ``before``, if anything was."""
    expected = prior.on_grid(prior.probabilities(PRIOR_BLUR_MM[round_]), scan.affine, scan.brain.shape)
    classes = _class_prior(expected[:, scan.known])
    steps = [max(1, round(SAMPLE_MM / s)) for s in scan.spacing]
    thinned = tuple(slice(None, None, step) for step in steps)
    inside = (scan.seen & (scan.depth > EDGE_MM))[thinned]
    chosen = np.zeros(scan.known.shape, bool)
    chosen[thinned] = inside
    sample = chosen[scan.known]
    spacing = tuple(n * s for n, s in zip(steps, scan.spacing, strict=True))
    lattice = Lattice3(inside, scan.depth[thinned][inside] > DEEP_MM, spacing)
    values = scan.values[:, scan.known].T
    if before is None:
        guess = first_guess(values[sample], classes[:, sample], scan.modalities)
    else:
        guess = before.posterior[:PURE, sample]
    mixture, bias = fit(values[sample], classes[:, sample], lattice, guess, ITERATIONS[round_])
    to_lattice = np.diag([1 / step for step in steps] + [1.0])
    even = values - np.stack([resample(b, to_lattice, scan.brain.shape, 0.0)[scan.known] for b in bias], axis=1)
    return _Model(mixture, mixture.log_likelihood(even), log_prior(classes), mixture.splits(even), expected)


def _class_prior(expected: np.ndarray) -> np.ndarray:
    """Prior of the pure classes (6, N) from that of the tissues (8, N)."""
    classes = np.stack([expected[1] + expected[2], *expected[3:]])
    classes /= np.maximum(classes.sum(axis=0), 1e-3)
    classes = classes * (1 - ANYWHERE.sum()) + ANYWHERE[:, None]
    return classes / classes.sum(axis=0)


def _brightness(scan: Scan, shares: np.ndarray) -> np.ndarray:
    """The tissues found as the image by which the label maps are registered, (X, Y, Z)."""
    image = np.zeros(scan.brain.shape, np.float32)
    image[scan.known] = BRIGHTNESS[[1, 3, 4, 5, 6, 7, 0]] @ shares
    return image


def _mean_field(scan: Scan, model: _Model) -> np.ndarray:
    """Shares of pure classes and outliers (7, X, Y, Z) that agree with their neighbors' (mean field)."""
    depth = scan.depth[scan.known]
    trust = np.interp(depth, (1.0, 3.0), (EDGE_TRUST, TRUST)) * np.where(scan.seen[scan.known], 1, UNSEEN_TRUST)
    likelihood = model.likelihood.copy()
    edge = depth < EDGE_MM  # takes what the maps have there, if its intensity is that of no tissue
    likelihood[:, edge] = np.maximum(likelihood[:, edge], likelihood[-1, edge] - LEAST_LIKELY)
    alone = likelihood * trust.astype(np.float32) + model.log_prior
    alone[-1, edge] = -np.inf
    weights = [NEIGHBORS * min(1.0, 1 / s) for s in scan.spacing]
    shares = np.zeros((PURE + 1, *scan.known.shape), np.float32)
    shares[:, scan.known] = model.shares
    for _ in range(MEAN_FIELD_STEPS):
        around = neighbors(shares, weights)[:, scan.known]
        both = [(around[a] + around[b]) / 2 for a, b, _ in MIXED]
        support = np.stack([*around[:PURE], *both, around[DEEP_GRAY], around[-1]])
        shares[:, scan.known] = without_mixed(normalized(alone + support), model.splits)
    return shares


def _divided(scan: Scan, prior: Prior, model: _Model, shares: np.ndarray) -> np.ndarray:
    """Fractions of ``TISSUES`` (8, X, Y, Z): fluid divided into ventricles and the rest.

    Fluid is ventricle where it is nearer, on a way through fluid, to where the maps have ventricles than to where they
    have other fluid. What is no tissue amid ventricles, as choroid plexus and flowing fluid, is part of them, and what
    is none amid other fluid, as dura and vessels, is part of that, since it is so in the maps.
    """
    fluid, other = shares[0], shares[-1]
    outer, inner = model.expected[TISSUES.index(CSF)], model.expected[TISSUES.index(VENTRICLES)]
    expected, likely = inner / np.maximum(inner + outer, 1e-3), np.clip((inner + outer) / MENINGES, 0, 1)
    any_map = prior.on_grid(prior.ventricles(), scan.affine, scan.brain.shape)[0]
    sure = fluid > 0.5
    seeds = np.zeros(fluid.shape, np.uint8)
    seeds[sure & (expected > 0.5) & (any_map > 0.25)] = 1
    seeds[sure & (expected < 0.3) & (any_map < 0.3)] = 2
    level = sitk.GetImageFromArray((~sure).astype(np.uint8))
    grown = sitk.MorphologicalWatershedFromMarkers(level, sitk.GetImageFromArray(seeds), False, False)
    ventricle = (sitk.GetArrayFromImage(grown) == 1) & sure
    # Voxels half full belong to the fluid beside them.
    beside, around = (_blurred(mask, scan.spacing) for mask in (ventricle, sure))
    share = np.where(around > 0.02, np.clip(beside / np.maximum(around, 0.02), 0, 1), expected)
    share = np.where(sure, ventricle, share)
    within = close(ventricle, PLEXUS_MM, scan.spacing) & (any_map > 0.25)
    plexus = other * np.where(within, 1, likely * expected)
    meninges = other * np.where(within, 0, likely * (1 - expected))
    fluids = fluid * (1 - share) + meninges, fluid * share + plexus
    return np.stack([other - plexus - meninges, *fluids, *shares[1:PURE]], dtype=np.float32)


def _blurred(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, [0.8 / s for s in spacing[::-1]]))


def _contradictions(scan: Scan, model: _Model) -> list[str]:
    """Images whose contrast is not that of the modality that they are said to be."""
    means = {}
    for value in (VENTRICLES, CORTEX, WHITE):
        weight = model.expected[TISSUES.index(value)] ** 2 * scan.seen
        means[value] = (scan.values * weight).sum(axis=(1, 2, 3)) / max(float(weight.sum()), 1e-6)
    sentences = []
    for index, name in enumerate(scan.modalities):
        fluid, white = CONTRAST[name]
        against = (fluid * (means[VENTRICLES] - means[WHITE])[index], white * (means[WHITE] - means[CORTEX])[index])
        if min(against) < -WRONG_WAY:
            sentences.append(
                f"The image given as {name} does not have the usual contrast of ventricles, cortex and white matter: "
                "the tissues may be wrong. Check its modality."
            )
    return sentences


def _doubts(scan: Scan, facts: Mapping[str, float]) -> list[str]:
    sentences = []
    unseen = 1 - np.count_nonzero(scan.seen) / np.count_nonzero(scan.known)
    if unseen > HIGH_UNSEEN:
        sentences.append(
            f"At least one image does not cover {unseen:.0%} of the brain; the tissues there follow other brains."
        )
    if facts["contrast"] < LOW_CONTRAST:
        sentences.append(
            f"Gray and white matter hardly differ in the images ({facts['contrast']:.1f} standard deviations of the "
            "noise): their border follows other brains more than this one."
        )
    if facts["outline Dice"] < LOW_DICE:
        sentences.append(
            f"The brain's outline is unlike that of other brains (Dice {facts['outline Dice']:.2f}): the tissues may "
            "be wrong. Check the outline."
        )
    return sentences
