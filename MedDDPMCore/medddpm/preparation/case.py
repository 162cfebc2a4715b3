"""One case of a dataset: from its files to the tensors that training reads, by the same steps as synthesis takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..anatomy.brain_maps import TISSUES
from ..anatomy.tissues import segment_tissues
from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import to_network
from ..geometry.intensity import Scaling, intensity_rule
from ..geometry.io import content_hash
from ..geometry.volume import Volume, axis_codes, voxel_ml
from ..labels.conventions import outline_kind
from ..labels.findings import WARNING
from ..labels.placed import PlacedMask, place_mask
from .align import on_grid, reaches, read_case, understand
from .facts import CaseFacts, CaseFiles, Geometry, ImageFacts, MaskFacts, Move, Triple
from .options import PrepareOptions
from .outliers import fingerprint

BINS = 32
# Scaled intensities up to this one count as empty space.
EMPTY = -0.97
# An image that reaches less of the head than this share is of no use.
MIN_COVERED = 0.9


def image_facts(
    case: CaseFiles,
    name: str,
    volume: Volume,
    scaled: tuple[np.ndarray, Scaling],
    placed: PlacedMask,
    covered: float,
    moves: Sequence[Move],
) -> ImageFacts:
    """What is known of the modality ``name``; ``scaled``: the volume on the model's grid, and how it came there."""
    image, scale = scaled
    filled = placed.fractions.sum(axis=0)
    inside, outside = image[filled > 0.5], image[filled == 0]
    counts, _ = np.histogram(inside, BINS, (-1, 1))
    low, high = scale.limits
    return ImageFacts(
        modality=name,
        geometry=geometry_of(volume),
        low=low,
        high=high,
        mean=float(inside.mean()) if inside.size else -1.0,
        std=float(inside.std()) if inside.size else 0.0,
        surroundings=float(np.median(outside)) if outside.size else -1.0,
        histogram=tuple(int(n) for n in counts),
        covered=covered,
        empty=_share(inside <= EMPTY),
        tumor_empty=_share(image[_tumor(placed) > 0.5] <= EMPTY),
        sha256=content_hash(case.images[name]),
        voxels=voxel_hash(volume.data),
        moves=tuple(moves),
    )


def mask_facts(case: CaseFiles, original: Volume, placed: PlacedMask, made: bool) -> MaskFacts:
    """What is known of the mask; ``original`` as it was in the file."""
    labels, one = placed.labels, voxel_ml(placed.labels.affine)
    counts = np.bincount(labels.data.ravel(), minlength=256)
    outline_ml = float(counts[1:].sum()) * one
    return MaskFacts(
        kind=outline_kind(placed.scheme),
        geometry=None if case.mask is None else geometry_of(original),
        sha256=None if case.mask is None else content_hash(case.mask),
        outline_ml=outline_ml,
        tumor_ml=float(sum(counts[v] for v in placed.scheme.tumor_values)) * one,
        labels_ml=tuple((v, float(counts[v]) * one) for v in placed.scheme.values),
        extent_mm=_extent(labels),
        lost_ml=placed.placement.lost * outline_ml,
        lost_share=placed.placement.lost,
        tumor_lost_ml=_outside_grid(np.isin(labels.data, placed.scheme.tumor_values), placed) * one,
        made=made,
        voxels=voxel_hash(original.data),
    )


def geometry_of(volume: Volume) -> Geometry:
    """The grid of a file."""
    return Geometry(volume.shape, volume.spacing, axis_codes(volume.affine))


def voxel_hash(data: np.ndarray) -> str:
    """SHA-256 of shape and values, whatever the file's format and compression."""
    values = np.ascontiguousarray(data.astype(np.float32, copy=False))
    return hashlib.sha256(str(values.shape).encode() + values.tobytes()).hexdigest()


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if which.size else 0.0


def _tumor(placed: PlacedMask) -> np.ndarray:
    """The share of each voxel of the model's grid that any tumor part covers."""
    parts = [part for part, label in zip(placed.fractions, placed.scheme.labels, strict=True) if label.tumor]
    return np.sum(parts, axis=0) if parts else np.zeros(placed.placement.grid_shape, np.float32)


def _extent(labels: Volume) -> Triple:
    """Size of the outline along R, A and S, mm, between outermost voxel centers and one voxel more."""
    inside = np.argwhere(labels.data > 0)
    if not len(inside):
        return 0.0, 0.0, 0.0
    size = np.ptp(inside @ labels.affine[:3, :3].T, axis=0) + np.abs(labels.affine[:3, :3]).max(axis=1)
    return float(size[0]), float(size[1]), float(size[2])


def _outside_grid(region: np.ndarray, placed: PlacedMask) -> int:
    """Voxels of ``region`` (bool, the mask's own grid) whose centers are outside the model's grid."""
    to_grid = placed.placement.source_to_grid
    points = np.argwhere(region) @ to_grid[:3, :3].T + to_grid[:3, 3]
    last = np.array(placed.placement.grid_shape) - 0.5 + 1e-6
    return int(np.count_nonzero(((points < -0.5 - 1e-6) | (points > last)).any(axis=1)))


