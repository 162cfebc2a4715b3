"""Layouts that are told by a description: an nnU-Net data set's ``dataset.json``, or any layout's table.

nnU-Net raw data sets have a ``dataset.json`` of version 1 or 2, ``imagesTr/<case>_0000.nii.gz`` and ``labelsTr``, see
https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md. A table is a CSV with the columns
``case``, ``mask`` and one for each modality; ``patient`` and ``split`` may be there as well. Its paths count from its
folder (or from the source, where that is given) and stay inside of it unless absolute. An empty mask says that the case
has no tumor; an empty image is a modality that the case lacks.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from ...dataset import SPLITS
from ...errors import InputError
from ...files import read_text
from ...parse import parse_json, shown
from ..facts import IMAGE_ENDINGS, is_case_id, modality_name, without_ending
from .folders import MASK, Collector, image_files

NAME = "dataset.json"
MAX_BYTES = 64 * 2**20
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_LABEL_VALUE_MAX = 2**31 - 1


def scan_nnunet(source: Path) -> tuple[Collector, tuple[tuple[int, str], ...]]:
    """The training cases of ``source`` and what ``dataset.json`` says of the labels' values.

    Images of ``imagesTs`` have no labels here: they are told as a warning. Raises InputError where ``dataset.json``
    cannot be used.
    """
    plan = read_plan(source)
    channels, ending = channel_names(plan, source), file_ending(plan, source)
    found = Collector(source)
    _refuse_decathlon(plan, source)
    listed = plan.get("dataset")
    if isinstance(listed, dict) and listed:
        _add_listed(found, listed, channels)
    else:
        _add_folders(found, channels, ending)
        told, count = plan.get("numTraining"), len(found.cases())
        if type(told) is int and told != count:
            sentence = f"{NAME} lists {told} training cases, but there are {count}. Check that all were copied."
            found.warn("count", sentence)
    folder = source / "imagesTs"
    unlabeled = sorted({path.name.rsplit("_", 1)[0] for path in image_files(folder)}) if folder.is_dir() else []
    if unlabeled:
        sentence = (
            f"imagesTs holds {len(unlabeled)} cases without masks, such as {unlabeled[0]}; "
            "they cannot be trained on and are not used."
        )
        found.warn("no-labels", sentence, file=folder)
    return found, label_names(plan, source)


def _refuse_decathlon(plan: dict[str, Any], source: Path) -> None:
    """Raise InputError where one 4D file holds all channels of a case, as in the Medical Segmentation Decathlon."""
    if str(plan.get("tensorImageSize", "")).upper() != "4D" or plan.get("dataset"):
        return
    names = [path.name for path in image_files(source / "imagesTr")]
    if names and not any(_CHANNEL.fullmatch(name.split(".")[0]) for name in names):
        channels = channel_names(plan, source)
        parts = ", ".join(f"case_{number:04d}.nii.gz for {channels[number]}" for number in sorted(channels))
        raise InputError(
            f"{source} is a dataset of the Medical Segmentation Decathlon: each image, such as {names[0]}, is one 4D "
            f"file with all channels. Split it into a file for each channel ({parts}), which nnU-Net's command "
            "nnUNetv2_convert_MSD_dataset does."
        )


def read_plan(source: Path) -> dict[str, Any]:
    """``dataset.json`` as plain data. Raises InputError."""
    path = source / NAME
    data = parse_json(read_text(path, "The dataset's description", MAX_BYTES), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path} must be an object with named fields, not {shown(data)}.")
    return data


def channel_names(plan: dict[str, Any], source: Path) -> dict[int, str]:
    """Channel number -> modality, of ``channel_names`` (version 2) or ``modality`` (version 1). Raises InputError."""
    field = "channel_names" if "channel_names" in plan else "modality"
    names = plan.get(field)
    where = f"{source / NAME}: {field}"
    if not isinstance(names, dict) or not names:
        raise InputError(f"{where} must name the channels as in {{'0': 'T1'}}, not {shown(names)}.")
    channels: dict[int, str] = {}
    for number, name in names.items():
        modality = modality_name(name) if isinstance(name, str) else None
        if not re.fullmatch(r"\d{1,4}", str(number)) or modality is None:
            raise InputError(
                f"{where} has {shown(number)}: {shown(name)}, which is not a channel number with a modality."
            )
        if modality in channels.values() or int(number) in channels:
            raise InputError(f"{where} names {modality} or channel {int(number)} twice. Give each its own name.")
        channels[int(number)] = modality
    return channels


def file_ending(plan: dict[str, Any], source: Path) -> str:
    """The images' extension; version 1 has .nii.gz always. Raises InputError for formats that are not read."""
    ending = plan.get("file_ending", ".nii.gz")
    if ending not in IMAGE_ENDINGS:
        allowed = ", ".join(IMAGE_ENDINGS)
        raise InputError(f"{source / NAME}: file_ending is {shown(ending)}, but {allowed} can be read. Convert them.")
    return str(ending)


