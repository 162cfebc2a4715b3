"""The mask check: find what would make a model produce noise, say it in plain sentences, put it right."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..config import ModelConfig
from ..geometry.volume import Mask, Segment, Volume, whole_view
from .case import BrainAround, Case, check_grid, check_orientation, check_size, check_tumor, check_units
from .findings import ERROR, INFO, WARNING, CheckResult, Finding
from .morphology import bounding_box
from .outline import brain_from_image, head_from_image
from .recognize import Recognition, apply_mapping, recognize
from .repairs import assign_unknown, clip_tumor, fill_cavities, provide_outline, remove_islands, remove_specks
from .scheme import LabelScheme
from .values import GRAY_IMAGE, clean_values, too_many_values

__all__ = ["CheckResult", "Finding", "check_mask", "gray_image", "mend_mask"]

# No mask has more different values; brain maps with more are known by their numbers.
MAX_VALUES = 30
# One repair can lay bare another (a removed piece of tumor leaves a loose piece of brain); it ends after few rounds.
MAX_ROUNDS = 6
# Findings on how the file's values were read; later rounds read the scheme's own.
READING = ("file", "cropped", "convention", "mapping", "assumption")
# Mask and image of one patient overlap better than this (Dice).
SAME_PLACE = 0.75


def check_mask(
    mask: Mask,
    config: ModelConfig,
    image: Volume | None = None,
    labels: Mapping[int, int] | None = None,
    around: BrainAround | None = None,
) -> CheckResult:
    """All findings of ``mask`` for the model of ``config``; nothing is changed.

    ``image``: the MRI that the mask belongs to, on any grid; the missing outline is made from it. ``labels``: what the
    mask's values mean (file value -> scheme value), where the user knows better than recognition. ``around`` lays a
    brain around a tumor without one (``anatomy.placement.brain_around``); without it that is an ellipsoid. Raises
    InputError where ``labels`` names a value that the scheme lacks.
    """
    case = _examine(mask, config, image, labels, around=around)
    read = case.recognition
    told = ({}, "") if read is None else (read.mapping, read.convention.title)
    return CheckResult(tuple(case.findings), *told)


def gray_image(mask: Mask, scheme: LabelScheme) -> Finding | None:
    """Why a file is an image and no mask; None for what is or may be one, however damaged."""
    labels, findings = clean_values(mask.volume.data, 1.0)
    found = next((finding for finding in findings if finding.code == GRAY_IMAGE), None)
    return found or _gray_levels(recognize(Mask(Volume(labels, mask.volume.affine), mask.segments), scheme))


def mend_mask(
    mask: Mask,
    config: ModelConfig,
    image: Volume | None = None,
    labels: Mapping[int, int] | None = None,
    codes: Collection[str] | None = None,
    around: BrainAround | None = None,
) -> tuple[Mask, tuple[Finding, ...], CheckResult]:
    """The mask with all that can be fixed put right, what was fixed, and what is left to say of the result.

    The result is uint8 in the scheme's values on the grid of ``mask``, with the scheme's names as segments. Errors that
    cannot be fixed stay. Fixing twice changes nothing more. ``image``, ``labels`` and ``around`` as of ``check_mask``.
    How the values were read is among what is left, with what was assumed: fixing does not settle it. With ``codes``,
    only findings of these codes are cleaned up; readable values and an outline, on which cleaning builds, come all the
    same.
    """
    fixed: dict[tuple[str, str], Finding] = {}
    read: tuple[Finding, ...] | None = None
    for _ in range(MAX_ROUNDS):
        case = _examine(mask, config, image, labels, codes, around)
        new = [f for f in case.findings if f.fixable and f not in case.declined]
        fixed.update({(f.code, f.sentence): f for f in new})
        if read is None:
            read = tuple(f for f in case.findings if f.code in READING)
        mask = _in_scheme(case)
        labels = {value: value for value in config.scheme.values}
        if not new or case.stopped:
            break
    rest = (f for f in case.findings if (not f.fixable or f in case.declined) and f.code not in READING)
    return mask, tuple(fixed.values()), CheckResult((*(read or ()), *rest))


def _in_scheme(case: Case) -> Mask:
    """The examined label map as a mask in the scheme's own values and names."""
    values = case.config.scheme.values
    data = np.zeros(case.labels.shape, np.uint8)
    if case.recognition is not None:
        data = apply_mapping(case.labels, dict(zip(values, values, strict=True)))
    segments = (Segment(x.value, x.name, x.code) for x in case.config.scheme.labels if (data == x.value).any())
    return Mask(Volume(data, case.affine), tuple(segments))


