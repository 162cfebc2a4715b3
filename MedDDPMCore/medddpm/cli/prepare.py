"""``medddpm prepare``: from a folder of scans to a dataset to train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..dataset import read_dataset_config
from ..errors import InputError
from ..labels.conventions import outline_kind
from ..preparation.facts import SourceScan
from ..preparation.options import PrepareOptions, grid_text, parse_grid
from ..preparation.plan import labels_of_source
from ..preparation.scan import scan_source
from .console import ConsoleReporter, say, show_table
from .options import given, with_options
from .root import app

ROWS_SHOWN = 40
PRESET = "compact"  # whose memory is told: full resolution on modest machines


SourceArgument = Annotated[Path, typer.Argument(help="Folder of scans with masks, or a table (CSV) that names them.")]
OutArgument = Annotated[Path | None, typer.Argument(help="The dataset folder to create or update.")]
ScanOption = Annotated[
    bool, typer.Option("--scan", help="Only list the cases, how they are read, and what is wrong with them.")
]


@app.command("prepare")
@with_options(PrepareOptions)
def prepare_command(source: SourceArgument, out: OutArgument = None, scan: ScanOption = False, **options: Any) -> None:
    """Make a dataset to train on of a folder of scans; run again to go on or to bring it up to date.

    Files are paired by their names, never by their order. Nothing is left out unless told to.
    """
    if out is None and not scan:
        raise InputError("Name the dataset folder to create, or give --scan to inspect the source only.")
    asked = PrepareOptions(str(source), str(out or ""), **given(options))
    if scan:
        raise typer.Exit(_scan(asked))
    _prepare(asked)


def _prepare(options: PrepareOptions) -> None:
    from ..preparation.pipeline import prepare

    with ConsoleReporter() as reporter:
        result = prepare(options, reporter)
    for sentence in result.sentences:
        say(f"Note: {sentence}")
    for flag in result.flags:
        say(f"Flagged: {flag['case']}: {flag['sentence']}")
    if result.left_out:
        say(f"Left out: {', '.join(result.left_out)}.")
    _describe(Path(result.dataset))
    say(f"{result.dataset} holds {_counted(result.cases, 'case')}. Look at {result.report} before you train.")


def _describe(out: Path) -> None:
    """Show the fingerprint of a dataset, and what it takes to train on its grid and on the suggested one."""
    from ..training.estimate import GIB, fitting_cubes
    from ..training.presets import preset_config

    dataset = read_dataset_config(out)
    told = dataset.statistics
    sizes = {
        "voxel (R x A x S), mm": "spacing_mm",
        "file, voxels": "voxels",
        f"{outline_kind(dataset.scheme)}, mm": "extent_mm",
    }
    rows = [
        (*(" x ".join(f"{axis[i]:.4g}" for axis in told[name]) for i in range(3)), what) for what, name in sizes.items()
    ]
    rows += [(*(f"{ml:.4g}" for ml in spread), f"{name}, mL") for name, spread in told["labels_ml"].items()]
    show_table(("least", "median", "most", "of"), rows)
    shares = [(*(f"{v:g}" for v in image["percentiles"].values()), name) for name, image in told["images"].items()]
    show_table(("0.5 %", "50 %", "99.5 %", "of the intensities inside"), shares)
    rows, memory, free = [], {}, None
    for grid in dict.fromkeys((dataset.grid, parse_grid(told["suggested_grid"]))):
        name = grid_text(grid)
        try:
            whole, side, needed, free = fitting_cubes(preset_config(PRESET, out), replace(dataset, grid=grid))
        except InputError as exc:  # the network's strides do not divide it
            rows.append((name, "", str(exc)))
            continue
        memory[name] = {"whole_bytes": whole, "crop_voxels": side, "crop_bytes": needed}
        cubes = f", cubes of {side} voxels (augment.crop_voxels) {needed / GIB:.1f} GB" if side else ""
        rows.append((name, "" if grid == dataset.grid else "suggested", f"whole volumes {whole / GIB:.1f} GB{cubes}"))
    there = "" if free is None else f"; {free / GIB:.1f} GB are free"
    show_table(("grid", "", f"memory to train (preset {PRESET}{there})"), rows)
    replace(dataset, statistics=told | {"memory": {PRESET: memory}}).save(out)


def _scan(options: PrepareOptions) -> int:
    """Show what is there and how it is read; 2 where it could not be prepared as it is."""
    source, table = Path(options.source), None if options.table is None else Path(options.table)
    said: tuple[str, ...] = ()
    unclear: InputError | None = None
    with ConsoleReporter() as reporter:
        found = scan_source(source, options.layout, table, reporter, voxels=True)
        masks = [case.mask for case in found.cases if case.mask is not None]
        try:
            if options.labels is None:
                names, scheme = found.label_names, options.label_scheme()
                _, said = labels_of_source(options.source, names, masks, scheme, reporter)
        except InputError as exc:
            unclear = exc
    _show_cases(found)
    for problem in found.problems:
        say(f"{problem.severity.capitalize()}: {problem.sentence}")
    for sentence in said:
        say(f"Note: {sentence}")
    if unclear:
        say(f"Error: {unclear}")
    patients = len({case.patient for case in found.cases})
    warnings = len(found.problems) - len(found.errors)
    say(
        f"{source}: {_counted(len(found.cases), 'case')} of {_counted(patients, 'patient')} in the layout "
        f"'{found.layout}', {_counted(len(found.errors), 'error')}, {_counted(warnings, 'warning')}."
    )
    return 2 if found.errors or unclear else 0


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _show_cases(found: SourceScan) -> None:
    rows = []
    for case in found.cases[:ROWS_SHOWN]:
        parts = ["yes" if name in case.images else "-" for name in found.modalities]
        problems = sum(problem.case == case.id for problem in found.problems)
        patient = "" if case.patient == case.id else case.patient
        rows.append((case.id, *parts, "yes" if case.mask else "-", patient, case.split or "", str(problems or "")))
    show_table(("case", *found.modalities, "mask", "patient", "split", "problems"), rows)
    if len(found.cases) > ROWS_SHOWN:
        say(f"and {len(found.cases) - ROWS_SHOWN} more")