def label_names(plan: dict[str, Any], source: Path) -> tuple[tuple[int, str], ...]:
    """Value -> name of the labels but background.

    Version 1 writes {"1": "edema"}, version 2 {"edema": 1}; a region {"whole tumor": [1, 2, 3]} names each value that
    no smaller region has. Raises InputError for other forms.
    """
    labels = plan.get("labels", {})
    if not isinstance(labels, dict):
        raise InputError(f"{source / NAME}: labels must be an object with named fields, not {shown(labels)}.")
    regions: dict[int, tuple[int, str]] = {}
    for key, value in labels.items():
        name, values = _region(key, value, source)
        for number in values:
            if number > 0 and len(values) < regions.get(number, (len(labels) + len(values) + 1, ""))[0]:
                regions[number] = (len(values), name)
    return tuple((number, regions[number][1]) for number in sorted(regions))


def _region(key: str, value: Any, source: Path) -> tuple[str, list[int]]:
    if re.fullmatch(r"\d{1,9}", key) and isinstance(value, str):
        return value, [int(key)]
    values = value if isinstance(value, list) else [value]
    whole = [v for v in values if type(v) is int and 0 <= v <= _LABEL_VALUE_MAX]
    if key == "ignore":
        return key, []
    if len(whole) != len(values) or not whole:
        raise InputError(
            f"{source / NAME}: labels has {shown(key)}: {shown(value)}, which is not a label with its value."
        )
    return key, whole


def _add_folders(found: Collector, channels: dict[int, str], ending: str) -> None:
    for path in image_files(found.root / "imagesTr"):
        stem = _stem(path, ending)
        named = None if stem is None else _CHANNEL.fullmatch(stem)
        if named is None:
            found.unmatched(path, f"its name must end in the channel's number, as in case_0000{ending}.")
        elif int(named[2]) not in channels:
            found.unmatched(path, f"{NAME} names no channel {int(named[2])}.")
        else:
            found.add(named[1], channels[int(named[2])], path)
    for path in image_files(found.root / "labelsTr"):
        stem = _stem(path, ending)
        if stem is None:
            found.unmatched(path, f"{NAME} says that files end in {ending}.")
        else:
            found.add(stem, MASK, path)


def _stem(path: Path, ending: str) -> str | None:
    return path.name[: -len(ending)] if path.name.endswith(ending) and path.name != ending else None


def _add_listed(found: Collector, listed: dict[str, Any], channels: dict[int, str]) -> None:
    """Cases of the optional ``dataset`` field of version 2, which names each file."""
    for case, files in listed.items():
        images = files.get("images") if isinstance(files, dict) else None
        mask = files.get("label") if isinstance(files, dict) else None
        good = isinstance(images, list) and isinstance(mask, str) and all(isinstance(name, str) for name in images)
        if not good or not isinstance(images, list) or len(images) != len(channels):
            sentence = f"{NAME} lists the case {case} without its {len(channels)} images and label. Correct the entry."
            found.problem("bad-entry", sentence, case)
            continue
        for number, name in zip(sorted(channels), images, strict=True):
            found.add_named(NAME, case, channels[number], name)
        found.add_named(NAME, case, MASK, str(mask))


CASE, PATIENT, SPLIT = "case", "patient", "split"
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
