"""What developers run: ``nox --list`` in the environment of the clone (``python3 run.py setup``).

The sessions run in that environment itself; only what needs other packages gets one of its own, with uv where that is
installed.
"""

import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
STABLE = "5.12.4.0"  # what the stable Slicer is made of; the tests run with newer classes otherwise
PINNED_OTHERWISE = ("slicer-core==", "vtk==")
SLICER_PATHS = ("MedDDPMCore", "MedDDPMSlicer")
MODULES = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
PARALLEL = ("-m", "pytest", "--numprocesses", "logical", "--maxprocesses", "8", "--dist", "worksteal")

nox.options.sessions = ["check", "tests"]
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True


def here(session: nox.Session, *command: str, **variables: str) -> None:
    """Run this very Python with ``command``."""
    session.run(sys.executable, *command, env=variables, external=True)


@nox.session(venv_backend="none")
def check(session: nox.Session) -> None:
    """Style, types, spelling, the layers of docs/architecture.md, and the documentation site (in build/site)."""
    here(session, "-m", "ruff", "check", ".")
    here(session, "-m", "ruff", "format", "--check", ".")
    here(session, "-m", "mypy")
    here(session, "-m", "codespell_lib", ".")
    folders = [str(ROOT / name) for name in (*SLICER_PATHS, *MODULES)]
    layers = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    here(session, "-c", layers, "--no-logo", PYTHONPATH=os.pathsep.join(folders))
    here(session, "-m", "mkdocs", "build", "--strict", "--quiet", NO_MKDOCS_2_WARNING="1")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The fast tests, in parallel; arguments after -- go to pytest."""
    here(session, *PARALLEL, *session.posargs)


@nox.session(venv_backend="none")
def all_tests(session: nox.Session) -> None:
    """Every test."""
    here(session, *PARALLEL, "--all", *session.posargs)


@nox.session
def stable(session: nox.Session) -> None:
    """Testing/scene with the classes of the stable Slicer, which brings no torch."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines(keepends=True)
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("".join(line for line in lines if not line.startswith(PINNED_OTHERWISE)), "utf-8")
    wanted = (f"slicer-core=={STABLE}", "numpy", "SimpleITK", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
    session.install("-c", str(constraints.resolve()), *wanted)
    given = session.posargs or ["Testing/scene", "-m", "not processes"]
    session.run("python", *PARALLEL, *given, env={"MEDDDPM_WORKER_PYTHON": sys.executable})


@nox.session(venv_backend="none")
def slicer(session: nox.Session) -> None:
    """Testing/slicer inside the application: nox -s slicer -- /path/to/Slicer [module folders, options of Slicer]."""
    given = session.posargs[0] if session.posargs else os.environ.get("MEDDDPM_SLICER") or shutil.which("Slicer")
    if not given:
        session.skip("no 3D Slicer. Give its path: nox -s slicer -- /path/to/Slicer")
    program = Path(given).expanduser().resolve()
    if not program.is_file():
        session.error(f"There is no program {program}. Give the path of the Slicer executable (Slicer or Slicer.exe).")
    out = Path(os.environ.get("MEDDDPM_TEST_OUT") or ROOT / "out" / "slicer-tests").resolve()
    out.mkdir(parents=True, exist_ok=True)
    paths = [*(str(ROOT / name) for name in SLICER_PATHS), os.environ.get("PYTHONPATH", "")]
    variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MEDDDPM_TEST_OUT": str(out)}
    command = [*screen(), str(program), "--testing", "--no-splash", "--additional-module-paths"]
    command += [*(str(ROOT / name) for name in MODULES), *session.posargs[1:]]
    session.log(f"Screenshots and logs go to {out}.")
    session.run(*command, "--python-script", str(ROOT / "Testing/slicer/run_all.py"), env=variables, external=True)


def screen() -> list[str]:
    """What gives a program a virtual screen where there is no real one, as on a server."""
    if sys.platform != "linux" or os.environ.get("DISPLAY") or not shutil.which("xvfb-run"):
        return []
    return ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1920x1200x24"]
