"""Segments of a segmentation node: which label of a model each stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import vtk
from medddpm.labels.conventions import REGIONS, read_names, role_of, scheme_value
from medddpm.labels.scheme import Label, LabelScheme

VALUE_TAG, GUESS_TAG = "MedDDPM.Label", "MedDDPM.Guess"
# Of the segmentation node: by what the guesses were made, a clause.
GUESSED_BY = "MedDDPM.guessedBy"
# Slicer's general list; categories by the codes it uses for them.
CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
ANATOMY = "SCT^123037004^Anatomical Structure"
ALTERED = "SCT^49755003^Morphologically Altered Structure"
SAID, NAMED, GUESSED, OPEN = "said", "named", "guessed", "open"


@dataclass(frozen=True)
class Role:
    """The ``value`` of a scheme that a segment stands for, None for none.

    ``origin``: SAID (by our tag or the exact name of a label), NAMED (name or terminology code), GUESSED (numbers and
    geometry), or OPEN, where nothing is known; a None of another origin is meant.
    """

    value: int | None
    origin: str


def segmentRoles(segmentationNode: Any, scheme: LabelScheme) -> dict[str, Role]:
    """Segment id -> what it stands for in ``scheme``, in the order of the segments.

    A segment is known by our tag (``setSegmentValue``), then by the exact name of a label, then by the words of its
    name and its terminology code as the core reads them in files, so that scene and file are understood alike, then by
    the last guess of ``SegmentReading``. What a region such as a whole tumor is depends on the others.
    """
    segmentation = segmentationNode.GetSegmentation()
    segments = {key: segmentation.GetSegment(key) for key in segmentation.GetSegmentIDs()}
    roles = read_names((key, _toldName(segment, scheme), _codeOf(segment)) for key, segment in segments.items())
    return {key: _roleOf(segment, roles.get(key), scheme) for key, segment in segments.items()}


def segmentValues(segmentationNode: Any, scheme: LabelScheme) -> dict[str, int | None]:
    """Segment id -> value of ``scheme``, None for segments that mean nothing to it. Several may have one value."""
    return {key: role.value for key, role in segmentRoles(segmentationNode, scheme).items()}


def regionSegments(segmentationNode: Any, scheme: LabelScheme) -> list[str]:
    """Ids of the segments that hold others, from the outside to the inside: what a whole tumor or its core is named.

    Those that a tag or a label's exact name says to be something else are none.
    """
    segmentation = segmentationNode.GetSegmentation()
    found = []
    for segmentId in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        region = role_of(_toldName(segment, scheme), "")
        if region in REGIONS and _saidValue(segment, scheme) is None:
            found.append((REGIONS.index(region), segmentId))
    return [segmentId for _, segmentId in sorted(found)]


def segmentReading(segmentationNode: Any, scheme: LabelScheme) -> str:
    """What each segment is taken for, for reading; empty where all have the names of the labels themselves."""
    segmentation = segmentationNode.GetSegmentation()
    said, plain, guessed = [], True, False
    for segmentId, role in segmentRoles(segmentationNode, scheme).items():
        name = segmentation.GetSegment(segmentId).GetName() or ""
        label = scheme.label(role.value).name if role.value is not None else _nothing(role)
        guessed = guessed or role.origin == GUESSED
        plain = plain and name.strip().casefold() == label.casefold()
        said.append(f"'{name}' -> {label}")
    by = segmentationNode.GetAttribute(GUESSED_BY) if guessed else None
    return "" if plain else f"{by or 'The segments are known by their names'}: {', '.join(said)}."


def _nothing(role: Role) -> str:
    return "not known, left out" if role.origin == OPEN else "not used"


def chooseRole(segmentationNode: Any, segmentId: str, scheme: LabelScheme, value: int | None) -> None:
    """The user's word on one segment. What was guessed of the others is what the user saw, and stays so from now on."""
    roles = segmentRoles(segmentationNode, scheme)
    for other, role in roles.items():
        if role.origin == GUESSED and other != segmentId:
            setSegmentValue(segmentationNode, other, scheme, role.value)
    setSegmentValue(segmentationNode, segmentId, scheme, value)


def setGuess(segmentationNode: Any, segmentId: str, scheme: LabelScheme, value: int | None) -> None:
    """As ``setSegmentValue``, but of no weight against a name, and for the next recognition to change."""
    segmentationNode.GetSegmentation().GetSegment(segmentId).SetTag(GUESS_TAG, _tagText(scheme, value))


def setSegmentValue(segmentationNode: Any, segmentId: str, scheme: LabelScheme, value: int | None) -> None:
    """Say by a tag what a segment means to ``scheme``, whatever its name; None: nothing.

    For another scheme it is as if the segment had the name of the label. Raises KeyError where the scheme has no such
    value.
    """
    segmentationNode.GetSegmentation().GetSegment(segmentId).SetTag(VALUE_TAG, _tagText(scheme, value))


