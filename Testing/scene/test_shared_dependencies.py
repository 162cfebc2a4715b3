"""What is missing is found, asked for, and installed by real pip without touching what Slicer ships."""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.metadata
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
from medddpm.errors import InputError
from MedDDPMSlicerLib import Dependencies
from MedDDPMSlicerLib.Dependencies import (
    PREPARING,
    TRAINING,
    Package,
    install,
    installOffline,
    missingPackages,
    packages,
    pinned,
    question,
)

TINY = Package("medddpm-tiny", "medddpm_tiny", "medddpm-tiny>=1.2", 1)


def wheel(folder: Path, name: str, version: str, requires: str = "") -> Path:
    """A real wheel with one module of its name."""
    stem = name.replace("-", "_")
    info = f"{stem}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{stem}.py": f"VERSION = '{version}'\n",
        f"{info}/METADATA": metadata + (f"Requires-Dist: {requires}\n" if requires else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text)}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in files.items():
            archive.writestr(name_, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class PipInto:
    """Real pip that installs into a folder of its own."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.output = ""

    def __call__(self, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--target", str(self.target)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        self.output = done.stdout + done.stderr
        done.check_returncode()


@pytest.fixture
def pip(tmp_path: Path) -> PipInto:
    """pip into a temporary folder with a space in its path."""
    return PipInto(tmp_path / "site packages")


def test_what_the_worker_needs_is_listed_and_nothing_else() -> None:
    assert [package.name for package in packages()] == ["torch", "nibabel", "safetensors", "pillow"]
    assert all(package.sizeMb > 0 for package in packages())
    assert packages()[0].how == "PyTorch extension"
    assert packages()[0].versions == ">=2.6,<3"


def test_missing_and_old_packages_are_found_without_importing(monkeypatch: pytest.MonkeyPatch) -> None:
    present = Package("numpy", "numpy", "numpy>=1.26", 1)
    old = Package("numpy", "numpy", "numpy>=99", 1)
    strange = Package("numpy", "numpy.no_such.module", "numpy", 1)
    monkeypatch.setattr(Dependencies, "packages", lambda use: (present, old, strange, TINY))
    assert missingPackages() == [old, strange, TINY]
    assert "medddpm_tiny" not in sys.modules


def test_each_use_has_its_packages_and_says_what_works_without() -> None:
    preparing, training = ([p.name for p in packages(use)] for use in (PREPARING, TRAINING))
    assert preparing == ["nibabel", "safetensors", "pillow", "jinja2"], "scans are prepared without torch"
    assert {"torch", *preparing, "lightning-fabric", "monai", "tensorboard"} == set(training)
    text = question(packages(TRAINING), TRAINING)
    assert "To train models" in text and "monai" in text and "no model trained" in text


def test_the_question_names_packages_sizes_and_the_choice() -> None:
    text = question(packages())
    for words in ("torch: about", "nibabel: about 4 MB", "Together about", "MB", "Install now?", "edited and checked"):
        assert words in text


def test_a_no_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dependencies, "_slicerPip", lambda: pytest.fail("pip was asked for"))
    asked: list[str] = []

    def no(text: str) -> bool:
        asked.append(text)
        return False

    assert install([TINY], no, lambda _: None) is False
    assert "medddpm-tiny" in asked[0]
    assert install([], no) is True
    assert len(asked) == 1


def test_without_the_pytorch_extension_it_is_said_before_anything_is_asked() -> None:
    torch = packages()[0]
    with pytest.raises(InputError, match=r"Extensions Manager, install 'PyTorch', restart Slicer"):
        install([torch, TINY], lambda _: pytest.fail("asked"), lambda _: None)


def test_torch_comes_through_the_extension_with_versions_and_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension itself is not here; its interface (of SlicerPyTorch) is what is called."""
    calls: list[tuple[dict[str, Any], str]] = []

    class PyTorchUtilsLogic:
        def installTorch(self, **options: Any) -> None:
            calls.append((options, os.environ["PIP_CONSTRAINT"]))

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    told: list[str] = []
    # numpy stands for an installed torch, so that the check afterwards finds it.
    wanted = Package("numpy", "numpy", "numpy>=1.26", 2, "PyTorch extension")
    assert install([wanted], lambda _: True, told.append)
    assert calls[0][0] == {"torchVersionRequirement": ">=1.26"}
    assert calls[0][1].startswith("file://")
    assert told and "torch" in told[0]
    with pytest.raises(InputError, match="torch9>=2 cannot be found"):
        install([Package("torch9", "torch9", "torch9>=2", 1, "PyTorch extension")], lambda _: True)


def test_a_failing_installation_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def broken(_: list[str]) -> None:
        raise subprocess.CalledProcessError(1, ["/home/jane.doe/pip", "install"])

    monkeypatch.setattr(Dependencies, "_slicerPip", lambda: broken)
    with pytest.raises(InputError, match="Installing the packages failed"):
        install([TINY], lambda _: True)
    assert "jane.doe" not in caplog.text
    assert "PIP_CONSTRAINT" not in os.environ


def test_wheels_are_installed_without_the_internet(tmp_path: Path, pip: PipInto) -> None:
    wheels = tmp_path / "wheels of a hospital"
    wheel(wheels, "medddpm-tiny", "1.3", "medddpm-below>=2")
    wheel(wheels, "medddpm-below", "2.0")
    told: list[str] = []
    installOffline(wheels, [TINY], told.append, pip)
    assert {path.name for path in pip.target.glob("*.py")} == {"medddpm_tiny.py", "medddpm_below.py"}
    assert told == ["Installing medddpm-tiny from the folder of wheels"]


def test_missing_wheels_are_named(tmp_path: Path, pip: PipInto) -> None:
    wheel(tmp_path / "wheels", "medddpm-below", "2.0")
    with pytest.raises(InputError, match=r"no wheel of medddpm-tiny.*pip download"):
        installOffline(tmp_path / "wheels", [TINY], pip=pip)
    with pytest.raises(InputError, match="is not a folder"):
        installOffline(tmp_path / "nowhere", [TINY], pip=pip)
    wheel(tmp_path / "old", "medddpm-tiny", "1.0")
    with pytest.raises(InputError, match="failed"):
        installOffline(tmp_path / "old", [TINY], pip=pip)
    assert not pip.target.exists() or not list(pip.target.glob("*.py"))


def test_numpy_is_never_changed(tmp_path: Path, pip: PipInto) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "medddpm-tiny", "1.3", "numpy>=99")
    wheel(wheels, "numpy", "99.0")
    with pytest.raises(InputError, match="failed"):
        installOffline(wheels, [TINY], pip=pip)
    assert "numpy" in pip.output
    assert not pip.target.exists() or not list(pip.target.glob("numpy*"))


def test_the_constraints_hold_while_the_block_runs_and_keep_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONSTRAINT", "https://example.org/own.txt")
    with pinned() as path:
        assert f"numpy=={importlib.metadata.version('numpy')}\n" in path.read_text()
        assert os.environ["PIP_CONSTRAINT"] == f"{path.as_uri()} https://example.org/own.txt"
    assert os.environ["PIP_CONSTRAINT"] == "https://example.org/own.txt"
    assert not path.exists()
    assert importlib.util.find_spec("numpy") is not None
