"""Sets MedDDPM up in the folder .venv of this clone and runs it: ``python3 run.py demo`` or ``python3 run.py test``.

Needs nothing but Python 3.11 or newer. Further arguments go to ``medddpm synth`` or pytest. What else developers run
is in noxfile.py.
"""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
DEMO = ("-m", "medddpm.cli", "synth", "Resources/SampleMasks/glioma.nii.gz", "--out", "out/demo")
TEST = ("-m", "pytest", "--numprocesses", "logical", "--maxprocesses", "8", "--dist", "worksteal")
CHECK = ("-m", "nox", "--session", "check")

USAGE = """Usage: python3 run.py COMMAND

  demo    make synthetic MRI from the sample mask with the demo model
  test    run the fast tests; with --all every test
  check   run the style, type and layer checks
  setup   only install what demo, test and check need"""


def main(arguments):
    """Returns the exit code of what was run; 2 for a command that is not known, 1 where the set-up failed."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    runs = {"demo": DEMO, "test": TEST, "check": CHECK, "setup": ()}
    if command not in runs:
        print(USAGE)
        return 0 if command in ("help", "-h", "--help") else 2
    if not set_up("" if command == "demo" else "[dev]"):
        return 1
    return python(*runs[command], *rest) if runs[command] else 0


def set_up(extra):
    """Install the clone and its requirements into .venv, unless that was done from the same files before.

    The install is editable, so that the sources of the clone are what runs, also after an update of them. Returns
    whether it worked.
    """
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    wanted = hashlib.sha256(b"\0".join([str(ROOT).encode(), *files])).hexdigest()
    developer, user = VENV / "medddpm-dev.stamp", VENV / "medddpm.stamp"
    stamps = [developer] if extra else [user, developer]
    if PYTHON.exists() and any(path.is_file() and path.read_text("utf-8") == wanted for path in stamps):
        return True
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
        print(
            f"MedDDPM needs Python 3.11 or newer, but this is {sys.version.split()[0]}. Start run.py with a newer one."
        )
        return False
    print(f"Installing into {VENV}. This takes some minutes and happens once.", flush=True)
    usable = PYTHON.exists() and python("-c", "import pip") == 0
    if not usable and subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) != 0:
        print("Python could not make a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv")
        return False
    if python("-m", "pip", "install", "--quiet", "-c", "constraints.txt", "-e", f".{extra}") != 0:
        print("The installation failed; the lines above say why. It needs the internet. Run the same command again.")
        return False
    stamps[0].write_text(wanted, encoding="utf-8")
    return True


def python(*arguments):
    """Run the Python of .venv in the clone; returns its exit code."""
    sys.stdout.flush()
    return subprocess.call([str(PYTHON), *arguments], cwd=ROOT)


if __name__ == "__main__":
    # Ctrl-C reaches the program that runs as well, which stops in good order; this one waits for it.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    sys.exit(main(sys.argv[1:]))
