"""Tissues of a brain from its MR images: fractions of the values 4 to 11 of the scheme glioma-anatomy.

Bias correction (N4: Tustison et al. 2010, doi:10.1109/TMI.2010.2046908), a prior from the label maps of the bank laid
on the brain, and a mixture model of all images together (``mixture``). What the model finds first pulls the label maps
to their places, where it begins again; so large, compressed or shifted ventricles are found, too. Fluid is told apart
as ventricles and the rest by growing through fluid from where the maps are sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError
from ..geometry.resample import resample
from ..geometry.volume import Volume, spacing_of, voxel_ml
from ..labels.morphology import bounding_box, close, distance_to, erode
from ..labels.outline import brain_from_image
from .mixture import (
    CONTRAST,
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
from .numbering import TISSUES
from .prior import BRIGHTNESS, Prior, lay_bank

LEAST_ML = 100.0
N4_MM = 5.0  # voxels on which the bias field is estimated
SAMPLE_MM = 2.0  # distance of the voxels from which the mixture is estimated
PRIOR_BLUR_MM = (3.0, 1.5)  # before and after the maps have followed the images
# Of the pure classes, wherever the maps have something else: sulci and gyri differ from brain to brain.
ANYWHERE = np.array([0.04, 0.04, 0.0005, 0.04, 0.0005, 0.0005], np.float32)
EDGE_MM = 2.5  # voxels at the outline are cut and interpolated with the background; they are not learned from
# Noise of neighboring voxels is alike, so each tells less than its likelihood says; those at the outline even less.
TRUST, EDGE_TRUST = 0.5, 0.15
UNSEEN_TRUST = 0.1  # of these, where an image does not reach
NEIGHBORS = 0.3  # weight of a face neighbor 1 mm away in the Markov random field
MEAN_FIELD_STEPS = 5
MENINGES = 0.3  # where fluid is as likely as this by the maps, dura and vessels count as fluid, as they do there
PLEXUS_MM = 4.0  # in ventricles, what is up to twice as wide is plexus or flow


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


@dataclass(frozen=True)
class _Scan:
    """What the model sees, cut to the brain: ``values`` (d, X, Y, Z), about 0 to 1.

    ``known`` is brain without tumor, ``seen`` the part of it that all images show: some end before the brain does.
    """

    values: np.ndarray
    modalities: tuple[str, ...]
    brain: np.ndarray
    known: np.ndarray
    seen: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        return spacing_of(self.affine)


def segment_tissues(
    images: Mapping[str, Volume], brain: np.ndarray | None = None, tumor: np.ndarray | None = None
) -> Tissues:
    """Tissues of a brain from any of its T1, T1ce, T2 and FLAIR images (the keys), all on one grid.

    ``brain`` and ``tumor`` (edema included) are (X, Y, Z) bool on that grid; without ``brain`` it is taken from the
    images, if these are skull-stripped. Raises InputError where there is no image, where grids differ, and where the
    brain is not known or too small.
    """
    affine, brain, tumor = _checked(images, brain, tumor)
    box = bounding_box(brain, 1)
    scan = _scan(images, box, brain[box], brain[box] & ~tumor[box], affine)
    prior = lay_bank(scan.brain, scan.affine)
    model = _Model.fitted(scan, prior, PRIOR_BLUR_MM[0])
    prior = prior.following(_brightness(scan, model.posterior), scan.known, scan.affine)
    model = _Model.fitted(scan, prior, PRIOR_BLUR_MM[1], model)
    shares = _mean_field(scan, model)
    fractions = np.zeros((len(TISSUES), *brain.shape), np.float32)
    fractions[(slice(None), *box)] = _divided(scan, prior, model, shares)
    return _described(fractions, scan, prior, model)


def _checked(
    images: Mapping[str, Volume], brain: np.ndarray | None, tumor: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Affine, brain (with the tumor) and tumor."""
    unknown = [name for name in images if name not in CONTRAST]
    if unknown or not images:
        given = f"There is an image called {unknown[0]}" if unknown else "There is no image"
        raise InputError(f"{given}. Give at least one of {', '.join(CONTRAST)}.")
    first, *others = images.values()
    for volume in others:
        if volume.shape != first.shape or not np.allclose(volume.affine, first.affine, atol=1e-3):
            raise InputError("The images are not on one grid. Resample them to the grid of one of them.")
    if brain is None:
        brain = next((b for b in (brain_from_image(v.data) for v in images.values()) if b is not None), None)
        if brain is None:
            raise InputError(
                "None of the images is skull-stripped, so the brain's outline is not known. Give a brain mask, or "
                "remove the skull with a tool such as SynthStrip or HD-BET."
            )
    tumor = np.zeros(first.shape, bool) if tumor is None else tumor
    for name, mask in (("brain", brain), ("tumor", tumor)):
        if mask.shape != first.shape:
            raise InputError(f"The mask of the {name} has another shape than the images. Resample it to their grid.")
    brain = brain | tumor
    if np.count_nonzero(brain & ~tumor) * voxel_ml(first.affine) < LEAST_ML:
        raise InputError(
            f"The brain without the tumor has less than {LEAST_ML:.0f} mL, too little to tell its tissues apart. Check "
            "that images and masks show the whole brain, in millimeters."
        )
    return first.affine, brain, tumor


