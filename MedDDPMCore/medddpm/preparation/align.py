"""The files of a case in one space: read and, where that is asked for, registered; the mask with a true outline.

Brain or head are found in the image where the mask lacks them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..config import ModelConfig
from ..errors import InputError
from ..geometry.io import read_mask, read_volume
from ..geometry.resample import index_map, reached, resample
from ..geometry.volume import Mask, Volume, voxel_ml, whole_view
from ..labels.case import Case
from ..labels.conventions import labels_text, outline_kind, parse_labels
from ..labels.findings import listed, milliliters
from ..labels.reading import damaged
from ..labels.recognize import Recognition, apply_mapping, recognize
from ..labels.repairs import outline_from_image
from ..labels.sizes import label_sizes
from ..labels.values import clean_values
from .facts import CaseFiles, Move
from .options import PrepareOptions
from .register import Rigid, register

TEMPLATE = "template"


def same_grid(one: Volume, other: Volume) -> bool:
    """Whether two volumes have the same voxels in the same places, within a thousandth of a millimeter."""
    return one.shape == other.shape and bool(np.allclose(one.affine, other.affine, atol=1e-3))


def on_grid(image: Volume, grid: Volume) -> np.ndarray:
    """The image at the voxels of ``grid``, float32; its smallest value where it does not reach."""
    if same_grid(image, grid):
        return image.data
    to_image = index_map(grid.affine, image.affine)
    return resample(image.data, to_image, grid.shape, float(image.data.min()))


def reaches(image: Volume, grid: Volume) -> np.ndarray:
    """Which voxels of ``grid`` the image reaches, bool."""
    if same_grid(image, grid):
        return np.ones(grid.shape, bool)
    return reached(image, grid.affine, grid.shape)


@dataclass(frozen=True)
class AlignedCase:
    """The volumes of a case in one space (RAS mm). Moving them changed their affines, no voxel.

    ``reference``: the modality that the mask lies on. ``moves``: how each image was moved, in order; ``sentences``
    say so.
    """

    images: dict[str, Volume]
    mask: Mask
    reference: str
    moves: dict[str, tuple[Move, ...]] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


def read_case(case: CaseFiles, modalities: tuple[str, ...], options: PrepareOptions) -> AlignedCase:
    """Read the images of ``modalities`` and the mask, an empty one where there is none, and align them.

    With "modalities" every image is registered to the one on whose grid the mask was drawn (the first where that is
    none), with "template" then all together to the template; the mask goes with that image. Raises InputError naming
    the file that is missing, cannot be read or not be registered.
    """
    missing = [name for name in modalities if name not in case.images]
    if missing:
        raise InputError(
            f"The case {case.id} has no {missing[0]} image, but {', '.join(modalities)} are wanted. "
            "Add the file, leave the case out, or prepare fewer modalities."
        )
    images = {name: read_volume(case.images[name]) for name in modalities}
    if case.mask is None:
        first = images[modalities[0]]
        read = AlignedCase(images, Mask(Volume(np.zeros(first.shape, np.uint8), first.affine)), modalities[0])
    else:
        mask = read_mask(case.mask)
        on_mask = [name for name, image in images.items() if same_grid(image, mask.volume)]
        read = AlignedCase(images, mask, (*on_mask, modalities[0])[0])
    if options.register == "none":
        return read
    aligned = _to_reference(read, case)
    return aligned if options.template is None else _to_template(aligned, case, Path(options.template))


def _to_reference(read: AlignedCase, case: CaseFiles) -> AlignedCase:
    """Every image registered to the reference."""
    fixed = read.images[read.reference]
    images, moves, sentences = dict(read.images), dict(read.moves), list(read.sentences)
    for name, image in read.images.items():
        if name == read.reference:
            continue
        found = register(fixed, image, str(case.images[name]), f"the {read.reference} image")
        if not found.moved:
            continue
        images[name] = _moved(image, found)
        moves[name] = (_move(found, read.reference),)
        doubt = (
            " That is a large shift for images of one visit: check the pictures of the case." if found.unusual else ""
        )
        sentences.append(f"{_told(f'The {name} image', found)} to lie on the {read.reference} image.{doubt}")
    return replace(read, images=images, moves=moves, sentences=tuple(sentences))


def _to_template(read: AlignedCase, case: CaseFiles, template: Path) -> AlignedCase:
    """All images and the mask moved together, as the reference goes to the template."""
    found = register(
        read_volume(template), read.images[read.reference], str(case.images[read.reference]), "the template"
    )
    if not found.moved:
        return read
    mask = Mask(_moved(read.mask.volume, found), read.mask.segments)
    images = {name: _moved(image, found) for name, image in read.images.items()}
    moves = {name: (*read.moves.get(name, ()), _move(found, TEMPLATE)) for name in images}
    sentence = f"{_told('The case', found)} to lie on the template."
    return replace(read, images=images, mask=mask, moves=moves, sentences=(*read.sentences, sentence))


def _moved(volume: Volume, found: Rigid) -> Volume:
    return replace(volume, affine=found.applied(volume.affine))


def _move(found: Rigid, onto: str) -> Move:
    """The move as data. How far a case goes to a template tells nothing: the two have other origins."""
    gain = found.after - found.before
    known = gain if math.isfinite(gain) else None
    return Move(onto, found.shift_mm, found.rotation_degrees, known, found.unusual and onto != TEMPLATE)


def _told(what: str, found: Rigid) -> str:
    return f"{what} was moved by {found.shift_mm:.1f} mm and turned by {found.rotation_degrees:.1f} degrees"


@dataclass(frozen=True)
class UnderstoodMask:
    """A mask whose values are known and that has an outline.

    ``labels``: what its values mean to the scheme, None where the mask check recognizes them itself. ``made``: the
    outline was found in the image. ``sentences``: what was read, assumed and made.
    """

    mask: Mask
    labels: dict[int, int] | None
    made: bool
    sentences: tuple[str, ...] = ()


def understand(name: str, mask: Mask, image: Volume, options: PrepareOptions, template: ModelConfig) -> UnderstoodMask:
    """Read the values of ``mask`` and, where ``options.outline`` says so, find the outline in ``image``.

    "auto" keeps the mask's own outline and takes the image's where there is none; "brain" and "head" always take the
    image's; "none" wants it in the mask. Synthesis makes do with an average outline where nothing shows the true one;
    here that raises InputError, beginning with ``name``, since a model would learn it. So do values of unknown meaning.
    """
    labels = None if options.labels is None else parse_labels(options.labels)
    recognition = recognize(mask, template.scheme, labels)
    if recognition.question:
        raise InputError(f"{name}: {' '.join(recognition.question)}")
    if recognition.unknown:
        values = recognition.unknown
        known = ", ".join(f"{label.value} {label.name}" for label in template.scheme.labels)
        example = labels_text({**recognition.mapping, values[0]: 0})
        raise InputError(
            f"{name} has the value{'s' if len(values) > 1 else ''} {listed(values)}, which the labels do not know "
            f"({known}). Say what every value means, for example {example} (0: nothing), or leave the case out.",
            option="labels",
        )
    solid = (template.scheme.surround, *template.scheme.tissue_values)
    if sum(target in solid for target in recognition.mapping.values()) <= 1:  # a map of tissues may look interpolated
        data, _ = clean_values(mask.volume.data, voxel_ml(mask.volume.affine))
        wrong = damaged(label_sizes(data, mask.volume.spacing))
        if wrong:
            raise InputError(f"{name}: {' '.join(wrong)} Or leave the case out.")
    kind = outline_kind(template.scheme)
    if options.outline in ("brain", "head") and options.outline != kind:
        raise InputError(
            f"The option outline is '{options.outline}', but the labels '{template.scheme.name}' outline the {kind}. "
            f"Use outline '{kind}' or other labels."
        )
    own = bool(recognition.outline) and recognition.kind in (kind, None)
    if own and options.outline in ("auto", "none"):
        return UnderstoodMask(mask, labels, False)
    if options.outline == "none":
        raise InputError(
            f"{name} has no {kind} label ({template.scheme.surround}), and the option outline 'none' makes none. "
            "Use outline 'auto', or add it to the mask."
        )
    return _with_outline(name, mask, image, recognition, template)


def _with_outline(
    name: str, mask: Mask, image: Volume, recognition: Recognition, template: ModelConfig
) -> UnderstoodMask:
    """The mask in the scheme's values with the outline that the image shows."""
    data, _ = clean_values(mask.volume.data, voxel_ml(mask.volume.affine))
    labels, surround = apply_mapping(data, recognition.mapping), template.scheme.surround
    grid = whole_view(Volume(labels, mask.volume.affine), image)
    labels = grid.data
    shown = Case(Mask(grid), template, labels, on_grid(image, grid))
    found = outline_from_image(shown)
    if found is None or not found[0].any():
        raise InputError(
            f"{name} has no {shown.kind} label ({surround}), and the image shows no {shown.kind} either. Add it to the "
            "mask, or leave the case out."
        )
    outline, how = found
    labels[shown.surround & ~outline] = 0
    labels[outline & (labels == 0)] = surround
    volume = milliliters(np.count_nonzero(outline) * shown.voxel_ml)
    sentences = (*(() if not data.any() else recognition.sentences), f"{how} ({volume}).")
    same = {value: value for value in template.scheme.values}
    return UnderstoodMask(Mask(grid), same, True, sentences)
