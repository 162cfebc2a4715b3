"""The Python packages that the modules need and Slicer does not bring along, and installing them.

Nothing is installed without being asked for. torch comes through the PyTorch extension, which picks the build for this
computer's graphics card; the others through Slicer's own package functions; all of them from a folder of wheels where
there is no internet. What Slicer ships itself (numpy, SimpleITK) is never changed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError

logger = logging.getLogger(__name__)

REQUESTER = "MedDDPM"
# Packages of Slicer whose version must stay: other modules have them loaded and were built for them.
PINNED = ("numpy", "SimpleITK")
# Looking for packages touches the disk; they do not come and go more often than this (seconds).
PACKAGE_SECONDS = 5.0
Confirm = Callable[[str], bool]
Progress = Callable[[str], None]
Pip = Callable[[list[str]], None]


@dataclass(frozen=True)
class Package:
    """A package: its name for pip, the name it is imported by, versions ("torch>=2.6,<3"), what its download takes
    (MB, with what it needs itself), and ``how`` it is installed: "PyTorch extension" or "pip".
    """

    name: str
    importName: str
    requirement: str
    sizeMb: int
    how: str = "pip"

    @property
    def versions(self) -> str:
        """The versions alone: ">=2.6,<3"."""
        return self.requirement.removeprefix(self.name)


@dataclass(frozen=True)
class Use:
    """What packages are needed for: ``aim`` as in "To generate images"; ``without``: what works without them."""

    aim: str
    without: str
    names: tuple[str, ...]


_FILES = ("nibabel", "safetensors", "pillow")
_SCANS = (*_FILES, "jinja2")
GENERATING = Use(
    "generate images",
    "Without them masks can be edited and checked, but no images generated.",
    ("torch", *_FILES),
)
PREPARING = Use("prepare scans", "Without them a folder of scans can be looked at, but not prepared.", _SCANS)
TRAINING = Use(
    "train models",
    "Without them a folder of scans can be looked at, but no model trained.",
    ("torch", *_SCANS, "lightning-fabric", "monai", "tensorboard"),
)


def packages(use: Use = GENERATING) -> tuple[Package, ...]:
    """The packages that something needs besides Slicer's own. The command line's (typer, rich) are not among them."""
    known = (
        Package("torch", "torch", "torch>=2.6,<3", _torchMegabytes(), "PyTorch extension"),
        Package("nibabel", "nibabel", "nibabel>=5.2", 4),
        Package("safetensors", "safetensors", "safetensors>=0.4.3", 1),
        Package("pillow", "PIL", "pillow>=10.1", 7),
        Package("jinja2", "jinja2", "jinja2>=3.1", 1),
        Package("lightning-fabric", "lightning_fabric", "lightning-fabric>=2.4,<3", 3),
        Package("monai", "monai", "monai>=1.4", 3),
        Package("tensorboard", "tensorboard", "tensorboard>=2.16", 15),
    )
    return tuple(package for package in known if package.name in use.names)


def missingPackages(use: Use = GENERATING) -> list[Package]:
    """Those that are not installed, or in another version. Imports none of them; takes milliseconds."""
    return [package for package in packages(use) if not _installed(package)]


class PackageWatch:
    """Says why something cannot be done without packages. ``missing`` tells which are not installed for a use."""

    def __init__(self, missing: Callable[[Use], Sequence[Any]] = missingPackages) -> None:
        self._missing = missing
        self._looked: dict[Use, tuple[float, str | None]] = {}

    def reason(self, use: Use) -> str | None:
        """The sentence of a button that is disabled; None where all packages of ``use`` are there."""
        looked, answer = self._looked.get(use, (-PACKAGE_SECONDS, None))
        if time.monotonic() - looked > PACKAGE_SECONDS:
            names = [package.name for package in self._missing(use)]
            answer = f"Install the missing packages first: {', '.join(names)}." if names else None
            self._looked[use] = (time.monotonic(), answer)
        return answer

    def lookAgain(self) -> None:
        """Packages were installed: look for them at the next question."""
        self._looked = {}


def question(wanted: Sequence[Package], use: Use = GENERATING) -> str:
    """What is asked before installing: which packages, how large, from where, and what follows from a no."""
    lines = [f"  {package.name}: about {package.sizeMb:,} MB" for package in wanted]
    total = sum(package.sizeMb for package in wanted)
    return (
        f"To {use.aim}, Slicer needs these Python packages, which are downloaded from the internet and installed for "
        f"this Slicer only:\n\n{chr(10).join(lines)}\n\n"
        f"Together about {total:,} MB. Your data stays on this computer. {use.without} Install now?"
    )


def install(
    wanted: Sequence[Package], confirm: Confirm, progress: Progress = lambda _: None, use: Use = GENERATING
) -> bool:
    """Install packages after ``confirm`` said yes to ``question``; returns whether they are there now.

    ``progress`` gets a short text for each step. Raises InputError with a sentence where the PyTorch extension is
    missing (before anything is asked), or an installation failed.
    """
    if not wanted:
        return True
    torch = [package for package in wanted if package.how != "pip"]
    others = [package for package in wanted if package.how == "pip"]
    if torch:
        try:
            installTorch = importlib.import_module("PyTorchUtils").PyTorchUtilsLogic().installTorch
        except ImportError as exc:
            raise InputError(
                "Slicer's PyTorch extension, which installs torch, is missing. Open the Extensions Manager, install "
                "'PyTorch', restart Slicer and try again. Without internet, choose a folder of wheels."
            ) from exc
    if not confirm(question(wanted, use)):
        return False
    with pinned() as constraints:
        if torch:
            progress("Installing torch (this takes minutes)")
            _attempt("torch", lambda: installTorch(torchVersionRequirement=torch[0].versions))
        if others:
            progress("Installing " + ", ".join(package.name for package in others))
            requirements = [package.requirement for package in others]
            try:  # Slicer's own way
                packaging: Any = importlib.import_module("slicer.packaging")
            except ImportError:
                _attempt("the packages", lambda: _slicerPip()(requirements))
            else:
                # Asked already, with sizes; Slicer would ask again.
                options = {"constraints": constraints, "prompt_install": False, "requester": REQUESTER}
                _attempt("the packages", lambda: packaging.pip_ensure(requirements, **options))
    _checkInstalled(wanted)
    return True


def installOffline(
    wheelFolder: Path,
    wanted: Sequence[Package] | None = None,
    progress: Progress = lambda _: None,
    pip: Pip | None = None,
) -> None:
    """Install packages (by default the missing ones) from a folder of wheels (.whl), without using the internet.

    ``pip`` runs pip with arguments; by default Slicer's. Raises InputError where the folder lacks a wheel, or pip
    refuses.
    """
    from packaging.utils import canonicalize_name

    folder = Path(wheelFolder)
    wanted = missingPackages() if wanted is None else list(wanted)
    if not wanted:
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Choose the folder that holds the wheels (.whl files).")
    present = {canonicalize_name(path.name.split("-")[0]) for path in folder.glob("*.whl")}
    lacking = [package.name for package in wanted if canonicalize_name(package.name) not in present]
    if lacking:
        raise InputError(
            f"{folder} holds no wheel of {', '.join(lacking)}. On a computer with internet and the same system, run: "
            f"PythonSlicer -m pip download -d wheels {' '.join(lacking)}; then copy the folder here."
        )
    names = [package.name for package in wanted]
    progress("Installing " + ", ".join(names) + " from the folder of wheels")
    arguments = ["--no-index", "--find-links", str(folder), "--only-binary", ":all:"]
    arguments += [package.requirement for package in wanted]
    with pinned():
        _attempt("the packages", lambda: (pip or _slicerPip())(arguments))
    if pip is None:
        _checkInstalled(wanted)


@contextlib.contextmanager
def pinned() -> Iterator[Path]:
    """While the block runs, pip keeps Slicer's versions of PINNED, whoever calls it; yields the constraints file."""
    former = os.environ.get("PIP_CONSTRAINT")
    with tempfile.TemporaryDirectory(prefix="medddpm-") as folder:
        path = Path(folder) / "constraints.txt"
        with path.open("w", encoding="utf-8") as stream:
            for name in PINNED:
                with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                    stream.write(f"{name}=={importlib.metadata.version(name)}\n")
        # As an address: pip takes a space in a plain path for the beginning of the next one.
        os.environ["PIP_CONSTRAINT"] = " ".join([path.as_uri(), *([former] if former else [])])
        try:
            yield path
        finally:
            if former is None:
                os.environ.pop("PIP_CONSTRAINT", None)
            else:
                os.environ["PIP_CONSTRAINT"] = former


