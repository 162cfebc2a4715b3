"""Reading files in a process of its own, which may die of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

SECONDS = 300
_SCRIPT = "import sys; from medddpm.geometry.io import read_mask; from medddpm.errors import MedDDPMError\n"
_SCRIPT += "try: read_mask(sys.argv[1])\nexcept MedDDPMError: pass"


def require_survivable(paths: Sequence[Path]) -> None:
    """Raises InputError, naming the file, where reading one of ``paths`` ends the process that does it, or hangs.

    Whatever else is wrong with them is told when they are read here.
    """
    for path in paths:
        command = [sys.executable, "-c", _SCRIPT, str(path)]
        try:
            code = subprocess.run(command, check=False, capture_output=True, timeout=SECONDS).returncode
            how = f"ended the program that read it (code {code})" if code else ""
        except subprocess.TimeoutExpired:
            how = f"was not read within {SECONDS} s"
        if how:
            raise InputError(f"{path} is damaged in a way that no reader survives: it {how}. Export it again.")
