"""Reading files in a process of its own, which may die of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import check_cancelled

SECONDS = 300
_SCRIPT = "import sys; from medddpm.geometry.io import read_mask; from medddpm.errors import MedDDPMError\n"
_SCRIPT += "try: read_mask(sys.argv[1])\nexcept MedDDPMError: pass"


def require_survivable(paths: Sequence[Path]) -> None:
    """Raises InputError, naming the file, where reading one of ``paths`` ends the process that does it, or hangs.

    Whatever else is wrong with them is told when they are read here.
    """
    for path in paths:
        command = [sys.executable, "-c", _SCRIPT, str(path)]
        silent = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent) as process:
            try:
                until = time.monotonic() + SECONDS
                while (code := process.poll()) is None and time.monotonic() < until:
                    check_cancelled()
                    time.sleep(0.05)
            finally:
                process.kill()
        if code != 0:
            how = f"was not read within {SECONDS} s" if code is None else f"ended its reader (code {code})"
            raise InputError(f"{path} is damaged in a way that no reader survives: it {how}. Export it again.")
