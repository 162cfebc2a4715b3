"""``medddpm masks``: move, reshape and create tumors in mask files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ..errors import InputError
from ..masks import (
    LesionSpec,
    add_lesion,
    grow_tumor,
    growth_series,
    mirror_tumor,
    scale_series,
    shift_series,
    transform_tumor,
)
from ..masks.stack import one_of
from .console import say
from .mask_files import Reading, open_mask
from .options import with_options
from .root import app

masks_app = typer.Typer(no_args_is_help=True, help="Move, reshape and create tumors in a mask.")
app.add_typer(masks_app, name="masks")

In = Annotated[Path, typer.Argument(help="Mask file: NIfTI, NRRD, MetaImage or .seg.nrrd.")]
Out = Annotated[
    Path, typer.Argument(help="New mask, .nii.gz, in the label values of the scheme; of a raw mask in its own.")
]
OutFolder = Annotated[Path, typer.Argument(help="Folder for the new masks.")]
Parts = Annotated[
    str | None, typer.Option("--parts", help="Label values to edit, as in OUT: 1,3. All parts by default.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="At most this many, chosen at random.")]
Published = Annotated[bool, typer.Option("--published", help="Exactly the rule of Med-DDPM's authors.")]


@masks_app.command("scale")
@with_options(Reading)
def scale_command(
    mask: In,
    out: Out,
    factor: Annotated[float, typer.Option("--factor", help="1.5 makes it 50 % larger in each direction.")],
    parts: Parts = None,
    **options: Any,
) -> None:
    """Scale the tumor about its centroid."""
    _transform(mask, out, parts, options, factor=factor)


@masks_app.command("shift")
@with_options(Reading)
def shift_command(
    mask: In,
    out: Out,
    by: Annotated[str, typer.Option("--by", help="Millimeters to right, anterior, superior, as 10,-5,0.")],
    parts: Parts = None,
    **options: Any,
) -> None:
    """Move the tumor."""
    _transform(mask, out, parts, options, offset_mm=_numbers(by, "--by"))


@masks_app.command("rotate")
@with_options(Reading)
def rotate_command(
    mask: In,
    out: Out,
    degrees: Annotated[str, typer.Option("--degrees", help="About the R, A and S axes, as 0,0,30.")],
    parts: Parts = None,
    **options: Any,
) -> None:
    """Turn the tumor about its centroid."""
    _transform(mask, out, parts, options, degrees=_numbers(degrees, "--degrees"))


@masks_app.command("grow")
@with_options(Reading)
def grow_command(
    mask: In,
    out: Out,
    by: Annotated[float, typer.Option("--by", help="Millimeters; negative shrinks.")],
    parts: Parts = None,
    **options: Any,
) -> None:
    """Grow or shrink the tumor by a distance."""
    opened = open_mask(mask, **options)
    opened.save_edit(out, grow_tumor(opened.labels, opened.affine, opened.scheme, by, opened.parts(parts)))


@masks_app.command("mirror")
@with_options(Reading)
def mirror_command(
    mask: In,
    out: Out,
    parts: Parts = None,
    **options: Any,
) -> None:
    """Mirror the tumor to the other side of the head."""
    opened = open_mask(mask, **options)
    opened.save_edit(out, mirror_tumor(opened.labels, opened.affine, opened.scheme, opened.parts(parts)))


@masks_app.command("new-lesion")
@masks_app.command("lesion", hidden=True)
@with_options(Reading)
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
    replace: Annotated[bool, typer.Option("--replace", help="Remove the existing tumor first.")] = False,
    **options: Any,
) -> None:
    """Add a new lesion, or several."""
    roles = tuple(p.strip() for p in lesion_parts.split(",")) if lesion_parts else None
    place = _numbers(center, "--center") if center else None
    spec = LesionSpec(place, diameter, irregularity, elongation, roles, rim, edema, count)
    opened = open_mask(mask, **options)
    before = opened.labels
    if replace:
        before = np.where(one_of(before, opened.scheme.tumor_values), np.uint8(opened.scheme.surround), before)
    result = add_lesion(before, opened.affine, opened.scheme, spec, seed)
    opened.save(out, result.labels)
    for name, volume in result.volumes_ml.items():
        say(f"{name}: {volume:.1f} mL")
    for r, a, s in result.centers_mm:
        say(f"Center: {r:.0f}, {a:.0f}, {s:.0f} mm (right, anterior, superior)")


@masks_app.command("series-scale")
@with_options(Reading)
def series_scale_command(
    mask: In,
    out: OutFolder,
    count: Annotated[int, typer.Option("--count", help="Factors from 2.0 down to 0.5.")] = 20,
    published: Published = False,
    sample: Sample = None,
    seed: Seed = 0,
    **options: Any,
) -> None:
    """The tumor at many sizes, one mask each."""
    opened = open_mask(mask, **options)
    series = scale_series(opened.labels, opened.affine, opened.scheme, count, published, sample, seed)
    opened.save_series(out, series)


@masks_app.command("series-shift")
@with_options(Reading)
def series_shift_command(
    mask: In,
    out: OutFolder,
    reach: Annotated[int, typer.Option("--reach", help="Largest offset along each axis, voxels.")] = 40,
    step: Annotated[int, typer.Option("--step", help="Between offsets, voxels.")] = 10,
    published: Published = False,
    sample: Sample = None,
    seed: Seed = 0,
    **options: Any,
) -> None:
    """The tumor at many places, one mask each."""
    opened = open_mask(mask, **options)
    series = shift_series(opened.labels, opened.affine, opened.scheme, reach, step, published, sample, seed)
    opened.save_series(out, series)


@masks_app.command("series-growth")
@with_options(Reading)
def series_growth_command(
    mask: In,
    out: OutFolder,
    frames: Annotated[int, typer.Option("--frames", help="Time points, the last with the tumor as it is.")] = 8,
    start: Annotated[float, typer.Option("--start", help="Diameter at the first one, as a share of the last's.")] = 0.2,
    **options: Any,
) -> None:
    """The tumor over time, one mask of the same brain or head for each time point."""
    opened = open_mask(mask, whole=True, **options)
    grown = growth_series(opened.labels, opened.affine, opened.scheme, frames, start)
    opened.save_series(out, ((f"frame-{i:03d}", frame) for i, frame in enumerate(grown, 1)))


def _transform(mask: Path, out: Path, parts: Any, options: dict[str, Any], **how: Any) -> None:
    opened = open_mask(mask, **options)
    labels, affine, scheme = opened.labels, opened.affine, opened.scheme
    opened.save_edit(out, transform_tumor(labels, affine, scheme, parts=opened.parts(parts), **how))


def _numbers(text: str, option: str) -> tuple[float, float, float]:
    try:
        a, b, c = (float(part) for part in text.split(","))
    except ValueError as exc:
        raise InputError(f"{option} is '{text}'; it must be three numbers with commas, as 10,-5,0.") from exc
    return a, b, c
