"""The scan of a source and the preparation of a dataset as jobs; without torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config import from_dict
from ..files import write_text
from ..jobs.folder import JobFolder
from ..progress import Reporter
from .options import PrepareOptions
from .scan import scan_source

SCAN_NAME, RESULT_NAME = "scan.json", "result.json"


@dataclass(frozen=True)
class ScanRequest:
    """A look at the folder or table ``source``; ``layout`` and ``table`` as in ``PrepareOptions``."""

    source: str
    layout: str = "auto"
    table: str | None = None


def scan(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Write ``outputs/scan.json``: layout, modalities, cases (with their files) and problems of a source.

    Raises InputError where the source cannot be understood at all.
    """
    wanted: ScanRequest = from_dict(ScanRequest, request, "The job's request")
    table = None if wanted.table is None else Path(wanted.table)
    found = scan_source(Path(wanted.source), wanted.layout, table, reporter)
    write_text(folder.output(SCAN_NAME), json.dumps(found.to_dict(), indent=1) + "\n")


def prepare(request: dict[str, Any], folder: JobFolder, reporter: Reporter) -> None:
    """Make the dataset folder that the request (fields of ``PrepareOptions``) names, and ``outputs/result.json``.

    ``result.json`` has the fields of ``pipeline.PrepareResult``. Raises InputError as ``pipeline.prepare``.
    """
    from .pipeline import prepare as run

    result = run(PrepareOptions.from_dict(request), reporter)
    write_text(folder.output(RESULT_NAME), json.dumps(asdict(result), indent=1) + "\n")
