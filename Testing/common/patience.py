"""How long tests wait for what must happen: the seconds of an idle machine times ``MEDDDPM_TEST_PATIENCE``.

A limit is only reached by a test that fails, so the default is generous. On a slower machine, set a larger one.
"""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("MEDDDPM_TEST_PATIENCE", "8"))


def patient(seconds: float) -> float:
    """``seconds`` of an idle machine as the limit on this one."""
    return seconds * PATIENCE
