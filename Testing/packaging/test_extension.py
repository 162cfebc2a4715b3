"""The extension as Slicer's build system and catalog see it: metadata, descriptions, file lists, installed layout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from extension import (
    CATEGORIES,
    LICENSE_NAMES,
    MODULES,
    ROOMS,
    catalog_entry,
    cmake_text,
    entry_problems,
    file_behind,
    home,
    metadata,
    packaged,
    png_size,
    s4ext,
    subdirectories,
)
from repository import ROOT, history_bytes, repository_files

MAX_REPOSITORY_MB = 100
DESCRIPTION = s4ext((ROOT / "MedDDPM.s4ext").read_text(encoding="utf-8"))


# --- metadata -------------------------------------------------------------------------------------------------------


def test_every_value_of_the_metadata_is_one_plain_string() -> None:
    wanted = {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS", "KEYWORDS"}
    values = metadata()
    assert wanted <= set(values)
    assert not [name for name in wanted if "${" in values[name] or ";" in values[name]]


def test_the_project_has_the_name_of_the_catalog_entry() -> None:
    assert re.findall(r"^project\((\w+)", cmake_text(), re.MULTILINE) == ["MedDDPM"]
    assert [path.stem for path in ROOT.glob("*.s4ext")] == ["MedDDPM"]
    assert not "MedDDPM".startswith("Slicer")


@pytest.mark.parametrize(
    "key", ["homepage", "contributors", "description", "iconurl", "screenshoturls", "depends", "recommends", "keywords"]
)
def test_s4ext_says_what_cmake_says(key: str) -> None:
    assert DESCRIPTION[key] == metadata()[key.upper()]


def test_s4ext_says_what_the_catalog_entry_says() -> None:
    entry = catalog_entry()
    assert (DESCRIPTION["scmurl"], DESCRIPTION["scmrevision"]) == (entry["scm_url"], entry["scm_revision"])
    assert DESCRIPTION["depends"].split() == entry["build_dependencies"]
    assert DESCRIPTION["build_subdirectory"] == entry["build_subdirectory"]
    assert DESCRIPTION["category"] == entry["category"]
    assert DESCRIPTION["tier"] == str(entry["tier"])
    assert (DESCRIPTION["scm"], DESCRIPTION["enabled"]) == (entry.get("scm_type", "git"), "1")


def test_s4ext_has_every_keyword_once() -> None:
    lines = (ROOT / "MedDDPM.s4ext").read_text(encoding="utf-8").splitlines()
    keys = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert max(Counter(keys).values()) == 1
    assert set(keys) == {
        *("scm", "scmurl", "scmrevision", "depends", "recommends", "build_subdirectory", "homepage", "contributors"),
        *("category", "iconurl", "status", "tier", "description", "screenshoturls", "enabled"),
        *("dicom_support_rule", "keywords"),
    }


def test_the_catalog_entry_keeps_the_catalogs_rules() -> None:
    assert not entry_problems(catalog_entry())
    schema = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2"
    assert catalog_entry()["$schema"] == f"{schema}.json#"
    assert b"\r" not in (ROOT / "MedDDPM.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"homepage": "x"}, "homepage is no field"),
        ({"category": "Magic"}, "category is not one"),
        ({"tier": True}, "tier has the wrong type"),
        ({"tier": 6}, "tier is not"),
        ({"scm_url": "git@host:x/SlicerMedDDPM.git"}, "scm_url is not"),
        ({"scm_url": "https://github.com/x/MedDDPM.git"}, "does not start with Slicer"),
        ({"build_dependencies": [1]}, "build_dependencies holds"),
    ],
)
def test_a_wrong_catalog_entry_would_be_found(change: dict[str, object], complaint: str) -> None:
    assert "Image Synthesis" in CATEGORIES
    assert complaint in " ".join(entry_problems({**catalog_entry(), **change}))


def test_all_addresses_are_of_the_one_repository() -> None:
    values = metadata()
    assert home().split("/")[-1] == "SlicerMedDDPM"
    assert values["HOMEPAGE"] == home()
    assert catalog_entry()["scm_url"] == f"{home()}.git"
    for address in [values["ICONURL"], *values["SCREENSHOTURLS"].split()]:
        assert file_behind(address) in repository_files(), address
    shared = (ROOT / "MedDDPMSlicer/MedDDPMSlicerLib/ModuleLogic.py").read_text(encoding="utf-8")
    assert f'DOCUMENTATION = "{home()}/blob/main/docs"' in shared
    for module in ("MedDDPMSynth", "MedDDPMTraining"):
        (page,) = re.findall(r"\{DOCUMENTATION\}/([\w.-]+)", (ROOT / module / f"{module}.py").read_text("utf-8"))
        assert (ROOT / "docs" / page).is_file()


def test_the_icon_is_a_png_of_128_by_128_pixels() -> None:
    assert png_size(file_behind(metadata()["ICONURL"])) == (128, 128)


def test_screenshots_are_pictures_that_can_be_read() -> None:
    sizes = [png_size(file_behind(address)) for address in metadata()["SCREENSHOTURLS"].split()]
    assert sizes and min(min(size) for size in sizes) >= 400


# --- repository -----------------------------------------------------------------------------------------------------


def test_the_license_is_at_the_root_and_packaged() -> None:
    assert any((ROOT / name).is_file() for name in LICENSE_NAMES)
    for name in ("EXTENSION_LICENSE_FILE", "EXTENSION_README_FILE"):
        (path,) = re.findall(rf'set\({name} "\${{CMAKE_CURRENT_SOURCE_DIR}}/(.+)"\)', cmake_text())
        assert (ROOT / path).is_file()


def test_the_repository_with_its_history_is_small_enough_for_the_catalog() -> None:
    assert (sum(path.stat().st_size for path in repository_files()) + history_bytes()) / 1e6 < MAX_REPOSITORY_MB


def test_the_history_counts_what_head_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repository.ROOT", tmp_path)
    assert history_bytes() == 0
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for words in (("init", "-q"), ("add", "."), (*author, "commit", "-q", "-m", "A file")):
        (tmp_path / "noise.bin").write_bytes(os.urandom(100_000))
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    (tmp_path / ".git" / "leftover").write_bytes(bytes(1_000_000))
    assert 100_000 < history_bytes() < 110_000


# --- modules and lists ----------------------------------------------------------------------------------------------


def test_every_room_is_part_of_the_build() -> None:
    assert [*ROOMS, "Testing"] == subdirectories()
    assert sorted(path.parent.name for path in ROOT.glob("*/CMakeLists.txt")) == sorted(subdirectories())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_named_like_its_file_and_folder(name: str) -> None:
    assert f"set(MODULE_NAME {name})" in cmake_text(name)
    assert (ROOT / name / f"{name}.py").is_file()
    assert not name.endswith(("Test", "Tests")), "Slicer 5.13 does not load modules with such names"


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_is_packaged(room: str) -> None:
    files = {path for path in repository_files() if path.is_relative_to(ROOT / room)}
    assert not files - set(packaged().values()) - {ROOT / room / name for name in ("CMakeLists.txt", "README.md")}


def test_names_in_the_folder_that_all_extensions_share_are_our_own() -> None:
    names = {name.split("/")[0] for name in packaged()}
    assert not [name for name in names - {"Resources"} if "medddpm" not in name.lower()]


def test_the_extension_and_the_wheel_ship_the_same_files_of_a_model() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    (names,) = re.findall(r"^FILES = \((.+)\)$", setup, re.MULTILINE)
    models = {Path(name).name for name in packaged() if name.startswith("medddpm/models/bundled/")}
    cmake = (ROOT / "MedDDPMCore" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert models <= set(re.findall(r'"(.+?)"', names)) == set(re.findall(r'"\$\{models\}/\*/(.+?)"', cmake))


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs CMake")
def test_cmake_finds_what_the_tests_think_it_does(tmp_path: Path) -> None:
    stubs = "".join(
        f'function({name})\n  file(APPEND {tmp_path}/called "${{ARGN}};")\nendfunction()\n'
        for name in ("slicerMacroBuildScriptedModule", "ctkMacroCompilePythonScript")
    )
    rooms = "".join(f"add_subdirectory({ROOT / room} {room})\n" for room in ROOMS)
    head = f"cmake_minimum_required(VERSION 3.16)\nproject(Test NONE)\nset(MedDDPM_SOURCE_DIR {ROOT})\n"
    (tmp_path / "CMakeLists.txt").write_text(head + stubs + rooms)
    subprocess.run(["cmake", "-S", tmp_path, "-B", tmp_path / "build"], check=True, capture_output=True)
    called = {word for word in (tmp_path / "called").read_text().split(";") if "." in word}
    copied = {path.relative_to(tmp_path / "build").as_posix() for path in (tmp_path / "build").rglob("*.safetensors")}
    own = {name for name in packaged() if not name.startswith(("medddpm/models/bundled", "Resources/SampleMasks"))}
    assert own <= called and copied == {name for name in packaged() if name.endswith(".safetensors")}


# --- what is installed ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of scripted modules that CMake makes."""
    folder = tmp_path_factory.mktemp("qt-scripted-modules")
    for name, file in packaged().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / name)
    return folder


