"""What became of the masks of a batch, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MedDDPMError
from ..parse import printable
from ..progress import duration
from .verify import verified_sentence


@dataclass(frozen=True)
class CaseResult:
    """What became of one mask: ``state`` is "done", "already done" or "failed", the rest then as in ``Outcome``."""

    mask: Path
    folder: Path
    state: str
    message: str = ""
    exit_code: int = 0
    option: str = ""
    path: str = ""
    sheets: tuple[Path, ...] = ()


def summary(results: Sequence[CaseResult], seconds: float) -> str:
    """One sentence on a batch for a person."""
    good = sum(result.state == "done" for result in results)
    there = sum(result.state == "already done" for result in results)
    failed = sum(result.state == "failed" for result in results)
    noun = "mask" if len(results) == 1 else "masks"
    parts = [f"{good} of {len(results)} {noun} synthesized in {duration(seconds)}"] if good or not there else []
    parts += [f"{there} of {len(results)} {noun} done before and left as is"] if there else []
    parts += [f"{failed} failed"] if failed else []
    verified = verified_sentence([result.folder for result in results if result.state != "failed"])
    return f"{', '.join(parts)}. {verified}".rstrip()


def raise_failures(results: Sequence[CaseResult]) -> None:
    """Raise one error naming every mask that failed, with the exit code of the first."""
    failed = [result for result in results if result.state == "failed"]
    if not failed:
        return
    first, message = failed[0], failed[0].message
    if len(results) > 1:
        lines = [printable(f"{result.mask}: {result.message}") for result in failed]
        message = "\n".join([f"{len(failed)} of {len(results)} masks could not be synthesized.", *lines])
    raise MedDDPMError(message, first.exit_code, option=first.option, path=first.path)
