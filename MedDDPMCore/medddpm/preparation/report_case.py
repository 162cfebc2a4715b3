"""The part of the report on one case."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ..labels.findings import WARNING, milliliters
from ..labels.scheme import LabelScheme
from .facts import CaseFacts, Flag, Geometry, ImageFacts

_WORDS = {"warning": "Check", "info": "Note"}


def anchor(case: str) -> str:
    """The name in the page that leads to a case."""
    return "case-" + escape(case, quote=True)


def case_section(
    case: CaseFacts,
    flags: Sequence[Flag],
    split: str | None,
    left_out: str | None,
    scheme: LabelScheme,
    pictures: tuple[str, str] | None,
) -> str:
    """One case: its pictures (addresses of strip and contact sheet), facts, and what is to be looked at."""
    look = left_out is not None or any(flag.severity == WARNING for flag in flags)
    return (
        f'<article class="case{"" if look else " plain"}" id="{anchor(case.id)}">{_head(case, flags, split, left_out)}'
        f"{_strip(case, pictures)}{_flags(flags, left_out)}{_sizes(case, scheme)}{_details(case, scheme)}</article>"
    )


def _head(case: CaseFacts, flags: Sequence[Flag], split: str | None, left_out: str | None) -> str:
    chips = [] if split is None else [f'<span class="chip">{escape(split)}</span>']
    if left_out is not None:
        chips.append('<span class="chip out">left out</span>')
    warnings = sum(flag.severity == WARNING for flag in flags)
    if warnings:
        chips.append(f'<span class="chip warning">{warnings} to check</span>')
    patient = "" if case.patient == case.id else f'<span class="soft">patient {escape(case.patient)}</span>'
    return f'<div class="head"><h3>{escape(case.id)}</h3>{patient}{"".join(chips)}</div>'


def _strip(case: CaseFacts, pictures: tuple[str, str] | None) -> str:
    if pictures is None:
        return '<p class="soft">There is no picture of this case.</p>'
    strip, sheet = (escape(address, quote=True) for address in pictures)
    names = ", ".join(image.modality for image in case.images)
    words = escape(
        f"{case.id}: {names} in the axial plane, then {case.images[0].modality} coronal and sagittal, mask outlined",
        quote=True,
    )
    return f'<a href="{sheet}"><img class="strip" loading="lazy" src="{strip}" alt="{words}"></a>'


def _flags(flags: Sequence[Flag], left_out: str | None) -> str:
    items = [] if left_out is None else [f'<li class="out"><b>Left out</b>{escape(left_out)}</li>']
    items += [
        f'<li class="{escape(flag.severity, quote=True)}"><b>{_WORDS.get(flag.severity, "Note")}</b>'
        f"{escape(flag.sentence)}</li>"
        for flag in flags
    ]
    return f'<ul class="flags">{"".join(items)}</ul>' if items else ""


def _sizes(case: CaseFacts, scheme: LabelScheme) -> str:
    """The line that says most, always shown."""
    mask = case.mask
    parts = [f"{mask.kind.capitalize()} {milliliters(mask.outline_ml)}"]
    if mask.tumor_ml > 0:
        of = [
            f"{scheme.label(value).name} {milliliters(ml)}"
            for value, ml in mask.labels_ml
            if ml > 0 and value in scheme.tumor_values
        ]
        parts.append(f"tumor {milliliters(mask.tumor_ml)}" + (f" ({', '.join(of)})" if len(of) > 1 else ""))
    else:
        parts.append("no tumor")
    parts.append("outline found in the image" if mask.made else "outline from the mask")
    cut = f"{milliliters(mask.lost_ml)} cut off ({mask.lost_share:.1%})" if mask.lost_share else "nothing cut off"
    return f'<p class="facts">{escape("; ".join([*parts, cut]))}.</p>'


def _details(case: CaseFacts, scheme: LabelScheme) -> str:
    head = "".join(
        f'<th scope="col"{extra}>{name}</th>'
        for name, extra in (
            ("Image", ""),
            ("Voxels", ""),
            ("-1 to +1", ' class="number"'),
            ("Mean", ' class="number"'),
            ("Deviation", ' class="number"'),
            ("Moved", ""),
        )
    )
    rows = "".join(_image_row(image) for image in case.images)
    if case.mask.geometry is not None:
        rows += f'<tr><th scope="row">Mask</th><td colspan="5">{escape(geometry_text(case.mask.geometry))}</td></tr>'
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in case.sentences)
    x, y, z = case.mask.extent_mm
    size = f"The {case.mask.kind} measures {x:.0f} x {y:.0f} x {z:.0f} mm (right-left, front-back, foot-head)."
    return (
        f'<details><summary>All that is known<span class="soft"> of {escape(case.id)}</span></summary>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"<ul><li>{escape(size)}</li>{said}</ul></details>"
    )


def _image_row(image: ImageFacts) -> str:
    moves = "; ".join(f"{m.shift_mm:.1f} mm, {m.rotation_degrees:.1f}° onto {m.onto}" for m in image.moves)
    cells = (
        f"<td>{escape(geometry_text(image.geometry))}</td>"
        f'<td class="number">{image.low:.5g} to {image.high:.5g}</td>'
        f'<td class="number">{image.mean:.2f}</td><td class="number">{image.std:.2f}</td>'
        f"<td>{escape(moves) or 'no'}</td>"
    )
    return f'<tr><th scope="row">{escape(image.modality)}</th>{cells}</tr>'


def case_row(case: CaseFacts, warnings: int, split: str | None) -> str:
    """The line of one case in the table of all."""
    spacing = sorted({" x ".join(f"{s:.3g}" for s in image.geometry.spacing) for image in case.images})
    mask = case.mask
    cells = (
        f"<td>{escape(case.patient)}</td><td>{escape(split or 'left out')}</td><td>{escape('; '.join(spacing))}</td>"
        f'<td class="number">{mask.outline_ml:,.0f}</td><td class="number">{mask.tumor_ml:,.1f}</td>'
        f'<td class="number">{f"{mask.lost_ml:,.1f}" if mask.lost_ml else "0"}</td><td class="number">{warnings}</td>'
    )
    return f'<tr><th scope="row"><a href="#{anchor(case.id)}">{escape(case.id)}</a></th>{cells}</tr>'


def geometry_text(geometry: Geometry) -> str:
    """``"192 x 192 x 144 of 1 x 1 x 1 mm, LPS"``."""
    shape, spacing = " x ".join(map(str, geometry.shape)), " x ".join(f"{s:.3g}" for s in geometry.spacing)
    return f"{shape} of {spacing} mm, {geometry.orientation}"
