"""One case of a dataset: from its files to the tensors that training reads, by the same steps as synthesis takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..anatomy.numbering import TISSUES
from ..anatomy.tissues import segment_tissues
from ..config import ModelConfig
from ..errors import InputError
from ..geometry.grid import to_network
from ..geometry.intensity import intensity_rule
from ..geometry.volume import Volume
from ..labels.findings import WARNING
from ..labels.placed import PlacedMask, place_mask
from .align import read_case
from .case_files import CaseFiles
from .facts import CaseFacts
from .likeness import fingerprint
from .measure import image_facts, mask_facts
from .options import PrepareOptions
from .outlines import understand
from .space import on_grid, reached

# An image that reaches less of the head than this share is of no use.
MIN_COVERED = 0.9


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
    mask = mask_facts(case, aligned.mask.volume, placed, understood.made)
    return tensors, CaseFacts(
        id=case.id,
        patient=case.patient,
        images=tuple(facts),
        mask=mask,
        grid_affine=placed.placement.grid_affine,
        findings=_findings(placed, case),
        sentences=_without_paths(said, case),
        fingerprint=_fingerprint(images[0], placed),
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
    seen = outline & reached(image, labels)
    covered = int(np.count_nonzero(seen)) / max(1, int(np.count_nonzero(outline)))
    if covered < MIN_COVERED:
        where = "lies elsewhere in space than the mask" if covered < 0.01 else f"covers only {covered:.0%} of the mask"
        raise InputError(
            f"{name} {where}. Check that it belongs to the same visit, and register the images (--register "
            "modalities), or leave the case out."
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


def _findings(placed: PlacedMask, case: CaseFiles) -> tuple[tuple[str, str], ...]:
    """What was mended and what is left to warn of; what the check merely tells is no finding."""
    found = (*placed.mended, *(f for f in placed.left if f.severity == WARNING))
    return tuple((f.code, _without_paths([str(f)], case)[0]) for f in found)


def _fingerprint(image: np.ndarray, placed: PlacedMask) -> str:
    affine = np.array(placed.placement.grid_affine)
    return fingerprint(Volume(image, affine), placed.fractions.sum(axis=0) > 0.5)
