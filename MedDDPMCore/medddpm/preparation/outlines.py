"""The mask of a case with a true outline: brain or head are found in the image where the mask lacks them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import ModelConfig
from ..errors import InputError
from ..geometry.volume import Mask, Volume, voxel_ml, whole_view
from ..labels.case import Case
from ..labels.conventions import labels_text, outline_kind, parse_labels
from ..labels.findings import listed, milliliters
from ..labels.reading import damaged
from ..labels.recognize import Recognition, apply_mapping, recognize
from ..labels.repairs import outline_from_image
from ..labels.sizes import label_sizes
from ..labels.values import clean_values
from .align import on_grid
from .options import PrepareOptions


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
    _check_known(name, recognition, template)
    _check_whole(name, mask, recognition, template)
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


def _check_known(name: str, recognition: Recognition, template: ModelConfig) -> None:
    if not recognition.unknown:
        return
    values = recognition.unknown
    known = ", ".join(f"{label.value} {label.name}" for label in template.scheme.labels)
    example = labels_text({**recognition.mapping, values[0]: 0})
    raise InputError(
        f"{name} has the value{'s' if len(values) > 1 else ''} {listed(values)}, which the labels do not know "
        f"({known}). Say what every value means, for example {example} (0: nothing), or leave the case out.",
        option="labels",
    )


def _check_whole(name: str, mask: Mask, recognition: Recognition, template: ModelConfig) -> None:
    """Raise InputError where the mask was interpolated, which a map of tissues may look like."""
    solid = (template.scheme.surround, *template.scheme.tissue_values)
    if sum(target in solid for target in recognition.mapping.values()) > 1:
        return
    data, _ = clean_values(mask.volume.data, voxel_ml(mask.volume.affine))
    wrong = damaged(label_sizes(data, mask.volume.spacing))
    if wrong:
        raise InputError(f"{name}: {' '.join(wrong)} Or leave the case out.")


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