def test_the_installed_core_has_its_model_and_schemes(installed: Path) -> None:
    code = (
        "import medddpm; from medddpm.labels.scheme import load_scheme; from medddpm.models.places import find_model;"
        "load_scheme('brats'); load_scheme('whole-head'); print(find_model('demo')); print(medddpm.__file__)"
    )
    lines = [Path(line) for line in _python_in(installed, code)]
    assert lines == [installed / "medddpm/models/bundled/demo", installed / "medddpm/__init__.py"]
    assert (installed / "Resources" / "SampleMasks" / "glioma.nii.gz").is_file()


def test_the_installed_packages_are_found_beside_the_modules(installed: Path) -> None:
    names = ["MedDDPMSlicerLib", "MedDDPMSynthLib", "MedDDPMTrainingLib", "SegmentEditorMedDDPMLib", "medddpm"]
    code = f"from importlib.util import find_spec\nfor name in {names}: print(find_spec(name).origin)"
    assert [Path(line) for line in _python_in(installed, code)] == [installed / name / "__init__.py" for name in names]


def _python_in(folder: Path, code: str) -> list[str]:
    """The lines that ``code`` prints in a Python that sees ``folder`` and what is installed in this environment."""
    # -P leaves the working folder out; the editable install of the clone would come after PYTHONPATH.
    variables = {"PYTHONPATH": str(folder), "PYTHONUTF8": "1", "MEDDDPM_MODELS": ""}
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()
