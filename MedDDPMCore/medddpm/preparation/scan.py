"""What a source holds and what is wrong with it. Imports no torch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import plugins
from ..errors import InputError
from ..files import write_text
from ..geometry.io import read_geometry, read_mask, read_volume
from ..jobs.folder import JobFolder
from ..parse import from_dict, shown
from ..progress import Reporter, SilentReporter
from .facts import ERROR, WARNING, CaseFiles, SourceProblem, SourceScan, in_order
from .options import LAYOUTS
from .sources.described import NAME as DESCRIPTION
from .sources.described import scan_nnunet, scan_table
from .sources.folders import MASK, Collector, image_files, part_folders, scan_brats, scan_med_ddpm, split_name

BRATS, MED_DDPM, NNUNET, TABLE = "brats", "med-ddpm", "nnunet", "table"
# Two files lie on one grid when no voxel of one is further than this from that of the other, mm.
SAME_GRID_MM = 0.05
# The problem that registration puts right.
GRID_MISMATCH = "grid-mismatch"


def detect_layout(source: Path, table: Path | None = None) -> str:
    """The layout of ``source``: "table" for a CSV, else "nnunet", "med-ddpm" or "brats".

    Raises InputError where nothing is recognized.
    """
    if table is not None or source.is_file():
        return TABLE
    if (source / DESCRIPTION).is_file() and (source / "imagesTr").is_dir():
        return NNUNET
    parts = set(part_folders(source).values())
    if MASK in parts and len(parts) > 1:
        return MED_DDPM
    names = [path.name for path in image_files(source)]
    if not names:
        raise InputError(
            f"{source} holds no image files (.nii.gz, .nii, .nrrd, .mha). Convert DICOM series first, or check the "
            "folder."
        )
    strange = [name for name in names if split_name(name) is None]
    if 2 * len(strange) <= len(names):
        return BRATS
    raise InputError(
        f"The layout of {source} is not recognized: it is not an nnU-Net dataset, has no folders 'mask' and 'image', "
        f"and its files, such as {strange[0]}, are not named like BraTS. Describe it by a table (CSV) with the columns "
        "case, mask and one for each modality."
    )


def scan_source(
    source: Path,
    layout: str = "auto",
    table: Path | None = None,
    reporter: Reporter | None = None,
    voxels: bool = False,
) -> SourceScan:
    """The cases of ``source`` (a folder, or a CSV table) and everything that can be seen to be wrong with them.

    Files are paired by their names only. Headers are read, so that missing, half-copied and mismatched files are
    told; ``voxels`` are read only where asked for: damaged ones, and what reading has to change, are told then, too.
    Raises InputError where the source itself cannot be understood.
    """
    source, reporter = Path(source), reporter or SilentReporter()
    if layout not in LAYOUTS:
        raise InputError(f"The layout {shown(layout)} is not known; give one of {', '.join(LAYOUTS)}.")
    if not source.exists():
        raise InputError(f"{source} does not exist. Check the name of the folder.")
    known = detect_layout(source, table) if layout == "auto" else layout
    reporter.stage("scan", "Scanning the files")
    found, label_names = _collect(source, known, table)
    cases = found.cases()
    modalities = in_order(name for case in cases for name in case.images)
    problems = [*found.problems, *_incomplete(cases, modalities, known == TABLE)]
    for done, case in enumerate(cases):
        reporter.check_cancelled()
        problems.extend(check_case(case, found, voxels))
        reporter.step(done + 1, len(cases))
    if not cases:
        problems.append(SourceProblem("no-cases", ERROR, f"{source} holds no case in the layout '{known}'."))
    return SourceScan(known, modalities, cases, tuple(problems), label_names)


def _collect(source: Path, layout: str, table: Path | None) -> tuple[Collector, tuple[tuple[int, str], ...]]:
    if layout == TABLE:
        if table is None and not source.is_file():
            raise InputError(f"{source} is a folder; the layout 'table' needs the CSV file that describes it.")
        return (scan_table(source) if table is None else scan_table(table, source if source.is_dir() else None)), ()
    if not source.is_dir():
        raise InputError(f"{source} is not a folder, which the layout '{layout}' needs.")
    if layout == NNUNET:
        return scan_nnunet(source)
    own = {BRATS: scan_brats, MED_DDPM: scan_med_ddpm}
    return (own[layout] if layout in own else plugins.load("layouts", layout))(source), ()


def _incomplete(cases: Sequence[CaseFiles], modalities: Sequence[str], told: bool) -> list[SourceProblem]:
    """Cases that lack a mask, or an image of a modality that others have.

    ``told``: somebody wrote down that there is no mask, so the case has no tumor; a folder may just lack a file.
    """
    problems = []
    counts = Counter(name for case in cases for name in case.images)
    for case in cases:
        if not case.images:
            sentence = f"The case {case.id} has a mask, but no image. Add its images or leave the case out."
            problems.append(SourceProblem("no-images", ERROR, sentence, case.id))
            continue
        for name in (name for name in modalities if name not in case.images):
            sentence = (
                f"The case {case.id} has no {name} image; {counts[name]} of {len(cases)} cases have one. "
                "Add the file, leave the case out, or choose modalities that all have."
            )
            problems.append(SourceProblem("missing-modality", ERROR, sentence, case.id, part=name))
        if case.mask is None and told:
            sentence = f"The case {case.id} has no mask in the table: it is taken for a case without tumor."
            problems.append(SourceProblem("no-mask", WARNING, sentence, case.id))
        elif case.mask is None:
            sentence = f"The case {case.id} has no mask (segmentation). Add the file or leave the case out."
            problems.append(SourceProblem("no-mask", ERROR, sentence, case.id))
    return problems


def check_case(case: CaseFiles, found: Collector, voxels: bool) -> list[SourceProblem]:
    """What a case's files tell: missing, damaged and half-copied files, images on other grids; see ``scan_source``."""
    problems, grids = [], {}
    files = {**case.images, **({} if case.mask is None else {"mask": case.mask})}
    for part, path in files.items():
        try:
            if voxels:
                volume = read_mask(path).volume if part == "mask" else read_volume(path)
                grids[part] = volume.shape, volume.affine
                problems += [
                    SourceProblem("changed", WARNING, note, case.id, found.shown(path), part) for note in volume.notes
                ]
            else:
                grids[part] = read_geometry(path)
        except (InputError, OSError) as exc:
            sentence = str(exc)
            if isinstance(exc, OSError):
                sentence = f"{path} cannot be read: {exc.strerror or exc}. Check its permissions."
            problems.append(SourceProblem("unreadable", ERROR, sentence, case.id, found.shown(path), part))
    first = next(iter(grids), None) if "mask" not in grids else "mask"
    for part, grid in grids.items():
        if first is not None and not same_grid(grids[first], grid):
            mine, other = (" x ".join(map(str, one[0])) for one in (grid, grids[first]))
            how = f"{mine} against {other} voxels"
            if mine == other:
                how = f"voxels lie up to {_farthest(grids[first], grid):.2f} mm apart"
            sentence = (
                f"The {part} image of the case {case.id} ({found.shown(files[part])}) has another grid than its "
                f"{first}: {how}. Register the modalities, or correct the file."
            )
            problems.append(SourceProblem(GRID_MISMATCH, ERROR, sentence, case.id, found.shown(files[part]), part))
    return problems


@dataclass(frozen=True)
class ScanRequest:
    """A look at the folder or table ``source``; ``layout`` and ``table`` as in ``PrepareOptions``."""

    source: str
    layout: str = "auto"
    table: str | None = None


def scan_job(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write ``outputs/scan.json``: layout, modalities, cases (with their files) and problems of a source.

    Raises InputError where the source cannot be understood at all.
    """
    wanted: ScanRequest = from_dict(ScanRequest, request, "The job's request")
    table = None if wanted.table is None else Path(wanted.table)
    found = scan_source(Path(wanted.source), wanted.layout, table, reporter)
    write_text(folder.output("scan.json"), json.dumps(found.to_dict(), indent=1) + "\n")


Grid = tuple[tuple[int, int, int], np.ndarray]


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids (shape, affine) have the same voxels, within ``SAME_GRID_MM`` at every corner."""
    return one[0] == other[0] and _farthest(one, other) <= SAME_GRID_MM


def _farthest(one: Grid, other: Grid) -> float:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in one[0]], [1])).reshape(4, -1)
    return float(np.linalg.norm((one[1] - other[1]) @ corners, axis=0).max())
