"""Segments whose names tell nothing ("Segment_4"), read by their numbers and geometry as the core reads those of files.

What is found are guesses (``Segments.GUESSED``), kept with the segments and so with the scene; the user's word and
names count more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medddpm.errors import InputError
from medddpm.labels.conventions import number_in
from medddpm.labels.findings import listed, milliliters
from medddpm.labels.scheme import LabelScheme

from .SegmentMasks import layers, paintSegments
from .Segments import GUESSED, GUESSED_BY, OPEN, Role, segmentRoles, setGuess
from .SegmentVoxels import labelmapOf, voxelsOf

if TYPE_CHECKING:
    from medddpm.geometry.volume import Volume

WHERE = "Choose what each shows under 'Segment roles'."
UNUSED = " = not used"
# Numbers of label maps go up to those of FreeSurfer.
LARGEST = 2**15 - 1


@dataclass(frozen=True)
class NumberedMask:
    """A segmentation as a label map of a file: ``names`` of its numbers, and the ``segments`` that are to be read."""

    volume: Volume
    names: dict[int, str]
    segments: dict[int, str]


def unsettled(segmentationNode: Any, scheme: LabelScheme, origins: tuple[str, ...] = (OPEN,)) -> list[str]:
    """Ids of the segments with voxels of which nothing is known, or that have one of ``origins``."""
    segmentation = segmentationNode.GetSegmentation()
    found = (key for key, role in segmentRoles(segmentationNode, scheme).items() if role.origin in origins)
    return [key for key in found if voxelsOf(segmentation.GetSegment(key))]


def numberedMask(segmentationNode: Any, scheme: LabelScheme) -> NumberedMask | None:
    """What the core is to read; None where tags and names say all.

    Segments that are known have the name of their label, those that are not used are left out.
    """
    unread = unsettled(segmentationNode, scheme, (OPEN, GUESSED))
    if not unread:
        return None
    segmentation = segmentationNode.GetSegmentation()
    segments = {key: segmentation.GetSegment(key) for key in unread}
    numbers: dict[str, int] = {}
    for key, segment in segments.items():
        numbers[key] = _free(number_in(segment.GetName() or "") or segment.GetLabelValue(), numbers)
    names = {numbers[key]: segment.GetName() or "" for key, segment in segments.items()}
    roles = segmentRoles(segmentationNode, scheme)
    known = {key: r.value for key, r in roles.items() if r.value is not None and key not in numbers}
    for value in sorted(set(known.values())):
        number = _free(value, numbers)
        numbers |= {key: number for key, own in known.items() if own == value}
        names[number] = scheme.label(value).name
    below = sorted(unread, key=lambda key: voxelsOf(segments[key]), reverse=True)
    order = [*below, *layers(segmentationNode, scheme, known)]
    return NumberedMask(paintSegments(segmentationNode, numbers, order), names, {numbers[key]: key for key in unread})


def takeGuesses(
    segmentationNode: Any, scheme: LabelScheme, mask: NumberedMask, mapping: Mapping[int, int], convention: str
) -> None:
    """Keep what the core read: ``mapping`` (number -> value of ``scheme``, 0 for nothing), by ``convention``."""
    segmentation = segmentationNode.GetSegmentation()
    for number, key in mask.segments.items():
        if segmentation.GetSegment(key) is not None and number in mapping:
            setGuess(segmentationNode, key, scheme, mapping[number] or None)
    segmentationNode.SetAttribute(GUESSED_BY, convention)


def readSegments(segmentationNode: Any, scheme: LabelScheme) -> None:
    """Read the segments here and now, where some have not been read; takes some tenths of a second.

    Raises InputError with a question where the core cannot tell, or where what is not known may be the tumor.
    """
    if not unsettled(segmentationNode, scheme):
        return
    mask = numberedMask(segmentationNode, scheme)
    assert mask is not None
    from medddpm.geometry.volume import Mask, Segment
    from medddpm.labels.recognize import recognize

    named = tuple(Segment(number, name) for number, name in mask.names.items())
    found = recognize(Mask(mask.volume, named), scheme)
    if found.question:
        raise InputError(f"{' '.join(found.question)} {WHERE}")
    takeGuesses(segmentationNode, scheme, mask, found.mapping, found.convention.title)
    requireTumorKnown(segmentationNode, scheme)


def requireTumorKnown(segmentationNode: Any, scheme: LabelScheme) -> None:
    """Raises InputError where no segment is known as tumor, but there are some of which nothing is known."""
    roles = segmentRoles(segmentationNode, scheme)
    if any(role.value in scheme.tumor_values for role in roles.values()):
        return
    unknown = unsettled(segmentationNode, scheme)
    if unknown:
        names = [f"'{segmentationNode.GetSegmentation().GetSegment(key).GetName()}'" for key in unknown]
        verb = "segment {} shows" if len(names) == 1 else "segments {} show"
        raise InputError(f"What the {verb.format(listed(names))} is not known; it may be the tumor. {WHERE}")


def unusedSegments(segmentationNode: Any, scheme: LabelScheme) -> list[str]:
    """A sentence on each segment with voxels that is not used."""
    segmentation = segmentationNode.GetSegmentation()
    said = []
    for key, role in segmentRoles(segmentationNode, scheme).items():
        segment = segmentation.GetSegment(key)
        count = voxelsOf(segment) if role.value is None else 0
        if count:
            why = ": what it shows is not known" if role.origin == OPEN else ""
            said.append(f"The segment '{segment.GetName()}'{_size(segment, count)} is not used{why}.")
    return said


def roleTexts(segmentationNode: Any, scheme: LabelScheme) -> list[str]:
    """What each segment with voxels was taken for, for provenance: "Segment_2 = Peritumoral edema (guessed)"."""
    segmentation = segmentationNode.GetSegmentation()
    roles = segmentRoles(segmentationNode, scheme)
    filled = {key: role for key, role in roles.items() if voxelsOf(segmentation.GetSegment(key))}
    return [f"{segmentation.GetSegment(key).GetName()}{_told(role, scheme)}" for key, role in filled.items()]


def _told(role: Role, scheme: LabelScheme) -> str:
    if role.value is None:
        return UNUSED
    return f" = {scheme.label(role.value).name}{' (guessed)' if role.origin == GUESSED else ''}"


def _size(segment: Any, count: int) -> str:
    image = labelmapOf(segment)
    if image is None:
        return ""
    x, y, z = image.GetSpacing()
    return f" ({milliliters(count * x * y * z / 1000)})"


def _free(wanted: int, taken: Mapping[str, int]) -> int:
    """``wanted``, or the lowest number that is free."""
    used = set(taken.values())
    if 0 < wanted <= LARGEST and wanted not in used:
        return wanted
    return next(number for number in range(1, LARGEST) if number not in used)
