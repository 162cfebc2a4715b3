"""The functions for Python: masks and images come as files or in memory, results as images of nibabel.

They raise ``medddpm.errors.MedDDPMError`` (``InputError`` for what the caller can fix) with a sentence, and warn
of what was guessed or changed (``warnings``).
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from .anatomy.placement import brain_around
from .config import from_dict
from .errors import InputError, MedDDPMError
from .geometry.foreign import Image, as_file, as_nibabel
from .geometry.io import read_mask, read_volume
from .geometry.volume import Mask, Volume
from .labels import check
from .labels.conventions import labels_text, parse_labels
from .labels.findings import CheckResult, Finding
from .masks import Edit, LesionResult, LesionSpec, add_lesion, grow_tumor, mirror_tumor, transform_tumor
from .models.places import find_config
from .progress import CallingReporter, Progress

# What a mask's values mean to a model: file value -> model value, also as "1=1,2=2,4=3".
Labels = str | Mapping[int, int]


@dataclass(frozen=True)
class Case:
    """What came of one mask, in ``folder``, which is a temporary one until it is saved elsewhere.

    ``error`` is None, or, where errors are collected, why nothing came of it.
    """

    folder: Path
    error: MedDDPMError | None = None
    _keeper: Any = None  # the temporary folder lives as long as the case

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """How the images were made (``provenance.json``): model, options, seeds, versions, hashes."""
        return dict(json.loads((self.folder / "provenance.json").read_text(encoding="utf-8")))

    @cached_property
    def samples(self) -> tuple[dict[str, nib.Nifti1Image], ...]:
        """The images of every sample by modality, int16 from 0 to 1000 on the mask's grid."""
        return tuple(
            {
                modality: _loaded(self.folder / file)
                for modality in self.provenance["modalities"]
                for file in sample["files"]
                if "/" not in file and file.endswith(f"_{modality}.nii")
            }
            for sample in self.provenance["samples"]
        )

    @property
    def images(self) -> dict[str, nib.Nifti1Image]:
        """Those of the first sample."""
        return self.samples[0]

    @cached_property
    def labels(self) -> nib.Nifti1Image:
        """The mask that was used, checked and fixed, uint8 in the values of the model's label scheme."""
        return _loaded(self.folder / f"{self.folder.name}_mask.nii")

    @property
    def sheets(self) -> tuple[Path, ...]:
        """The contact sheets, one PNG for each sample."""
        return tuple(sorted(self.folder.glob("*_sample-*.png")))

    def save(self, folder: str | Path, *, dicom: bool = False) -> Path:
        """Copy images, contact sheets and provenance to a new folder ``folder``/NAME, and return that.

        ``dicom``: each image also as a DICOM series of one study in its folder ``dicom``, marked as synthetic.
        """
        target = Path(folder) / self.folder.name
        try:
            shutil.copytree(self.folder, target)
        except OSError as exc:
            reason = "it already exists" if isinstance(exc, FileExistsError) else exc.strerror or str(exc)
            raise InputError(f"{target} could not be written: {reason}. Choose another folder.") from exc
        if dicom:
            self._write_dicom(target / "dicom")
        return target

    def _write_dicom(self, folder: Path) -> None:
        from .geometry.dicom import new_study, write_dicom

        study, made = new_study(), self.provenance
        for seed, images in zip(made["seeds"], self.samples, strict=True):
            for name, image in images.items():
                write_dicom(
                    Volume(np.asarray(image.dataobj), image.affine),
                    folder / f"seed-{seed}_{name}",
                    name,
                    f"made from a label map by the model '{made['model']['name']}' with seed {seed}.",
                    edited=name in made.get("partly_synthetic", ()),
                    tags=study,
                )