Step = Callable[[Case], None]
# The order matters: numbers, meaning, size of space, outline, then the cleaning up, each on what the former left.
CLEANING: tuple[Step, ...] = (clip_tumor, remove_islands, remove_specks, fill_cavities)
JUDGING: tuple[Step, ...] = (check_tumor, check_size, check_orientation, check_grid)


def _examine(
    mask: Mask,
    config: ModelConfig,
    image: Volume | None,
    labels: Mapping[int, int] | None,
    codes: Collection[str] | None = None,
    around: BrainAround | None = None,
) -> Case:
    """Run all steps; the case ends with the findings and the repaired label map."""
    case = Case(mask, config, np.zeros(mask.volume.shape, dtype=np.uint8), brain_around=around)
    for note in (*mask.volume.notes, *(() if image is None else image.notes)):
        case.add("file", INFO, note)
    steps: tuple[Step, ...] = (
        _clean,
        lambda c: _recognize(c, labels),
        lambda c: _take_image(c, image),
        check_units,
        assign_unknown,
        _compare_image,
        provide_outline,
    )
    _run(case, steps)
    if not case.stopped and case.labels.any():
        box = bounding_box(case.labels > 0, 1)
        inner = case.within(box)
        _run(inner, (*(CLEANING if codes is None else [_declining(step, codes) for step in CLEANING]), *JUDGING))
        case.labels[box], case.stopped = inner.labels, inner.stopped
    return case


def _run(case: Case, steps: Iterable[Step]) -> None:
    for step in steps:
        if not case.stopped:
            step(case)


def _declining(step: Step, codes: Collection[str]) -> Step:
    """``step``, undone again where it repaired what was not asked for."""

    def run(case: Case) -> None:
        before, known = case.labels.copy(), len(case.findings)
        step(case)
        unwanted = [f for f in case.findings[known:] if f.fixable and f.code not in codes]
        if unwanted:
            case.labels = before
            case.declined.extend(unwanted)

    return run


def _clean(case: Case) -> None:
    case.labels, findings = clean_values(case.mask.volume.data, case.voxel_ml)
    case.findings.extend(findings)
    case.stopped = any(f.severity == ERROR and not f.fixable for f in findings)


def _recognize(case: Case, labels: Mapping[int, int] | None) -> None:
    cleaned = Mask(Volume(case.labels, case.affine), case.mask.segments)
    recognition = recognize(cleaned, case.config.scheme, labels)
    finding = _gray_levels(recognition)
    if finding is not None:
        case.stop(finding.code, finding.sentence, finding.fix)
        return
    if recognition.question:
        case.stop("unclear-labels", *recognition.question)
        return
    case.recognition = recognition
    if recognition.mapping:
        case.add("convention", INFO, recognition.reading)
    for sentence in recognition.notes:
        case.add("mapping", INFO, sentence)
    for sentence in recognition.assumptions:
        case.add("assumption", WARNING, sentence)


def _gray_levels(recognition: Recognition) -> Finding | None:
    present = tuple(sorted({*recognition.mapping, *recognition.unknown}))
    return too_many_values(present) if min(len(present), len(recognition.unknown)) > MAX_VALUES else None


