"""Shared by the tests of this folder: the files of the project, the README's code, a fresh Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "MedDDPMCore" / "medddpm"
README = (ROOT / "README.md").read_text(encoding="utf-8")
SKIPPED = {".git", "build", "dist", "out", "runs", "__pycache__"}
MAX_BYTES = 30 * 2**20
BINARY = {".gz", ".png", ".npz", ".safetensors", ".pt", ".ico", ".jpg"}


def repository_files() -> list[Path]:
    """All files of the project: those that git tracks or would track; without git, all outside of ignored folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        paths = [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = list(ROOT.rglob("*"))
    visible = (p for p in paths if not any(_skipped(part) for part in p.relative_to(ROOT).parts))
    return sorted(path for path in visible if path.is_file())


def history_bytes() -> int:
    """Bytes of the history as a clone brings it: only what HEAD reaches, each object once; 0 where there is no git.

    The folder .git itself may hold more: what is no longer used, and objects both loose and packed.
    """
    command = ["git", "rev-list", "--disk-usage", "--objects", "HEAD"]
    try:
        return int(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return 0


def _skipped(part: str) -> bool:
    return part in SKIPPED or part.startswith(".venv") or part.endswith((".egg-info", "_cache"))


def text_files() -> list[Path]:
    return [path for path in repository_files() if path.suffix not in BINARY]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with the core of this clone on its path."""
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "PYTHONUTF8": "1", **environment}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