def synthesize(
    mask: Image | list[Image],
    *,
    model: str | Path = "demo",
    samples: int = 1,
    seed: int = 0,
    image: Image | list[Image] | None = None,
    labels: Labels | None = None,
    modalities: Sequence[str] = (),
    anatomy: Image = "seed",
    mass_effect: float = 1.0,
    contrast: str = "seed",
    reference: Mapping[str, Image] | None = None,
    context: Mapping[str, Image] | None = None,
    region: Image | None = None,
    before: Image | None = None,
    seam_mm: float = 4.0,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float = 1.0,
    verify: str | Path = "none",
    best_of: int = 1,
    on: str = "",
    device: str = "auto",
    precision: str = "auto",
    ignore_memory: bool = False,
    collect_errors: bool = False,
    progress: Progress | None = None,
) -> Any:
    """Make images from a mask: a ``Case``; from a list of masks: a list of them.

    Options are the fields of ``medddpm.synthesis.request.SynthesisRequest``, which has their meaning and ranges;
    ``image`` is the MRI that the mask was drawn on (one per mask), ``reference`` and ``context`` map modalities to
    images.
    ``collect_errors``: a mask that cannot be used does not raise, but is told by ``Case.error``.
    """
    return _synthesized(locals())


def _synthesized(options: dict[str, Any]) -> Any:
    from .synthesis.pipeline import run
    from .synthesis.request import ANATOMIES, SynthesisRequest
    from .synthesis.results import raise_failures

    given, images = options.pop("mask"), options.pop("image")
    collect, reporter = options.pop("collect_errors"), CallingReporter(options.pop("progress"))
    keeper = tempfile.TemporaryDirectory(prefix="medddpm-")
    inputs = Path(keeper.name) / "inputs"
    inputs.mkdir()

    def file(what: Any, name: str) -> str:
        return str(as_file(what, inputs, name))

    masks = given if isinstance(given, list) else [given]
    options["masks"] = [file(one, f"mask_{i}" if len(masks) > 1 else "mask") for i, one in enumerate(masks, 1)]
    images = images if isinstance(images, list) else [] if images is None else [images]
    options["images"] = [file(one, f"image_{i}") for i, one in enumerate(images, 1)]
    for name in ("reference", "context"):
        parts = options[name] or {}
        options[name] = [f"{modality}={file(part, f'{name}_{modality}')}" for modality, part in parts.items()]
    for name in ("region", "before", "anatomy"):
        if options[name] not in (None, *ANATOMIES):
            options[name] = file(options[name], name)
    if isinstance(options["labels"], Mapping):
        options["labels"] = labels_text(options["labels"])
    options |= {
        "model": str(options["model"]),
        "verify": str(options["verify"]),
        "modalities": list(options["modalities"]),
        "compress": False,
    }
    results = run(from_dict(SynthesisRequest, options, "synthesize"), Path(keeper.name) / "results", reporter)
    if not collect:
        raise_failures(results)
    errors = [
        MedDDPMError(one.message, one.exit_code, option=one.option) if one.state == "failed" else None
        for one in results
    ]
    cases = [Case(one.folder, error, keeper) for one, error in zip(results, errors, strict=True)]
    return cases if isinstance(given, list) else cases[0]


def load_mask(mask: Image) -> Mask:
    """The label map with the numbers of the file, the names of its segments where it has some, and its affine."""
    with tempfile.TemporaryDirectory(prefix="medddpm-") as folder:
        return read_mask(as_file(mask, Path(folder), "mask"))


def check_mask(
    mask: Image, model: str | Path = "demo", *, image: Image | None = None, labels: Labels | None = None
) -> CheckResult:
    """What would make ``model`` produce noise from ``mask``; ``image`` is the MRI that the mask was drawn on."""
    return check.check_mask(*_checked(mask, model, image, labels))


