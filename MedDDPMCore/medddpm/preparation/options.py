"""What is asked of a preparation, as data: the same for the command line, Python and job folders."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from .. import plugins
from ..config import MODALITY, GridConfig, from_dict
from ..errors import InputError
from ..labels.conventions import outline_kind, parse_labels
from ..labels.scheme import SCHEMES, LabelScheme, load_scheme
from ..options import check_options, option
from ..parse import shown

# What can be chosen, with titles for people.
_LAYOUTS = {
    "auto": "Recognize",
    "brats": "BraTS: a folder or prefix for each case",
    "med-ddpm": "Med-DDPM: a folder for each kind of image",
    "nnunet": "nnU-Net dataset",
    "table": "Named in a table (CSV)",
}
LAYOUTS = {name: _LAYOUTS.get(name, name) for name in plugins.names("layouts", tuple(_LAYOUTS))}
_SCHEMES = {
    "brats": "Glioma: edema, enhancing tumor, necrosis, brain",
    "glioma-anatomy": "Glioma and anatomy: also ventricles, gray and white matter",
    "whole-head": "Whole head: head and tumor",
}
REGISTRATIONS = {
    "none": "None: the images of a case lie on each other",
    "modalities": "Images of a case onto each other",
    "template": "All cases onto a template",
}
INTENSITIES = {
    "percentile": "Robust percentiles of each image",
    "min-max": "Min-max of each image",
    "slice-min-max": "Min-max of each slice, as published",
}
OUTLINES = {"auto": "As the labels need it", "brain": "Brain", "head": "Head", "none": "From the mask only"}
GRIDS = {
    "brats-1mm": GridConfig((192, 192, 144), (1.0, 1.0, 1.0), "LPS"),
    "demo-2mm": GridConfig((80, 96, 80), (2.0, 2.0, 2.0), "LPS"),
    "whole-head-1.5mm": GridConfig((128, 128, 128), (1.5, 1.5, 1.5), "RAS"),
}
_GRIDS = {
    "auto": "As published for these labels",
    "demo-2mm": "2 mm (80 x 96 x 80), for ordinary computers",
    "whole-head-1.5mm": "1.5 mm (128 x 128 x 128), whole head",
    "brats-1mm": "1 mm (192 x 192 x 144)",
}
MAX_WORKERS = 256
_GRID = re.compile(r"(\d+)x(\d+)x(\d+):(\d[\d.]*)(?:x(\d[\d.]*)x(\d[\d.]*))?:([LRAPSI]{3})")


@dataclass(frozen=True)
class PrepareOptions:
    """One preparation: ``source`` (folder, or CSV table) to the dataset folder ``out``.

    ``table``: a CSV that names the files below ``source``. ``scheme``: one of ``SCHEMES`` or the path of a scheme's
    JSON. ``grid``: "auto" (the published grid of the scheme), a name of ``GRIDS`` or "80x96x80:2:LPS" (shape, spacing
    in mm, axes). ``modalities`` in channel order; empty means all that the source has. ``labels`` says what the masks'
    values mean to the scheme ("1=1,2=2,4=3"); None leaves it to the source and to recognition. ``template`` is the
    image that "template" registers to. ``intensities`` and ``outline``: see ``geometry.intensity`` and ``case``.

    ``validation`` and ``test`` are shares of the patients, drawn with ``seed``; where the source or
    ``validation_cases`` and ``test_cases`` (case or patient ids) name cases of that split, these are taken instead.
    ``leave_out``: cases, patients or files (as the scan names them) that are not to be used. ``leave_out_flagged``
    leaves out what the outlier check warns of; of a case that is there twice, the first stays. ``workers``: processes;
    0 means as many as sensible, 1 none besides this one. ``note`` tells in the dataset where the scans come from;
    empty: the name of the source folder.
    """

    source: str
    out: str
    layout: str = option(
        "auto", "How files are named and sorted into folders.", label="Dataset layout", choices=LAYOUTS
    )
    table: str | None = option(
        None, "CSV of paths below the source: columns case, mask and one for each modality.", metavar="FILE"
    )
    scheme: str = option(
        "brats",
        f"Labels of the model: {', '.join(SCHEMES)} or a .json file.",
        label="Labels",
        choices={name: _SCHEMES.get(name, name) for name in SCHEMES},
        more=True,
    )
    grid: str = option(
        "auto",
        f"Voxels of the model: auto, {', '.join(GRIDS)}, or voxels, spacing and axes such as 80x96x80:2:LPS.",
        label="Resolution",
        choices=_GRIDS,
        more=True,
    )
    modalities: tuple[str, ...] = option(
        (), "A modality to use; repeat, in the order of the model. Default: all.", flag="--modality"
    )
    register: str = option(
        "none", "Rigid registration. BraTS data need none.", label="Registration", choices=REGISTRATIONS
    )
    template: str | None = option(None, "The image to register to, with the registration 'template'.", metavar="FILE")
    intensities: str = option(
        "percentile", "Intensity normalization.", label="Intensity normalization", choices=INTENSITIES
    )
    outline: str = option(
        "auto",
        "What to outline, by the image, where masks have no label around the tumor.",
        label="Head or brain",
        choices=OUTLINES,
    )
    labels: str | None = option(None, "What the masks' values mean to the model: 1=1,2=2,4=3.")
    validation: float = option(
        0.1, "Share of the patients in the validation split, below 1.", label="Validation split", low=0, high=1
    )
    test: float = option(
        0.1, "Share of the patients in the test split; 1: all of them.", label="Test split", low=0, high=1
    )
    seed: int = option(0, "Seed of the splits: another one draws other patients.", label="Random seed")
    validation_cases: tuple[str, ...] = option(
        (), "A case or patient for validation, in place of the share; repeat.", flag="--validation-case"
    )
    test_cases: tuple[str, ...] = option(
        (), "A case or patient for the test, in place of the share; repeat.", flag="--test-case"
    )
    leave_out: tuple[str, ...] = option((), "A case, patient or file not to use; repeat.")
    leave_out_flagged: bool = option(
        False,
        "Leave out the cases that look wrong; see the report first.",
        label="Leave out cases that look wrong",
        flag="--leave-out-flagged",
    )
    workers: int = option(0, "Processes; 0 means as many as sensible here.", low=0, high=MAX_WORKERS)
    note: str = option("", "Where the scans come from, for the record. Left out: folder name.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.labels is not None:
            parse_labels(self.labels)
        if (self.register == "template") != (self.template is not None):
            raise InputError(
                f"The option register is '{self.register}' and template is {shown(self.template)}. "
                "Registration to a template needs an image as template, and a template is used for nothing else."
            )
        for name in self.modalities:
            if not MODALITY.fullmatch(name):
                raise InputError(f"The modality {shown(name)} is not possible: use letters, digits and . + - _.")
        if len({name.casefold() for name in self.modalities}) < len(self.modalities):
            raise InputError(f"The modalities {', '.join(self.modalities)} name one twice. Name each once.")
        if self.validation + self.test >= 1 and self.test != 1:
            raise InputError(
                f"Validation {self.validation} and test {self.test} together leave nothing to train on. Lower them."
            )
        both = sorted(set(self.validation_cases) & set(self.test_cases))
        if both:
            raise InputError(f"'{both[0]}' is named for validation and for test. Name it for one of them.")

    @classmethod
    def from_dict(cls, data: Any) -> PrepareOptions:
        """Parse the ``request`` of a job. Raises InputError naming the field that is missing, unknown or wrong."""
        return from_dict(cls, data, "The job's request")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    def label_scheme(self) -> LabelScheme:
        """The label scheme that is meant. Raises InputError where its file cannot be used."""
        return load_scheme(self.scheme)

    def grid_config(self, scheme: LabelScheme) -> GridConfig:
        """The grid that is meant, for ``scheme``. Raises InputError where it cannot be understood."""
        if self.grid != "auto":
            return parse_grid(self.grid)
        return GRIDS["whole-head-1.5mm" if outline_kind(scheme) == "head" else "brats-1mm"]


def parse_grid(text: str) -> GridConfig:
    """A grid by its name in ``GRIDS`` or as "80x96x80:2:LPS", "160x192x144:1x1x1.2:RAS". Raises InputError."""
    if text in GRIDS:
        return GRIDS[text]
    found = _GRID.fullmatch(text)
    if not found:
        raise InputError(
            f"The grid {shown(text)} is not understood. Give one of {', '.join(GRIDS)}, or shape, spacing in mm and "
            "axes as in 80x96x80:2:LPS."
        )
    x, y, z = (int(n) for n in found.groups()[:3])
    first = found[4]
    try:
        spacing = float(first), float(found[5] or first), float(found[6] or first)
    except ValueError as exc:
        raise InputError(f"The grid {shown(text)} has a spacing that is not a number. Write it as in 1.5.") from exc
    return GridConfig((x, y, z), spacing, found[7])


def grid_text(grid: GridConfig) -> str:
    """The inverse of ``parse_grid``."""
    sides = [f"{s:g}" for s in grid.spacing]
    shape, spacing = "x".join(map(str, grid.shape)), sides[0] if len(set(sides)) == 1 else "x".join(sides)
    return f"{shape}:{spacing}:{grid.orientation}"
