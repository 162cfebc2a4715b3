"""Which process of a group this is, as the program that started it says in the environment. Imports no torch.

Processes of one training are started by ``torchrun`` (and ``fabric run``, which uses it), by SLURM's ``srun``, or by
Lightning Fabric itself, which starts further copies of the first process. The order and the names are Fabric's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError

# Fabric does not take the tasks of an interactive SLURM session for processes of a group.
_INTERACTIVE = ("bash", "interactive")


@dataclass(frozen=True)
class Launch:
    """A process among those that were started together: ``rank`` of ``size``, ``local_size`` on each machine."""

    rank: int
    size: int
    local_size: int

    @property
    def nodes(self) -> int:
        """How many machines."""
        return max(1, self.size // self.local_size)


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What torchrun or SLURM say of this process; None where nobody has started several.

    Raises InputError where a number among what they say is none.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        size = _number(environment, "WORLD_SIZE", 1)
        return Launch(_number(environment, "RANK", 0), size, _number(environment, "LOCAL_WORLD_SIZE", size))
    if _in_slurm(environment):
        size = _number(environment, "SLURM_NTASKS", 1)
        nodes = _number(environment, "SLURM_NNODES", 1)
        return Launch(_number(environment, "SLURM_PROCID", 0), size, max(1, size // max(1, nodes)))
    return None


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process in its group: 0 for the first one, which alone writes, and for a single one."""
    launch = launched(environment)
    if launch is not None:
        return launch.rank
    # Fabric's own children know their place on the machine, and the machine's place.
    local, node = _number(environment, "LOCAL_RANK", 0), _number(environment, "NODE_RANK", 0)
    return local + node * max(1, _number(environment, "WORLD_SIZE", 1) - 1)


def _in_slurm(environment: Mapping[str, str]) -> bool:
    return "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in _INTERACTIVE


def _number(environment: Mapping[str, str], name: str, absent: int) -> int:
    text = environment.get(name, str(absent))
    if not text.isdecimal():
        raise InputError(
            f"The environment variable {name} is '{text}', but must be a number. It is set by torchrun or SLURM: start "
            "the training through these, or unset it."
        )
    return int(text)