def prepare_one(
    case: CaseFiles, options: PrepareOptions, template: ModelConfig
) -> tuple[dict[str, np.ndarray], CaseFacts]:
    """The tensors of one prepared case (see ``medddpm.dataset``) and what is known of it.

    ``template`` says what the model to be trained wants: scheme, grid, modalities in channel order, background. Raises
    InputError naming file, value and remedy where the case cannot be used as it is; nothing is skipped silently.
    """
    aligned = read_case(case, template.modalities, options)
    reference = aligned.images[aligned.reference]
    mask_name = f"The mask of {case.id}" if case.mask is None else str(case.mask)
    understood = understand(mask_name, aligned.mask, reference, options, template)
    placed = place_mask(understood.mask, mask_name, template, reference, understood.labels)
    rule = intensity_rule(options.intensities)
    images, facts = [], []
    for name in template.modalities:
        volume, file = aligned.images[name], str(case.images[name])
        head, covered = _inside_outline(file, volume, placed.labels)
        scaled = rule.to_grid(volume, head, placed.placement, template.background, file)
        images.append(scaled[0])
        facts.append(image_facts(case, name, volume, scaled, placed, covered, aligned.moves.get(name, ())))
    fractions, found = with_tissues(dict(zip(template.modalities, images, strict=True)), placed)
    tensors = {
        "images": to_network(np.stack(images)).astype(np.float16),
        "fractions": np.rint(to_network(fractions) * 255).astype(np.uint8),
    }
    notes = [note for volume in (*aligned.images.values(), aligned.mask.volume) for note in volume.notes]
    said = (*notes, *aligned.sentences, *understood.sentences, *placed.sentences, *found)
    outline = placed.fractions.sum(axis=0) > 0.5
    # What was mended and what is left to warn of; what the check merely tells is no finding.
    concerning = (*placed.mended, *(f for f in placed.left if f.severity == WARNING))
    return tensors, CaseFacts(
        id=case.id,
        patient=case.patient,
        images=tuple(facts),
        mask=mask_facts(case, aligned.mask.volume, placed, understood.made),
        grid_affine=placed.placement.grid_affine,
        findings=tuple((f.code, _without_paths([str(f)], case)[0]) for f in concerning),
        sentences=_without_paths(said, case),
        fingerprint=fingerprint(Volume(images[0], np.array(placed.placement.grid_affine)), outline),
    )


def with_tissues(images: dict[str, np.ndarray], placed: PlacedMask) -> tuple[np.ndarray, tuple[str, ...]]:
    """The label fractions of a case on the model's grid, with tissues segmented in its images where the scheme has
    some and the mask none; and what is to be said of it.

    ``images``: by modality, (X, Y, Z) on the model's grid.
    """
    scheme, fractions = placed.scheme, placed.fractions
    rows = [scheme.values.index(value) for value in scheme.tissue_values]
    if not rows or fractions[rows].any():
        return fractions, ()
    affine = np.array(placed.placement.grid_affine)
    tumor = fractions[[scheme.values.index(value) for value in scheme.tumor_values]].sum(axis=0)
    volumes = {name: Volume(image, affine) for name, image in images.items()}
    tissues = segment_tissues(volumes, fractions.sum(axis=0) > 0, tumor > 0)
    free = fractions.sum(axis=0) - tumor
    result = fractions.copy()
    for value, share in zip(TISSUES, tissues.fractions, strict=True):
        result[scheme.values.index(value)] = share * free
    return result, tissues.sentences


def _inside_outline(name: str, image: Volume, labels: Volume) -> tuple[np.ndarray, float]:
    """The image's intensities at the voxels of the outline, and which share of these it reaches.

    Raises InputError, beginning with ``name``, where it reaches too little of them.
    """
    outline = labels.data > 0
    seen = outline & reaches(image, labels)
    covered = int(np.count_nonzero(seen)) / max(1, int(np.count_nonzero(outline)))
    if covered < MIN_COVERED:
        where = "does not overlap the mask in space" if covered < 0.01 else f"covers only {covered:.0%} of the mask"
        raise InputError(
            f"{name} {where}. Check that it belongs to the same visit, and register the images, or leave the case out.",
            option="register",
        )
    return on_grid(image, labels)[seen], covered


def _without_paths(sentences: Iterable[str], case: CaseFiles) -> tuple[str, ...]:
    """Distinct sentences without folders, which may name persons: they go into the dataset and its report."""
    files: list[tuple[Path, str]] = [(path, f"The {name} image") for name, path in case.images.items()]
    files += [] if case.mask is None else [(case.mask, "The mask")]
    result = []
    for sentence in sentences:
        for path, words in files:
            sentence = sentence.replace(str(path), words)
        result.append(sentence)
    return tuple(dict.fromkeys(result))
