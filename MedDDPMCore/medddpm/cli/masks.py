"""``medddpm masks``: move, reshape and create tumors in mask files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..errors import InputError
from ..geometry.io import read_mask
from ..geometry.nifti import write_image
from ..geometry.volume import Mask, voxel_ml
from ..labels.recognize import Recognition, apply_mapping, recognize
from ..labels.scheme import SCHEMES, LabelScheme, load_scheme
from ..labels.values import clean_values
from ..masks import (
    Edit,
    LesionSpec,
    add_lesion,
    grow_tumor,
    growth_series,
    mirror_tumor,
    rotate_tumor,
    scale_series,
    scale_tumor,
    shift_series,
    shift_tumor,
)
from ..masks.stack import one_of
from ..models.places import find_config
from .app import app
from .console import say

masks_app = typer.Typer(no_args_is_help=True, help="Move, reshape and create tumors in a mask.")
app.add_typer(masks_app, name="masks")

In = Annotated[Path, typer.Argument(help="Mask file: NIfTI, NRRD, MetaImage or .seg.nrrd.")]
Out = Annotated[Path, typer.Argument(help="New mask, .nii.gz, in the label values of the scheme.")]
OutFolder = Annotated[Path, typer.Argument(help="Folder for the new masks.")]
Scheme = Annotated[str | None, typer.Option("--scheme", help=f"{', '.join(SCHEMES)}; by default what suits the mask.")]
Model = Annotated[str | None, typer.Option("--model", help="Model folder, .pt file or name; its labels count.")]
Parts = Annotated[str | None, typer.Option("--parts", help="Label values to edit, as 1,3. All parts by default.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="Only so many, at random.")]
Published = Annotated[bool, typer.Option("--published", help="Exactly the rule of Med-DDPM's authors.")]

FIX = "Run 'medddpm check {} --model M --fix OUT.nii.gz' and use its output."


@dataclass(frozen=True)
class Opened:
    """The mask of a file in the values of a scheme: ``labels`` (X, Y, Z) uint8 and ``affine`` to RAS mm."""

    labels: np.ndarray
    affine: np.ndarray
    scheme: LabelScheme
    path: Path


@masks_app.command("scale")
def scale_command(
    mask: In,
    out: Out,
    factor: Annotated[float, typer.Option("--factor", help="1.5 is half as large again in each direction.")],
    parts: Parts = None,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """Scale the tumor about its centroid."""
    opened = open_mask(mask, scheme, model)
    _save_edit(out, opened, scale_tumor(opened.labels, opened.affine, opened.scheme, factor, _values(parts)))


@masks_app.command("shift")
def shift_command(
    mask: In,
    out: Out,
    by: Annotated[str, typer.Option("--by", help="Millimeters to right, anterior, superior, as 10,-5,0.")],
    parts: Parts = None,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """Move the tumor."""
    opened = open_mask(mask, scheme, model)
    offset = _numbers(by, "--by")
    _save_edit(out, opened, shift_tumor(opened.labels, opened.affine, opened.scheme, offset, _values(parts)))


@masks_app.command("rotate")
def rotate_command(
    mask: In,
    out: Out,
    degrees: Annotated[str, typer.Option("--degrees", help="About the R, A and S axes, as 0,0,30.")],
    parts: Parts = None,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """Turn the tumor about its centroid."""
    opened = open_mask(mask, scheme, model)
    angles = _numbers(degrees, "--degrees")
    _save_edit(out, opened, rotate_tumor(opened.labels, opened.affine, opened.scheme, angles, _values(parts)))


@masks_app.command("grow")
def grow_command(
    mask: In,
    out: Out,
    by: Annotated[float, typer.Option("--by", help="Millimeters; negative shrinks.")],
    parts: Parts = None,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """Grow or shrink the tumor by a distance."""
    opened = open_mask(mask, scheme, model)
    _save_edit(out, opened, grow_tumor(opened.labels, opened.affine, opened.scheme, by, _values(parts)))


@masks_app.command("mirror")
def mirror_command(mask: In, out: Out, parts: Parts = None, scheme: Scheme = None, model: Model = None) -> None:
    """Mirror the tumor to the other side of the head."""
    opened = open_mask(mask, scheme, model)
    _save_edit(out, opened, mirror_tumor(opened.labels, opened.affine, opened.scheme, _values(parts)))


@masks_app.command("new-lesion")
@masks_app.command("lesion", hidden=True)
def lesion_command(
    mask: In,
    out: Out,
    seed: Seed = 0,
    center: Annotated[str | None, typer.Option("--center", help="R,A,S in mm; random by default.")] = None,
    diameter: Annotated[float | None, typer.Option("--diameter", help="Of the core, mm; random by default.")] = None,
    irregularity: Annotated[float, typer.Option("--irregularity", help="0 smooth to 1 ragged.")] = 0.6,
    elongation: Annotated[float, typer.Option("--elongation", help="Longest to shortest axis.")] = 1.6,
    lesion_parts: Annotated[
        str | None, typer.Option("--parts", help="Of necrotic,enhancing,edema; all that the scheme has by default.")
    ] = None,
    rim: Annotated[float, typer.Option("--rim", help="Mean thickness of the enhancing rim, mm.")] = 4.0,
    edema: Annotated[float | None, typer.Option("--edema", help="Mean width of edema, mm; random by default.")] = None,
    count: Annotated[int, typer.Option("--count", help="Number of lesions.")] = 1,
    replace: Annotated[bool, typer.Option("--replace", help="Remove the tumor that is there first.")] = False,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """Add a new lesion, or several."""
    roles = tuple(p.strip() for p in lesion_parts.split(",")) if lesion_parts else None
    place = _numbers(center, "--center") if center else None
    spec = LesionSpec(place, diameter, irregularity, elongation, roles, rim, edema, count)
    opened = open_mask(mask, scheme, model)
    labels = opened.labels
    if replace:
        labels = np.where(one_of(labels, opened.scheme.tumor_values), np.uint8(opened.scheme.surround), labels)
    result = add_lesion(labels, opened.affine, opened.scheme, spec, seed)
    _save(out, result.labels, opened)
    for name, volume in result.volumes_ml.items():
        say(f"{name}: {volume:.1f} mL")
    for r, a, s in result.centers_mm:
        say(f"Center: {r:.0f}, {a:.0f}, {s:.0f} mm (right, anterior, superior)")


@masks_app.command("series-scale")
def series_scale_command(
    mask: In,
    out: OutFolder,
    count: Annotated[int, typer.Option("--count", help="Factors from 2.0 down to 0.5.")] = 20,
    published: Published = False,
    sample: Sample = None,
    seed: Seed = 0,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """The tumor at many sizes, one mask each."""
    opened = open_mask(mask, scheme, model)
    series = scale_series(opened.labels, opened.affine, opened.scheme, count, published, sample, seed)
    _save_series(out, opened, series)


@masks_app.command("series-shift")
def series_shift_command(
    mask: In,
    out: OutFolder,
    reach: Annotated[int, typer.Option("--reach", help="Largest offset along each axis, voxels.")] = 40,
    step: Annotated[int, typer.Option("--step", help="Between offsets, voxels.")] = 10,
    published: Published = False,
    sample: Sample = None,
    seed: Seed = 0,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """The tumor at many places, one mask each."""
    opened = open_mask(mask, scheme, model)
    series = shift_series(opened.labels, opened.affine, opened.scheme, reach, step, published, sample, seed)
    _save_series(out, opened, series)


@masks_app.command("series-growth")
def series_growth_command(
    mask: In,
    out: OutFolder,
    frames: Annotated[int, typer.Option("--frames", help="Time points, the last with the tumor as it is.")] = 8,
    start: Annotated[float, typer.Option("--start", help="Diameter at the first one, as a share of the last's.")] = 0.2,
    scheme: Scheme = None,
    model: Model = None,
) -> None:
    """The tumor over time, one mask for each time point."""
    opened = open_mask(mask, scheme, model)
    grown = growth_series(opened.labels, opened.affine, opened.scheme, frames, start)
    _save_series(out, opened, ((f"frame-{i:03d}", labels) for i, labels in enumerate(grown, 1)))


def open_mask(path: Path, scheme_name: str | None, model: str | None) -> Opened:
    """Read a mask and bring it to a scheme's values.

    Raises InputError where it has values without a meaning, or lacks the label of the whole brain or head.
    """
    mask = read_mask(path)
    scheme = _scheme(scheme_name, model) or _suitable(mask)
    labels, found = in_scheme(path, mask, scheme)
    if not found.outline:
        name = scheme.label(scheme.surround).name.lower()
        raise InputError(f"{path} has no label for the {name} around the tumor. {FIX.format(path)}")
    return Opened(labels, mask.volume.affine, scheme, path)


def in_scheme(path: Path, mask: Mask, scheme: LabelScheme) -> tuple[np.ndarray, Recognition]:
    """The mask of ``path`` in the values of ``scheme``. Raises InputError where it has values without a meaning."""
    found = recognize(mask, scheme)
    if found.question:
        raise InputError(f"{path}: {' '.join(found.question)} {FIX.format(path)}")
    if found.unknown:
        raise InputError(f"{path} has the value {found.unknown[0]}, whose meaning is not known. {FIX.format(path)}")
    values, _ = clean_values(mask.volume.data, 1.0)
    return apply_mapping(values, found.mapping), found


def _scheme(name: str | None, model: str | None) -> LabelScheme | None:
    if name and model:
        raise InputError("Give either --scheme or --model, not both.")
    if model:
        return find_config(model).scheme
    if name and name not in SCHEMES:
        raise InputError(f"--scheme is '{name}'; it must be one of {', '.join(SCHEMES)}.")
    return load_scheme(name) if name else None


def _suitable(mask: Mask) -> LabelScheme:
    """The labels of BraTS, or those with tissues where the mask plainly has some: they would be lost."""
    anatomy = load_scheme("glioma-anatomy")
    found = recognize(mask, anatomy)
    plain = found.convention.name in (anatomy.name, "names", "structures")
    has_tissues = not set(anatomy.tissue_values).isdisjoint(found.mapping.values())
    return anatomy if plain and has_tissues else load_scheme("brats")


def _numbers(text: str, option: str) -> tuple[float, float, float]:
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise InputError(f"{option} is '{text}'; it must be three numbers with commas, as 10,-5,0.") from exc
    return a, b, c


def _values(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as exc:
        raise InputError(f"--parts is '{text}'; it must be label values with commas, as 1,3.") from exc


def _save(path: Path, labels: np.ndarray, opened: Opened) -> None:
    write_image(path, labels, opened.affine, "MedDDPM mask, edited; not a patient's anatomy", opened.path)


def _save_edit(path: Path, opened: Opened, edit: Edit) -> None:
    _save(path, edit.labels, opened)
    say(f"{path}: {_tumor_ml(edit.labels, opened):.1f} mL of tumor.")
    if edit.lost_voxels:
        say(f"{1 - edit.kept_fraction:.0%} of it fell outside of the head or brain outline and was cut off.")


def _tumor_ml(labels: np.ndarray, opened: Opened) -> float:
    voxels = np.count_nonzero(one_of(labels, opened.scheme.tumor_values))
    return voxels * voxel_ml(opened.affine)


def _save_series(folder: Path, opened: Opened, series: Iterator[tuple[str, np.ndarray]]) -> None:
    written = 0
    for name, labels in series:
        _save(folder / f"{name}.nii.gz", labels, opened)
        written += 1
    if not written:
        raise InputError("No mask of the series is plausible: the tumor is too small, or leaves the outline each time.")
    say(f"{folder}: {written} masks.")
