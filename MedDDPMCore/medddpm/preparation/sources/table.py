"""Any layout through a table: a CSV with the columns ``case``, ``mask`` and one for each modality.

The columns ``patient`` and ``split`` may be there as well.

Paths count from the table's folder (or from the source, where that is given) and stay inside of it unless absolute. An
empty mask says that the case has no tumor; an empty image is a modality that the case lacks.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ...dataset import SPLITS
from ...errors import InputError
from ...files import read_text
from ...parse import shown
from ..facts import is_case_id, modality_name, without_ending
from .folders import MASK, Collector

CASE, PATIENT, SPLIT = "case", "patient", "split"
MAX_BYTES = 64 * 2**20
SPLIT_WORDS = {"train": "train", "training": "train", "validation": "validation", "val": "validation", "test": "test"}


def scan_table(table: Path, root: Path | None = None) -> Collector:
    """The cases of the CSV file ``table``, its paths counted from ``root`` (its own folder where None).

    Raises InputError where the table itself cannot be read or its columns make no sense; what is wrong with a row is
    a problem.
    """
    header, rows = read_rows(table)
    columns = _columns(table, header, rows)
    found = Collector(root or table.parent)
    for number, row in rows:
        _add_row(found, f"{table.name}, line {number}", dict(zip(columns, row, strict=True)))
    return found


def read_rows(table: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and rows with their line numbers, each as wide as the header; empty lines are left out.

    Commas, semicolons (as some spreadsheets write) and tabs separate. Raises InputError.
    """
    text = read_text(table, "The table", MAX_BYTES)
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as exc:
        raise InputError(f"{table}, line {reader.line_num}: this is not CSV ({exc}). Save the table again.") from exc
    filled = [(number, row) for number, row in lines if any(row)]
    if len(filled) < 2:
        raise InputError(f"{table} has no case: it needs a line with the columns' names and a line for each case.")
    header = filled[0][1]
    while header and not header[-1]:
        header = header[:-1]
    width = len(header)
    for number, row in filled[1:]:
        if any(row[width:]):
            raise InputError(
                f"{table}, line {number}: it has {len(row)} entries for {width} columns. Correct the line."
            )
    return header, [(number, (row + [""] * width)[:width]) for number, row in filled[1:]]


def _columns(table: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> list[str]:
    """What each column is: case, patient, split, mask or a modality. Raises InputError."""
    columns = [_column(table, name, [row[i] for _, row in rows]) for i, name in enumerate(header)]
    for name in columns:
        if columns.count(name) > 1:
            raise InputError(f"{table} has two columns for {name}. Give each column its own name.")
    for name in (CASE, MASK):
        if name not in columns:
            raise InputError(f"{table} lacks the column '{name}'; it has {', '.join(header)}. Add it.")
    if not set(columns) - {CASE, MASK, PATIENT, SPLIT}:
        raise InputError(f"{table} has no column of images. Add one for each modality, as in T1, T1ce, T2, FLAIR.")
    return columns


def _column(table: Path, name: str, cells: list[str]) -> str:
    plain = name.casefold()
    if plain in (CASE, PATIENT, SPLIT, MASK):
        return plain
    if plain in ("seg", "segmentation", "label"):
        return MASK
    modality = modality_name(name)
    files = all(without_ending(cell) is not None for cell in cells if cell)
    if modality is None or not files or not any(cells):
        value = next((cell for cell in cells if cell and without_ending(cell) is None), "")
        raise InputError(
            f"{table} has the unknown column {shown(name)} with {shown(value)}, which is not an image file. Known are "
            f"{CASE}, {PATIENT}, {SPLIT}, {MASK} and a column of image files for each modality. Remove or correct it."
        )
    return modality


def _add_row(found: Collector, where: str, row: dict[str, str]) -> None:
    case = row[CASE]
    if not is_case_id(case):
        sentence = f"{where}: the case is {shown(case)}; use letters, digits and . + - _, since it becomes a file name."
        found.problem("bad-name", sentence)
        return
    if found.has(case):
        found.problem("doubled-case", f"{where}: the case {case} already has a line. Keep one of the two.", case)
        return
    split = SPLIT_WORDS.get(row.get(SPLIT, "").casefold())
    if row.get(SPLIT) and split is None:
        sentence = f"{where}: the split is {shown(row[SPLIT])}, but must be one of {', '.join(SPLITS)} or empty."
        found.problem("bad-split", sentence, case)
    found.tell(case, row.get(PATIENT) or None, split)
    for part, name in row.items():
        if part not in (CASE, PATIENT, SPLIT) and name:
            found.add_named(where, case, part, name.replace("\\", "/"))
