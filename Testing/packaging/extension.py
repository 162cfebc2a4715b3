"""What the extension says of itself, read from CMakeLists.txt, MedDDPM.s4ext, MedDDPM.json and pyproject.toml."""

from __future__ import annotations

import json
import re
import struct
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")
ROOMS = ("MedDDPMCore", "MedDDPMSlicer", *MODULES)

# The rules that the catalog's JSON schema 1.0.2 sets: which fields there are, of which type, and which are required.
ENTRY_FIELDS: dict[str, type] = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
ENTRY_REQUIRED = {"$schema", "category", "scm_url"}
# Of the categories that the catalog accepts, those that an extension for making images could have.
CATEGORIES = {"Image Synthesis", "Neuroimaging", "Simulation"}
LICENSE_NAMES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt")


def cmake_text(folder: str = "") -> str:
    return (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")


def metadata() -> dict[str, str]:
    """The ``EXTENSION_...`` values of the top CMakeLists.txt that are one quoted string, as the catalog reads them."""
    return dict(re.findall(r'^set\(EXTENSION_([A-Z]+) "([^"]+)"\)$', cmake_text(), re.MULTILINE))


def subdirectories() -> list[str]:
    return re.findall(r"^\s*add_subdirectory\((\w+)\)$", cmake_text(), re.MULTILINE)


def packaged() -> dict[str, Path]:
    """What CMake packages: the name below the folder of scripted modules -> the file, by the globs of the lists."""
    places = {"models": ("Resources/Models", "medddpm/models/bundled"), "masks": ("Resources/SampleMasks",) * 2}
    found = {}
    for room in ROOMS:
        globs = re.findall(
            r"file\(GLOB(_RECURSE)? \w+ RELATIVE \$\{(\w+)\} CONFIGURE_DEPENDS([^)]+)\)", cmake_text(room)
        )
        for recursive, base, patterns in globs:
            source, target = places.get(base, (room, ""))
            for pattern in re.findall(r'"(?:\$\{\w+\}/)?([^"]+)"', patterns):
                folder, name = (ROOT / source / pattern).parent, pattern.split("/")[-1]
                files = folder.rglob(name) if recursive else (ROOT / source).glob(pattern)
                found |= {(Path(target) / f.relative_to(ROOT / source)).as_posix(): f for f in files if f.is_file()}
    return found


def s4ext(text: str) -> dict[str, str]:
    """The keywords of an extension description; a keyword may have no value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key: value for key, _, value in (line.partition(" ") for line in lines)}


def catalog_entry() -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((ROOT / "MedDDPM.json").read_text(encoding="utf-8"))
    return entry


def entry_problems(entry: dict[str, Any]) -> list[str]:
    """What the catalog's checks on a JSON entry would complain about, in sentences."""
    found = [f"{name} is missing." for name in sorted(ENTRY_REQUIRED - set(entry))]
    found += [f"{name} is no field of the schema." for name in sorted(set(entry) - set(ENTRY_FIELDS))]
    found += [f"{name} has the wrong type." for name, value in entry.items() if not _has_type(name, value)]
    if found:
        return found
    address = entry["scm_url"]
    repository = address.rstrip("/").split("/")[-1].removesuffix(".git")
    rules = {
        "category is not one that the catalog has.": entry["category"] in CATEGORIES,
        "scm_url is not an address of the kind https://host/path.": re.match(r"(https|git)://[^/]+/.+", address),
        "The repository's name does not start with Slicer.": repository.startswith("Slicer"),
        "scm_type is neither git nor local.": entry.get("scm_type", "git") in ("git", "local"),
        "tier is not from 1 to 5.": 1 <= entry.get("tier", 1) <= 5,
        "build_dependencies holds something else than names.": all(
            isinstance(name, str) and name for name in entry.get("build_dependencies", [])
        ),
    }
    return [sentence for sentence, holds in rules.items() if not holds]


def _has_type(name: str, value: Any) -> bool:
    wanted = ENTRY_FIELDS.get(name, object)
    return isinstance(value, wanted) and (wanted is not int or not isinstance(value, bool))


def home() -> str:
    """The address of the repository: the one place where it is decided is pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"])


def file_behind(address: str) -> Path:
    """The file of this repository that a raw address of the main branch shows; ValueError for any other address."""
    prefix = home().replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    if not address.startswith(prefix):
        raise ValueError(f"{address} does not begin with {prefix}")
    return ROOT / address.removeprefix(prefix)


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels; ValueError where the file is no PNG."""
    head = path.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise ValueError(f"{path} is no PNG.")
    width, height = struct.unpack(">II", head[16:24])
    return width, height
