"""What the mask check found, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InputError

ERROR, WARNING, INFO = "error", "warning", "info"
# Which option of a request helps where the mask itself is right (see ``MedDDPMError``).
OPTIONS = {"unknown-values": "labels", "unclear-labels": "labels", "structures": "labels"}
OPTIONS |= dict.fromkeys(("empty", "no-outline", "wrong-outline"), "image")


@dataclass(frozen=True)
class Finding:
    """One thing the check saw.

    ``code`` names it for programs and never changes with the wording; ``severity`` is ``"error"`` (the model would
    make noise), ``"warning"`` (usable, look at it) or ``"info"``. ``sentence`` says it to a clinician with value and
    amount; ``fix`` says what a fix does (``fixable``) or what the person should do. ``invented``: the fix makes a brain
    or head that is not this patient's.
    """

    code: str
    severity: str
    sentence: str
    fixable: bool = False
    fix: str = ""
    invented: bool = False

    def __str__(self) -> str:
        return f"{self.sentence} {self.fix}".strip()

    @property
    def option(self) -> str:
        """The option of a request that helps; "" where none does."""
        return OPTIONS.get(self.code, "")


@dataclass(frozen=True)
class CheckResult:
    """All findings of one mask, in the order in which they were made.

    ``mapping``: the mask's values -> values of the scheme, as recognized; ``convention``: by what, as a clause.
    """

    findings: tuple[Finding, ...]
    mapping: Mapping[int, int] = field(default_factory=dict)
    convention: str = ""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make the mask unusable as it is."""
        return tuple(f for f in self.findings if f.severity == ERROR)

    def refusal(self, name: str) -> InputError:
        """What is raised for a mask, ``name``, with errors."""
        option = next((f.option for f in self.errors if f.option), "")
        return InputError(f"{name} cannot be used. {' '.join(map(str, self.errors))}", option=option)

    @property
    def usable(self) -> bool:
        """True where nothing stands against synthesis."""
        return not self.errors

    @property
    def fixable(self) -> bool:
        """True where ``mend_mask`` can make the mask usable."""
        return all(f.fixable for f in self.errors)


def amount(voxels: int, voxel_ml: float) -> str:
    """``"1,234 voxels (1.2 mL)"``; ``voxel_ml`` is the volume of one voxel in milliliters."""
    noun = "voxel" if voxels == 1 else "voxels"
    return f"{voxels:,} {noun} ({milliliters(voxels * voxel_ml)})"


def milliliters(volume: float) -> str:
    """A volume for reading: two significant places below 10 mL, whole milliliters above."""
    return f"{volume:,.0f} mL" if volume >= 10 else f"{volume:.2g} mL"


def percent(share: float) -> str:
    """A share from 0 to 1 for reading."""
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def listed(values: Sequence[object], limit: int = 8) -> str:
    """``"1, 2 and 4"``, cut off after ``limit`` entries."""
    words = [str(v) for v in values[:limit]]
    if len(values) > limit:
        return ", ".join(words) + f" and {len(values) - limit} more"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1] if words else "none"
