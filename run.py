"""Sets MedDDPM up in the folder .venv of this clone and runs it: ``python3 run.py demo`` or ``python3 run.py test``.

Needs nothing but Python 3.11 or newer. Further arguments go to ``medddpm synth``, pytest or 3D Slicer.
"""

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = "Scripts/python.exe" if os.name == "nt" else "bin/python"
PYTHON = VENV / BIN
DEMO = ("-m", "medddpm.cli", "synth", "Resources/SampleMasks/glioma.nii.gz", "--out", "out/demo")
CHECKS = (
    ("-m", "ruff", "check", "."),
    ("-m", "ruff", "format", "--check", "."),
    ("-m", "mypy"),
    ("-m", "codespell_lib", "."),
)

# The scene tests run a second time with the classes of the stable Slicer, which take an environment of their own.
# It has what the stable Slicer brings along, and so no torch.
STABLE_VENV = ROOT / ".venv-slicer-5.12"
STABLE_NEEDS = ("slicer-core==5.12.4.0", "numpy", "SimpleITK", "pytest", "pytest-timeout", "hypothesis")
STABLE_TESTS = "Testing/scene"
STABLE_MARKS = ("-m", "not processes")
PINNED_OTHERWISE = ("slicer-core==", "vtk==")
# Where there are slicer-core wheels; pyproject.toml says the same.
SLICER_CORE = (("linux", "x86_64"), ("darwin", "arm64"), ("win32", "AMD64"))

SLICER_PATHS = ("MedDDPMCore", "MedDDPMSlicer")
SLICER_MODULES = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
SLICER_TESTS = "Testing/slicer/run_all.py"

USAGE = """Usage: python3 run.py COMMAND

  demo    make synthetic MRI from the sample mask with the demo model
  test    run all tests
  check   run the style and type checks
  setup   only install what demo, test and check need
  slicer  run the tests that need 3D Slicer itself: python3 run.py slicer /path/to/Slicer"""


def main(arguments):
    """Returns the exit code of what was run; 2 for a command that is not known, 1 where the set-up failed."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if command not in ("demo", "test", "check", "setup", "slicer"):
        print(USAGE)
        return 0 if command in ("help", "-h", "--help") else 2
    if command == "slicer":
        return slicer(rest)
    if not set_up("" if command == "demo" else "[dev]"):
        return 1
    if command == "demo":
        return python(*DEMO, *rest)
    if command == "test":
        return test(rest)
    return max([python(*check) for check in CHECKS]) if command == "check" else 0


# --- set-up ---------------------------------------------------------------------------------------------------------


def set_up(extra):
    """Install the clone and its requirements into .venv, unless that was done from the same files before.

    The install is editable, so that the sources of the clone are what runs, also after an update of them.
    """
    stamps = [VENV / "medddpm-dev.stamp"] if extra else [VENV / "medddpm.stamp", VENV / "medddpm-dev.stamp"]
    return installed(VENV, stamps, stamp(), ("-c", "constraints.txt", "-e", f".{extra}"))


def set_up_stable():
    """Install what the scene tests need with the classes of the stable Slicer."""
    lines = read(ROOT / "constraints.txt").splitlines(keepends=True)
    pins = "".join(line for line in lines if not line.startswith(PINNED_OTHERWISE))
    constraints = ROOT / "build" / "constraints-slicer-5.12.txt"
    constraints.parent.mkdir(exist_ok=True)
    constraints.write_text(pins, encoding="utf-8")
    wanted = hashlib.sha256((pins + " ".join(STABLE_NEEDS)).encode()).hexdigest()
    stamps = [STABLE_VENV / "medddpm.stamp"]
    return installed(STABLE_VENV, stamps, wanted, ("-c", str(constraints), *STABLE_NEEDS))


def installed(venv, stamps, wanted, needs):
    """Make ``venv`` with ``needs`` (arguments of pip install), unless one of ``stamps`` holds the text ``wanted``.

    Returns whether it worked. The first of ``stamps`` is written then.
    """
    if any(read(path) == wanted for path in stamps) and (venv / BIN).exists():
        return True
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts this may have an older one
        print(
            f"MedDDPM needs Python 3.11 or newer, but this is {sys.version.split()[0]}. Start run.py with a newer one."
        )
        return False
    print(f"Installing into {venv}. This takes some minutes and happens once.", flush=True)
    usable = (venv / BIN).exists() and python("-c", "import pip", venv=venv) == 0
    if not usable and subprocess.call([sys.executable, "-m", "venv", "--clear", str(venv)]) != 0:
        print("Python could not make a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv")
        return False
    if python("-m", "pip", "install", "--quiet", *needs, venv=venv) != 0:
        print("The installation failed; the lines above say why. It needs the internet. Run the same command again.")
        return False
    stamps[0].write_text(wanted, encoding="utf-8")
    return True


def stamp():
    """What an installation depends on, as one hash."""
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256(b"\0".join([str(ROOT).encode(), *files])).hexdigest()


def read(path):
    """The text of a file; "" where there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def python(*arguments, venv=None):
    """Run the Python of ``venv`` (.venv unless told otherwise) in the clone; returns its exit code."""
    sys.stdout.flush()
    return subprocess.call([str((venv or VENV) / BIN), *arguments], cwd=ROOT)


# --- tests ----------------------------------------------------------------------------------------------------------