def _scan(
    images: Mapping[str, Volume],
    box: tuple[slice, slice, slice],
    brain: np.ndarray,
    known: np.ndarray,
    affine: np.ndarray,
) -> _Scan:
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    spacing = spacing_of(affine)
    names = tuple(images)
    seen = known & np.all([images[name].data[box] > images[name].data.min() for name in names], axis=0)
    values = np.stack([_comparable(images[name].data[box], seen, spacing, name) for name in names])
    return _Scan(values, names, brain, known, seen, moved)


def _comparable(data: np.ndarray, known: np.ndarray, spacing: tuple[float, float, float], name: str) -> np.ndarray:
    """An image without its bias field, scaled so that brain spans about 0 to 1."""
    low, high = np.percentile(data[known], (0.5, 99.5))
    if not high > low:
        raise InputError(f"The {name} image has one value only in the brain. Check that it is the right file.")
    # A multiplicative field needs positive intensities; images may have been normalized to others.
    positive = np.maximum(data - min(float(low), 0), 0.02 * (high - low)).astype(np.float32)
    even = positive / _bias_field(positive, known, spacing)
    low, high = np.percentile(even[known], (0.5, 99.5))
    return np.clip((even - low) / (high - low), -0.1, 1.3)


def _bias_field(data: np.ndarray, known: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The smooth factor by which receive coils brighten ``data``, by N4 on a shrunken grid."""
    factors = [max(1, round(N4_MM / s)) for s in spacing[::-1]]
    image = sitk.GetImageFromArray(data)
    small = sitk.BinShrink(image, factors)
    mask = sitk.BinShrink(sitk.GetImageFromArray(known.astype(np.float32)), factors) > 0.9
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetMaximumNumberOfIterations([20, 15])
    correction.Execute(small, mask)
    field = correction.GetLogBiasFieldAsImage(small)
    fine = sitk.Resample(field, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    return np.exp(sitk.GetArrayFromImage(fine))


@dataclass(frozen=True)
class _Model:
    """The mixture as found: ``logs`` (9, N) are log likelihood, ``expected`` (8, X, Y, Z) the prior of the tissues."""

    mixture: Mixture
    likelihood: np.ndarray
    log_prior: np.ndarray
    splits: np.ndarray
    expected: np.ndarray
    sample: np.ndarray

    @property
    def posterior(self) -> np.ndarray:
        """(7, N): the pure classes and outliers in the known voxels."""
        return without_mixed(normalized(self.likelihood + self.log_prior), self.splits)

    @classmethod
    def fitted(cls, scan: _Scan, prior: Prior, blur_mm: float, before: _Model | None = None) -> _Model:
        """The mixture estimated on a part of the voxels, from a model ``before`` or from the prior alone."""
        expected = prior.on_grid(prior.probabilities(blur_mm), scan.affine, scan.brain.shape)
        classes = _class_prior(expected[:, scan.known])
        steps = [max(1, round(SAMPLE_MM / s)) for s in scan.spacing]
        thinned = tuple(slice(None, None, step) for step in steps)
        inner = scan.seen & erode(scan.brain, EDGE_MM, scan.spacing)
        lattice = Lattice3(inner[thinned], tuple(n * s for n, s in zip(steps, scan.spacing, strict=True)))
        chosen = np.zeros(scan.known.shape, bool)
        chosen[thinned] = inner[thinned]
        sample = chosen[scan.known]
        values = scan.values[:, scan.known].T
        if before is None:
            guess = first_guess(values[sample], classes[:, sample], scan.modalities)
        else:
            guess = before.posterior[:PURE, sample]
        mixture, bias = fit(values[sample], classes[:, sample], lattice, guess, 24 if before is None else 12)
        to_lattice = np.diag([1 / step for step in steps] + [1.0])
        even = values - np.stack([resample(b, to_lattice, scan.brain.shape, 0.0)[scan.known] for b in bias], axis=1)
        return cls(mixture, mixture.log_likelihood(even), log_prior(classes), mixture.splits(even), expected, sample)


def _class_prior(expected: np.ndarray) -> np.ndarray:
    """Prior of the pure classes (6, N) from that of the tissues (8, N)."""
    classes = np.stack([expected[1] + expected[2], *expected[3:]])
    classes /= np.maximum(classes.sum(axis=0), 1e-3)
    classes = classes * (1 - ANYWHERE.sum()) + ANYWHERE[:, None]
    return classes / classes.sum(axis=0)


def _brightness(scan: _Scan, posterior: np.ndarray) -> np.ndarray:
    """The tissues found as the image by which the label maps are registered, (X, Y, Z)."""
    image = np.zeros(scan.brain.shape, np.float32)
    image[scan.known] = BRIGHTNESS[[1, 3, 4, 5, 6, 7, 0]] @ posterior
    return image


def _mean_field(scan: _Scan, model: _Model) -> np.ndarray:
    """Shares of pure classes and outliers (7, X, Y, Z) that agree with their neighbors' (mean field)."""
    depth = distance_to(~scan.brain, scan.spacing)[scan.known]
    trust = np.interp(depth, (1.0, 3.0), (EDGE_TRUST, TRUST)) * np.where(scan.seen[scan.known], 1, UNSEEN_TRUST)
    trust = trust.astype(np.float32)
    likelihood = model.likelihood.copy()
    edge = depth < EDGE_MM  # is what the maps have there, if its intensity is that of no tissue
    likelihood[:, edge] = np.maximum(likelihood[:, edge], likelihood[-1, edge] - 10)
    alone = likelihood * trust + model.log_prior
    alone[-1, edge] = -100
    weights = [NEIGHBORS * min(1.0, 1 / s) for s in scan.spacing]
    shares = np.zeros((PURE + 1, *scan.known.shape), np.float32)
    shares[:, scan.known] = model.posterior
    for _ in range(MEAN_FIELD_STEPS):
        around = neighbors(shares, weights)[:, scan.known]
        both = [(around[a] + around[b]) / 2 for a, b, _ in MIXED]
        shares[:, scan.known] = without_mixed(
            normalized(alone + np.stack([*around[:PURE], *both, around[2], around[-1]])), model.splits
        )
    return shares


def _divided(scan: _Scan, prior: Prior, model: _Model, shares: np.ndarray) -> np.ndarray:
    """Fractions of ``TISSUES`` (8, X, Y, Z): fluid divided into ventricles and the rest.

    Fluid is ventricle where it is nearer, on a way through fluid, to where the maps have ventricles than to where they
    have other fluid. What else is bright or dark within ventricles, as choroid plexus and flowing fluid, is part of
    them.
    """
    fluid, other = shares[0], shares[-1]
    expected = model.expected[2] / np.maximum(model.expected[1] + model.expected[2], 1e-3)
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
    share = np.where(sure, ventricle, np.where(around > 0.02, beside / np.maximum(around, 0.02), expected))
    within = close(ventricle, PLEXUS_MM, scan.spacing) & (any_map > 0.25)
    meninges = np.where(within, 0, np.clip(model.expected[1] / MENINGES, 0, 1))
    outer, inner = fluid * (1 - share) + other * meninges, fluid * share + other * within
    return np.stack([other * (1 - meninges) * ~within, outer, inner, *shares[1:PURE]], dtype=np.float32)


def _blurred(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    image = sitk.GetImageFromArray(mask.astype(np.float32))
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, [0.8 / s for s in spacing[::-1]]))


def _described(fractions: np.ndarray, scan: _Scan, prior: Prior, model: _Model) -> Tissues:
    facts = {"contrast": model.mixture.contrast, "outline Dice": prior.dice}
    volumes = fractions.sum(axis=(1, 2, 3), dtype=np.float64) * voxel_ml(scan.affine)
    facts.update({f"mL of {value}": float(volume) for value, volume in zip(TISSUES, volumes, strict=True)})
    return Tissues(fractions, (), facts)
