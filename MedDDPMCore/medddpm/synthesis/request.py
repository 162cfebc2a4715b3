"""What is asked of a synthesis, as data: the same for the command line, Python and job folders."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..config import from_dict
from ..errors import InputError
from ..labels.conventions import parse_labels
from ..sampling.noise import MAX_SEED

MAX_SAMPLES = 1000


@dataclass(frozen=True)
class SynthesisRequest:
    """One synthesis of one or more masks.

    ``masks`` and ``images`` are paths; ``images`` is empty or holds one reference image a mask, from which a missing
    brain or head label is made. ``sampler`` and ``steps`` None mean what the model's configuration says. Sample number
    k of every mask has the seed ``seed + k``. ``modalities`` names those to write, empty for all. ``labels`` says what
    the masks' values mean to the model ("1=1,2=2,4=3", file value = model value); None leaves it to recognition.
    """

    masks: tuple[str, ...]
    model: str = "demo"
    samples: int = 1
    seed: int = 0
    sampler: str | None = None
    steps: int | None = None
    device: str = "auto"
    precision: str = "auto"
    images: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    labels: str | None = None
    ignore_memory: bool = False

    def __post_init__(self) -> None:
        if not self.masks:
            raise InputError("There is no mask to synthesize from. Name at least one mask file.")
        if self.images and len(self.images) != len(self.masks):
            raise InputError(
                f"There are {len(self.masks)} masks but {len(self.images)} images. Give one image a mask, in order."
            )
        if self.labels is not None:
            parse_labels(self.labels)
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise InputError(f"{self.samples} samples were asked for; it must be 1 to {MAX_SAMPLES}.")
        if not 0 <= self.seed <= MAX_SEED - MAX_SAMPLES:
            raise InputError(f"The seed {self.seed} is out of range: it must be 0 or more and below 2^63 - 1000.")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SynthesisRequest:
        """Parse the ``request`` of a job. Raises InputError naming the field that is missing, unknown or wrong."""
        return from_dict(cls, data, "The job's request")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)