def fix_mask(
    mask: Image, model: str | Path = "demo", *, image: Image | None = None, labels: Labels | None = None
) -> tuple[nib.Nifti1Image, tuple[Finding, ...]]:
    """The mask with all put right that can be, in the values of the model's label scheme, and what was put right.

    Raises InputError where it cannot be used even so.
    """
    source, config, reference, given, around = _checked(mask, model, image, labels)
    mended, done, left = check.mend_mask(source, config, reference, given, around=around)
    if left.errors:
        raise left.refusal("The mask")
    return as_nibabel(mended.volume), done


def edit(
    mask: Image,
    *,
    scale: float = 1.0,
    rotate: Sequence[float] = (0.0, 0.0, 0.0),
    shift: Sequence[float] = (0.0, 0.0, 0.0),
    grow: float = 0.0,
    mirror: bool = False,
    parts: Sequence[int] | None = None,
    model: str | Path = "demo",
    image: Image | None = None,
    labels: Labels | None = None,
) -> tuple[nib.Nifti1Image, float]:
    """The mask with its tumor mirrored, then scaled, rotated and shifted, then grown, and the share of it (0 to 1)
    that found a place inside the brain or head.

    ``scale``: a factor, 0.05 to 4; ``rotate``: degrees about the R, A and S axes; ``shift``: millimeters to right,
    anterior and superior; ``grow``: millimeters, negative shrinks. ``parts``: the values to edit, all if None. The mask
    comes in the values of the label scheme of ``model``, checked and fixed as by ``fix_mask``.
    """
    fixed = _mended(mask, model, image, labels)
    now, affine, scheme, kept = np.asarray(fixed.dataobj), fixed.affine, find_config(model).scheme, 1.0
    steps: list[Callable[[np.ndarray], Edit]] = []
    if mirror:
        steps.append(lambda now: mirror_tumor(now, affine, scheme, parts))
    if scale != 1 or any(rotate) or any(shift):
        steps.append(lambda now: transform_tumor(now, affine, scheme, scale, rotate, shift, parts))
    if grow:
        steps.append(lambda now: grow_tumor(now, affine, scheme, grow, parts))
    for step in steps:
        done = step(now)
        now, kept = done.labels, kept * done.kept_fraction
    return as_nibabel(Volume(now, affine)), kept


def new_lesion(
    mask: Image,
    *,
    seed: int = 0,
    model: str | Path = "demo",
    image: Image | None = None,
    labels: Labels | None = None,
    **lesion: Any,
) -> tuple[nib.Nifti1Image, LesionResult]:
    """The mask with a new lesion, and where that is and how large. The same seed gives the same lesion.

    ``lesion``: fields of ``medddpm.masks.LesionSpec``, as ``center_mm``, ``diameter_mm``, ``count``; what is left out
    is random. The mask comes as by ``edit``.
    """
    fixed = _mended(mask, model, image, labels)
    spec = from_dict(LesionSpec, lesion, "new_lesion")
    made = add_lesion(np.asarray(fixed.dataobj), fixed.affine, find_config(model).scheme, spec, seed)
    return as_nibabel(Volume(made.labels, fixed.affine)), made


def _mended(mask: Image, model: str | Path, image: Image | None, labels: Labels | None) -> nib.Nifti1Image:
    """``fix_mask``, which warns of what it put right."""
    fixed, done = fix_mask(mask, model, image=image, labels=labels)
    for finding in done:
        warnings.warn(str(finding), stacklevel=3)
    return fixed


def _checked(mask: Image, model: str | Path, image: Image | None, labels: Labels | None) -> tuple[Any, ...]:
    with tempfile.TemporaryDirectory(prefix="medddpm-") as folder:
        source = read_mask(as_file(mask, Path(folder), "mask"), single_slice=image is not None)
        reference: Volume | None = None if image is None else read_volume(as_file(image, Path(folder), "image"))
    given = parse_labels(labels) if isinstance(labels, str) else labels
    return source, find_config(model), reference, given, brain_around


def _loaded(path: Path) -> nib.Nifti1Image:
    image = nib.Nifti1Image.from_filename(path)
    return nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header)
