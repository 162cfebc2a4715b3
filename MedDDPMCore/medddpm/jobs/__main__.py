"""``python -m medddpm.jobs SPOOL``: the worker, with nothing but the inference packages installed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import MedDDPMError
from ..parse import printable
from .handlers import default_handlers
from .log import log_to_terminal
from .worker import IDLE_SECONDS, Worker


def main(arguments: list[str] | None = None) -> int:
    """Serve the spool named on the command line; returns the exit code of the job contract."""
    parser = argparse.ArgumentParser(prog="python -m medddpm.jobs", description="Run the jobs of a spool folder.")
    parser.add_argument("spool", type=Path, help="the folder that jobs are submitted to; created if it does not exist")
    parser.add_argument(
        "--idle-seconds", type=float, default=IDLE_SECONDS, help="exit after this many seconds without a job"
    )
    parser.add_argument(
        "--parent", type=int, default=None, metavar="PID", help="exit when the process with this ID has ended"
    )
    parser.add_argument(
        "--no-resume", action="store_true", help="leave jobs as they are that were running when a worker died"
    )
    options = parser.parse_args(arguments)
    log_to_terminal()
    try:
        resume = not options.no_resume
        return Worker(options.spool, default_handlers(), options.idle_seconds, options.parent, resume=resume).run()
    except MedDDPMError as exc:
        print(printable(f"Error: {exc}"), file=sys.stderr)
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