def test(arguments):
    """Run pytest with the newest Slicer classes, then the scene tests with the stable ones; one summary at the end."""
    runs = [("all tests, Slicer 5.13 classes", *pytest(VENV, arguments))]
    again = stable_arguments(arguments)
    if again is None:
        return runs[0][1]
    print("\nThe scene tests with the classes of Slicer 5.12:", flush=True)
    if (sys.platform, platform.machine()) not in SLICER_CORE or sys.version_info >= (3, 14):
        print("Skipped: there is no slicer-core 5.12 for this platform or this version of Python.")
        return runs[0][1]
    if not set_up_stable():
        return runs[0][1] or 1
    runs.append(("scene tests, Slicer 5.12 classes", *pytest(STABLE_VENV, again, MEDDDPM_WORKER_PYTHON=str(PYTHON))))
    print("\n" + summary(runs), flush=True)
    return combined([code for _, code, _ in runs])


def stable_arguments(arguments):
    """The arguments for the second run: the same, with the scene tests only; None where none of these is asked for.

    An option -m among the arguments counts more than ours.
    """
    scene = ROOT / STABLE_TESTS
    places = {
        text: (ROOT / text.split("::")[0]).resolve() for text in arguments if (ROOT / text.split("::")[0]).exists()
    }
    options = [text for text in arguments if text not in places]
    if not places or any(place in (scene, *scene.parents) for place in places.values()):
        return [STABLE_TESTS, *STABLE_MARKS, *options]
    inside = [text for text, place in places.items() if scene in place.parents]
    return [*inside, *STABLE_MARKS, *options] if inside else None


def pytest(venv, arguments, **environment):
    """Run pytest and show what it prints; returns its exit code and its last line, which counts the tests."""
    command = [str(venv / BIN), "-m", "pytest", *(["--color=yes"] if sys.stdout.isatty() else []), *arguments]
    variables = {**os.environ, "COLUMNS": str(shutil.get_terminal_size().columns), **environment}
    sys.stdout.flush()
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        tail = b""
        while chunk := os.read(process.stdout.fileno(), 65536):
            os.write(sys.stdout.fileno(), chunk)
            tail = (tail + chunk)[-4096:]
    return process.returncode, last_line(tail.decode("utf-8", "replace"))


def last_line(text):
    """The line in which pytest counts the tests, without colors and frame; "" where it did not come to that."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    counts = re.findall(r"^(?:=+ )?((?:\d+ |no tests).* in \d+\.\d+s(?: \(.+?\))?)(?: =+)?\r?$", plain, re.MULTILINE)
    return counts[-1] if counts else ""


def summary(runs):
    """A line for each run, and the sum of all in pytest's words."""
    total, seconds = Counter(), 0.0
    for _, _, line in runs:
        total.update({words: int(number) for number, words in re.findall(r"(\d+) ([a-z]+)", line.split(" in ")[0])})
        seconds += float((re.findall(r" in (\d+\.\d+)s", line) or ["0"])[0])
    lines = [f"{name}: {line or f'ended early with exit code {code}'}" for name, code, line in runs]
    counts = ", ".join(f"{number} {words}" for words, number in total.items()) or "no tests ran"
    return "\n".join([*lines, f"{counts} in {seconds:.2f}s"])


def combined(codes):
    """The exit code of several runs of pytest: 0 where all passed. A run with nothing to select (5) is no failure."""
    bad = [code for code in codes if code not in (0, 5)]
    return bad[0] if bad else min(codes)


# --- 3D Slicer ------------------------------------------------------------------------------------------------------


def slicer(arguments):
    """Run Testing/slicer inside the application at the given path.

    Further arguments are folders with more modules, or options of Slicer. Without a path it takes the one of the
    variable MEDDDPM_SLICER, or a "Slicer" on the search path. Returns the exit code of Slicer, 0 where there is none to
    run, 2 where there is no file at the given path.
    """
    given = arguments[0] if arguments else os.environ.get("MEDDDPM_SLICER") or shutil.which("Slicer")
    if not given:
        print("Skipped: no 3D Slicer. Give its path: python3 run.py slicer /path/to/Slicer")
        return 0
    program = Path(given).expanduser().resolve()
    if not program.is_file():
        print(f"There is no program {program}. Give the path of the Slicer executable (Slicer or Slicer.exe).")
        return 2
    out = Path(os.environ.get("MEDDDPM_TEST_OUT") or ROOT / "out" / "slicer-tests").resolve()
    out.mkdir(parents=True, exist_ok=True)
    paths = [*(str(ROOT / name) for name in SLICER_PATHS), os.environ.get("PYTHONPATH", "")]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MEDDDPM_TEST_OUT": str(out)}
    command = [*screen(), str(program), "--testing", "--no-splash", "--additional-module-paths"]
    command += [*(str(ROOT / name) for name in SLICER_MODULES), *arguments[1:]]
    print(f"Screenshots and logs go to {out}.", flush=True)
    code = subprocess.call([*command, "--python-script", str(ROOT / SLICER_TESTS)], env={**os.environ, **variables})
    print("The tests in 3D Slicer passed." if code == 0 else f"The tests in 3D Slicer failed, exit code {code}.")
    return code


def screen():
    """What gives a program a virtual screen where there is no real one, as on a server."""
    if sys.platform != "linux" or os.environ.get("DISPLAY") or not shutil.which("xvfb-run"):
        return []
    return ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1920x1200x24"]


if __name__ == "__main__":
    # Ctrl-C reaches the program that runs as well, which stops in good order; this one waits for it.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    sys.exit(main(sys.argv[1:]))