def _take_image(case: Case, image: Volume | None) -> None:
    """Lay the image on the mask's grid, which is extended to the image's where it shows a part of the head only."""
    if image is None:
        return
    if case.recognition is not None and not case.recognition.outline:
        whole = whole_view(Volume(case.labels, case.affine), image)
        if whole.shape != case.labels.shape:
            sentence = f"The mask covers only a part of the image, so its grid was extended to {_grid_text(whole)}."
            case.add("cropped", INFO, sentence)
            case.move_to(whole)
    case.image = _image_on_mask_grid(case, image)


def _image_on_mask_grid(case: Case, image: Volume) -> np.ndarray | None:
    """The image's intensities at the mask's voxels; a finding where the two differ in space, None if far apart."""
    shape, affine = case.mask.volume.shape, case.affine
    if image.shape == shape and np.allclose(image.affine, affine, atol=1e-3):
        return np.asarray(image.data, dtype=np.float32)
    to_image = np.linalg.inv(image.affine) @ affine
    shift = np.linalg.norm((image.affine - affine)[:3, 3])
    what = (
        f"The image is not on the mask's grid: {_grid_text(image)} against {_grid_text(case.mask.volume)}, "
        f"origins {shift:.1f} mm apart"
    )
    resampled, inside = _resample(np.asarray(image.data, dtype=np.float32), to_image, shape)
    if inside < 0.1:
        sentence = f"{what}, and they overlap by {100 * inside:.0f} % only."
        case.add("image-space", ERROR, sentence, "Give the image that the mask was drawn on, or register the two.")
        return None
    case.add("image-space", INFO, f"{what}. It was resampled to the mask; they overlap by {100 * inside:.0f} %.")
    return resampled


def _grid_text(volume: Volume) -> str:
    shape = " x ".join(str(n) for n in volume.shape)
    return f"{shape} voxels of {' x '.join(f'{s:.3g}' for s in volume.spacing)} mm"


def _resample(data: np.ndarray, to_image: np.ndarray, shape: tuple[int, int, int]) -> tuple[np.ndarray, float]:
    """Linear interpolation at mask indices mapped by ``to_image`` (4x4); also which part of the grid it covers.

    The work is done in index space, where any affine, also a sheared one, is a plain affine map.
    """
    flip = np.eye(3)[::-1]  # SimpleITK's index order is the reverse of the array's
    matrix, offset = flip @ to_image[:3, :3] @ flip, flip @ to_image[:3, 3]
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix.ravel().tolist())
    transform.SetTranslation(offset.tolist())
    low = float(data.min())
    source = sitk.GetImageFromArray(np.ascontiguousarray(data - low + 1))
    result = sitk.Resample(
        source, shape[::-1], transform, sitk.sitkLinear, (0, 0, 0), (1, 1, 1), np.eye(3).ravel().tolist(), 0.0
    )
    values = sitk.GetArrayFromImage(result)
    covered = values > 0
    return np.where(covered, values + low - 1, low), float(covered.mean())


def _compare_image(case: Case) -> None:
    """Whether the outline that the mask brings along lies where the image shows it."""
    recognition = case.recognition
    if case.image is None or recognition is None or not case.surround.any() or recognition.kind != case.kind:
        return
    find = brain_from_image if case.kind == "brain" else head_from_image
    shown = find(case.image, case.spacing)
    outline = case.labels > 0
    if shown is None or not shown.any() or (case.kind == "brain" and shown.sum() > 1.5 * outline.sum()):
        return
    dice = 2 * np.count_nonzero(shown & outline) / (np.count_nonzero(shown) + np.count_nonzero(outline))
    if dice < SAME_PLACE:
        sentence = f"The {case.kind} in the mask and in the image overlap by {100 * dice:.0f} % only (Dice)."
        case.add("image-mismatch", WARNING, sentence, "Check that both are of the same patient and registered.")