def createSegments(segmentationNode: Any, scheme: LabelScheme, values: tuple[int, ...] | None = None) -> dict[int, str]:
    """Make a segment for each label of ``scheme`` (or those in ``values``) that has none; returns value -> segment id.

    New segments are empty and have the name, color and terminology code of their label. Where several segments have a
    value already, the first of them is returned.
    """
    found: dict[int, str] = {}
    for segmentId, value in segmentValues(segmentationNode, scheme).items():
        if value is not None:
            found.setdefault(value, segmentId)
    wanted = [label for label in scheme.labels if values is None or label.value in values]
    return {label.value: found.get(label.value) or _newSegment(segmentationNode, scheme, label) for label in wanted}


def terminologyEntry(label: Label) -> str:
    """The label's code as Slicer's terminology tag: context, category, type and the parts that stay empty."""
    category = ALTERED if label.tumor else ANATOMY
    return f"{CONTEXT}~{category}~{label.code}~^^~Anatomic codes - DICOM master list~^^~^^"


def _newSegment(segmentationNode: Any, scheme: LabelScheme, label: Label) -> str:
    segmentation = segmentationNode.GetSegmentation()
    segmentId: str = segmentation.AddEmptySegment("", label.name, [channel / 255 for channel in label.color])
    segment = segmentation.GetSegment(segmentId)
    segment.SetTerminology(terminologyEntry(label))
    # Slicer replaces generated names and colors when a terminology is chosen; these are meant.
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetTag(VALUE_TAG, _tagOf(scheme, label))
    return segmentId


def _tagOf(scheme: LabelScheme, label: Label) -> str:
    """Names the scheme and the label too: schemes that people train can share a name but not all labels."""
    return f"{scheme.name}:{label.value}:{label.name}"


def _tagText(scheme: LabelScheme, value: int | None) -> str:
    return f"{scheme.name}:0:" if value is None else _tagOf(scheme, scheme.label(value))


def _roleOf(segment: Any, role: str | None, scheme: LabelScheme) -> Role:
    """What a segment is; ``role`` is what its name, or else its terminology, tells."""
    said = _saidValue(segment, scheme)
    if said is not None:
        return Role(said or None, SAID)
    if role_of(_toldName(segment, scheme), "") is None:
        code = _codeOf(segment)
        exact = [label.value for label in scheme.labels if code and _sameCode(label.code, code)]
        if exact:
            return Role(exact[0], NAMED)
    if role is not None:
        return Role(scheme_value(role, scheme) or None, NAMED)
    guess = _tagged(segment, GUESS_TAG, scheme)
    return Role(None, OPEN) if guess is None else Role(guess or None, GUESSED)


def _toldName(segment: Any, scheme: LabelScheme) -> str:
    """A segment's name, or that of the label which the user chose for it with another model."""
    label = _tag(segment, VALUE_TAG).partition(":")[2].partition(":")[2]
    other = label and _tagged(segment, VALUE_TAG, scheme) is None and role_of(label, "") is not None
    return label if other else segment.GetName() or ""


def _saidValue(segment: Any, scheme: LabelScheme) -> int | None:
    """The value that a tag, or a label's own name, says; 0 for nothing, None where neither says anything."""
    tagged = _tagged(segment, VALUE_TAG, scheme)
    if _tag(segment, VALUE_TAG).endswith(":0:"):
        return 0
    name = _toldName(segment, scheme).strip().casefold()
    own = (label.value for label in scheme.labels if name == label.name.casefold())
    return tagged if tagged is not None else next(own, None)


def _tagged(segment: Any, tag: str, scheme: LabelScheme) -> int | None:
    """The value that a tag of ours says for ``scheme``: 0 for nothing, None where it says nothing."""
    text = _tag(segment, tag)
    values = (label.value for label in scheme.labels if text == _tagOf(scheme, label))
    return 0 if text == f"{scheme.name}:0:" else next(values, None)


def _codeOf(segment: Any) -> str:
    parts = _tag(segment, segment.GetTerminologyEntryTagName()).split("~")
    return parts[2] if len(parts) > 2 else ""


def _sameCode(a: str, b: str) -> bool:
    """Whether two codes agree in scheme and value; the meaning is only their wording."""
    return a.split("^")[:2] == b.split("^")[:2]


def _tag(segment: Any, name: str) -> str:
    """The text of a segment's tag; empty where it has none."""
    if not segment.HasTag(name):
        return ""
    value = vtk.reference("")
    segment.GetTag(name, value)
    return str(value)