def _installed(package: Package) -> bool:
    from packaging.requirements import Requirement

    try:
        if importlib.util.find_spec(package.importName) is None:
            return False
        version = importlib.metadata.version(package.name)
    except importlib.metadata.PackageNotFoundError:
        return True  # there without a record of its version: a site's own build
    except (ImportError, ValueError):
        return False
    return Requirement(package.requirement).specifier.contains(version, prereleases=True)


def _torchMegabytes() -> int:
    """About what pip downloads for torch here: with NVIDIA's libraries where there is such a card."""
    if sys.platform == "darwin":
        return 100
    return 2800 if shutil.which("nvidia-smi") else 250


def _slicerPip() -> Pip:
    import slicer.util

    pip: Pip = slicer.util.pip_install
    return pip


def _attempt(what: str, action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as exc:  # pip, light-the-torch and Slicer raise what they like
        # Not the error itself: commands of pip hold the name of the user's folder.
        logger.warning("installing failed: %s, code %s", type(exc).__name__, getattr(exc, "returncode", None))
        raise InputError(
            f"Installing {what} failed ({type(exc).__name__}). The Python console shows what pip said. Check the "
            "internet connection and the space on the disk and try again, or install from a folder of wheels."
        ) from exc
    finally:
        importlib.invalidate_caches()


def _checkInstalled(wanted: Sequence[Package]) -> None:
    lacking = [package.requirement for package in wanted if not _installed(package)]
    if lacking:
        raise InputError(
            f"After installing, {', '.join(lacking)} cannot be found. Restart Slicer; if it is still missing then, the "
            "Python console shows what pip said."
        )
