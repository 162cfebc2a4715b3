"""What the outlier check says of a case."""

from __future__ import annotations

from dataclasses import dataclass

WARNING, INFO = "warning", "info"


@dataclass(frozen=True)
class Flag:
    """One thing about a case that a person should look at.

    ``code`` names it for programs. ``severity`` is "warning" (the case may harm the training: such cases are left out
    where that is asked for) or "info" (worth knowing). ``others``: ids of further cases that it is about.
    """

    code: str
    severity: str
    case: str
    sentence: str
    others: tuple[str, ...] = ()
