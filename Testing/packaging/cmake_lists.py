"""Which files the CMake lists must name: a file that none names is silently missing from the package of the extension.

Run it to see what is missing from the lists, or named and not there; with ``--write`` it rewrites the lists.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
MODEL_FILES = ("*/config.json", "*/model.safetensors", "*/README.md")  # those of setup.py
NOT_INSTALLED = ("CMakeLists.txt", "README.md")  # at the top of a room
HOW_TO_MEND = "Run: python Testing/packaging/cmake_lists.py --write"


@dataclass(frozen=True)
class FileList:
    """One ``set(VARIABLE file ...)`` of a CMakeLists.txt: files below ``base`` that match one of ``patterns``.

    ``python`` takes only Python files (True), only others (False) or both (None).
    """

    cmake: str
    variable: str
    base: str
    patterns: tuple[str, ...]
    python: bool | None = None

    def _block(self, text: str) -> re.Match[str]:
        found = re.search(rf"^set\({self.variable}\n(.*?)^  \)$", text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise ValueError(f"{self.cmake} has no list {self.variable}.")
        return found

    def named(self, root: Path) -> list[str]:
        """The names as CMake has them, in its order."""
        return self._block((root / self.cmake).read_text(encoding="utf-8"))[1].split()

    def present(self, root: Path) -> list[str]:
        """The names of the files that there are, in alphabetical order."""
        base = root / self.base
        names = {path.relative_to(base) for pattern in self.patterns for path in base.glob(pattern) if path.is_file()}
        wanted = (name for name in names if belongs(name) and self.python in (None, name.suffix == ".py"))
        return sorted(name.as_posix() for name in wanted)

    def problems(self, root: Path) -> list[str]:
        """A sentence for each file that is not named, is named and absent, or is named twice."""
        named, present = self.named(root), set(self.present(root))
        where = f"{self.cmake}, {self.variable}"
        return [
            *(f"{where}: {name} is not named." for name in sorted(present - set(named))),
            *(f"{where}: {name} is named, but there is no such file." for name in sorted(set(named) - present)),
            *(f"{where}: {name} is named twice." for name in sorted({n for n in named if named.count(n) > 1})),
        ]

    def write(self, root: Path) -> None:
        """Make the list name the files that there are."""
        path = root / self.cmake
        text = path.read_text(encoding="utf-8")
        block = self._block(text)
        lines = "".join(f"  {name}\n" for name in self.present(root))
        path.write_text(text[: block.start(1)] + lines + text[block.end(1) :], encoding="utf-8", newline="\n")


def belongs(name: Path) -> bool:
    """Whether a file, named relative to its room, is part of the package."""
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    return not hidden and name.suffix != ".pyc" and name.as_posix() not in NOT_INSTALLED


def _of_module(name: str) -> list[FileList]:
    cmake = f"{name}/CMakeLists.txt"
    return [
        FileList(cmake, "MODULE_PYTHON_SCRIPTS", name, ("**/*",), python=True),
        FileList(cmake, "MODULE_PYTHON_RESOURCES", name, ("**/*",), python=False),
    ]


CORE = "MedDDPMCore/CMakeLists.txt"
LISTS = (
    FileList(CORE, "CORE_PYTHON_SCRIPTS", "MedDDPMCore", ("medddpm/**/*",), python=True),
    FileList(CORE, "CORE_PYTHON_RESOURCES", "MedDDPMCore", ("medddpm/**/*",), python=False),
    FileList(CORE, "MODEL_FILES", "Resources/Models", MODEL_FILES),
    FileList(CORE, "SAMPLE_MASKS", "Resources/SampleMasks", ("*",)),
    FileList("MedDDPMSlicer/CMakeLists.txt", "LIBRARY_PYTHON_SCRIPTS", "MedDDPMSlicer", ("**/*",), python=True),
    *(one for name in MODULES for one in _of_module(name)),
    FileList("Testing/CMakeLists.txt", "SLICER_TESTS", "Testing", ("slicer/test_*.py",)),
)


def problems(root: Path = ROOT) -> list[str]:
    """What is wrong with all lists, in sentences."""
    return [sentence for one in LISTS for sentence in one.problems(root)]


def main(arguments: list[str]) -> int:
    """Prints what is wrong, or mends it; returns 1 where something is wrong still."""
    if arguments == ["--write"]:
        for one in LISTS:
            one.write(ROOT)
    elif arguments:
        print(__doc__)
        return 2
    found = problems()
    print(*found or ["All CMake lists are complete."], *([HOW_TO_MEND] if found else []), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
