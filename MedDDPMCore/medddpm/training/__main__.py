"""``python -m medddpm.training RUN``: one training here, until it ends or is asked to."""

from __future__ import annotations

import argparse
import faulthandler
import sys

from ..errors import MedDDPMError
from ..jobs.log import log_to_terminal
from ..jobs.stop import Stop
from ..parse import printable
from .run import RunFolder
from .runner import SIGNALS, run_training


def main(arguments: list[str] | None = None) -> int:
    """Train the run folder named on the command line; returns the exit code of ``run_training``."""
    parser = argparse.ArgumentParser(
        prog="python -m medddpm.training",
        description="Train a run folder, or resume it. SIGTERM, SIGUSR1 and Ctrl-C write a checkpoint and end it.",
        epilog="Exit codes: 0 done, 2 bad input, 3 stopped or paused, 4 out of memory, 5 internal, 75 ended by "
        "SIGTERM or SIGUSR1: run the same command again to resume.",
    )
    parser.add_argument("run", help="the folder of the training, with its job.json")
    options = parser.parse_args(arguments)
    faulthandler.enable()
    log_to_terminal()
    stop = Stop()
    try:
        with stop.on_signals(SIGNALS):
            return run_training(RunFolder.open(options.run), stop)
    except MedDDPMError as exc:
        print(printable(f"Error: {exc}"), file=sys.stderr)
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
