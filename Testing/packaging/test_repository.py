"""What holds the repository together: set-up, documents, dependency rule, files."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shutil
import sys
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import medddpm
import pytest
import yaml
from repository import MAX_BYTES, PACKAGE, README, ROOT, blocks, python, repository_files, text_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "slicer": "slicer-core",
    "vtk": "slicer-core",
    "radiomics": "pyradiomics-bhklab",
}
# What only the application has: its windows, and modules of Slicer and of the extension that this one depends on.
APPLICATION = {
    *(
        "qt",
        "ctk",
        "PyTorchUtils",
        "SampleData",
        "DICOMLib",
        "SegmentEditorEffects",
        "qSlicerSegmentationsEditorEffectsPythonQt",
    )
}


# --- set-up ---------------------------------------------------------------------------------------------------------


def test_readme_begins_with_commands_that_run_py_knows() -> None:
    commands = re.findall(r"^python3 run\.py (\S+)$", blocks("README.md", "bash")[0], re.MULTILINE)
    assert commands == ["demo", "test"]
    usage = python("run.py", "help")
    assert usage.returncode == 0
    assert all(re.search(rf"^  {command} ", usage.stdout, re.MULTILINE) for command in commands)
    assert python("run.py", "no-such-command").returncode == 2


def test_run_py_skips_the_installation_until_requirements_change(tmp_path: Path, monkeypatch) -> None:
    run = runpy.run_path(str(ROOT / "run.py"), run_name="run")
    calls: list[tuple[str, ...]] = []
    program = tmp_path / ".venv" / run["PYTHON"].name
    fake = {"ROOT": tmp_path, "VENV": tmp_path / ".venv", "PYTHON": program}
    for name, value in {**fake, "python": lambda *a: calls.append(a) or 0}.items():
        monkeypatch.setitem(run["main"].__globals__, name, value)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    program.parent.mkdir(parents=True)
    program.touch()

    def pip_runs(command: str) -> int:
        calls.clear()
        assert run["main"]([command]) == 0
        return sum("install" in arguments for arguments in calls)

    assert pip_runs("demo") == 1
    assert calls[-2][-4:] == ("-c", "constraints.txt", "-e", ".") and calls[-1] == run["DEMO"]
    assert pip_runs("demo") == 0
    assert pip_runs("setup") == 1  # more is needed than the demo's installation has
    assert pip_runs("demo") == pip_runs("test") == 0
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    assert pip_runs("demo") == 1


def test_the_demo_has_its_mask_and_model() -> None:
    demo = runpy.run_path(str(ROOT / "run.py"), run_name="run")["DEMO"]
    mask = next(argument for argument in demo if argument.endswith(".nii.gz"))
    assert mask in README
    assert (ROOT / mask).is_file()
    assert {"config.json", "model.safetensors"} <= {p.name for p in (ROOT / "Resources/Models/demo").iterdir()}


@pytest.mark.slow
def test_the_wheel_has_the_models_the_schemes_and_the_license(tmp_path: Path) -> None:
    source = tmp_path / "source"
    model = source / "Resources" / "Models" / "tiny"
    model.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "training.log"):
        (model / name).write_text(name)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE.txt", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "MedDDPMCore" / "medddpm", ignore=shutil.ignore_patterns("__pycache__"))
    pip = ("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q")
    built = python(*pip, "-w", str(tmp_path), str(source), PYTHONPATH="")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("medddpm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    bundled = {name for name in names if "/models/bundled/" in name}
    assert bundled == {f"medddpm/models/bundled/tiny/{name}" for name in ("config.json", "model.safetensors")}
    sources = {f"medddpm/{path.relative_to(PACKAGE).as_posix()}" for path in PACKAGE.rglob("*.py")}
    assert sources <= names
    data = {"medddpm/labels/schemes/brats.json", "medddpm/training/presets/demo.toml"}
    assert {"medddpm/py.typed", *data} <= names
    maps = {f"medddpm/anatomy/maps/{path.name}" for path in (PACKAGE / "anatomy" / "maps").iterdir()}
    assert maps and maps <= names
    assert all(any(name.endswith(text) for name in names) for text in ("LICENSE.txt", "NOTICE"))


def test_names_of_models_shipped_in_the_clone_are_known() -> None:
    shipped = sorted(path.parent.name for path in (ROOT / "Resources" / "Models").glob("*/config.json"))
    code = "from medddpm.models.places import list_models; print(*sorted(list_models()))"
    assert python("-c", code, MEDDDPM_MODELS="").stdout.split() == shipped


def test_torch_is_a_range_for_users_and_pinned_for_the_set_up() -> None:
    (torch,) = (need for need in PROJECT["project"]["dependencies"] if need.startswith("torch"))
    assert ">=" in torch and "==" not in torch
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()


def test_every_direct_dependency_has_a_pin() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert requirements() <= {_normal(line.split("==")[0]) for line in pins if "==" in line}


def test_all_that_is_imported_is_required_by_the_package_or_its_extras() -> None:
    files = [path for path in repository_files() if path.suffix == ".py"]
    own = {path.stem for path in files} | {path.parent.name for path in files}
    imported = {name for path in files for name in third_party(path)} - own - APPLICATION
    assert {_normal(DISTRIBUTIONS.get(name, name)) for name in imported} <= requirements()


def requirements() -> set[str]:
    """Names of all packages that pyproject.toml asks for, with all extras."""
    project = PROJECT["project"]
    needs = [*project["dependencies"], *(need for extra in project["optional-dependencies"].values() for need in extra)]
    return {_normal(re.split(r"[\[<>=!~; ]", need)[0]) for need in needs} - {"medddpm"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["project"]["version"] == medddpm.__version__ == citation["version"]
    library = (ROOT / "MedDDPMSlicer/MedDDPMSlicerLib/__init__.py").read_text(encoding="utf-8")
    assert f'CORE_VERSION = "{medddpm.__version__}"' in library
    assert f"## [{medddpm.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_tells_its_version() -> None:
    result = python("-m", "medddpm.cli", "--version")
    name, torch = result.stdout.strip().split(", ")
    assert (result.returncode, name) == (0, f"medddpm {medddpm.__version__}"), result.stderr
    assert torch.startswith("PyTorch ")


# --- dependency rule ------------------------------------------------------------------------------------------------


def third_party(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"medddpm"}


def imported_by(statement: str) -> set[str]:
    """Top-level modules that are loaded after ``statement`` in a fresh Python."""
    result = python("-c", f"{statement}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("medddpm", {"torch", "numpy"}),
        ("medddpm.jobs.spool, medddpm.jobs.folder, medddpm.jobs.outcome", {"torch", "numpy"}),
        ("medddpm.jobs.worker, medddpm.jobs.preview", {"torch"}),
        ("medddpm.labels.check, medddpm.masks", {"torch"}),
        ("medddpm.preparation.pipeline", {"torch"}),
    ],
)
def test_light_parts_do_not_load_heavy_libraries(module: str, without: set[str]) -> None:
    assert not imported_by(f"import {module}") & without


BLOCKED_JOB = """
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("typer", "rich", "click", "lightning_fabric", "scipy", "monai"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import medddpm.synthesis.job, medddpm.jobs.worker, medddpm.jobs.__main__
from pathlib import Path
import numpy as np, torch
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.geometry.nifti import write_image
from medddpm.jobs import spool
from medddpm.jobs.__main__ import main
from medddpm.labels.scheme import load_scheme
from medddpm.models.registry import save_model_folder
from medddpm.network.unet import UNet3D

here = Path(sys.argv[1])
network = NetworkConfig(1, 2, 8, (1, 2), 1, groups=4)
grid = GridConfig((16, 16, 16), (12.0, 12.0, 12.0))
config = ModelConfig("tiny", ("T1ce",), network, ScheduleConfig(steps=4), load_scheme("whole-head"), grid)
save_model_folder(here / "tiny", config, UNet3D(network).state_dict())
axes = np.stack(np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij"))
labels = (np.sqrt((axes**2).sum(0)) < 9).astype(np.uint8)
labels[10:13, 10:13, 10:13] = 2
write_image(here / "mask.nii.gz", labels, np.diag([10.0, 10.0, 10.0, 1.0]), "test")
request = {"masks": [str(here / "mask.nii.gz")], "model": str(here / "tiny"), "steps": 2, "device": "cpu"}
job = spool.submit(here / "spool", request)
code = main([str(here / "spool"), "--idle-seconds", "0"])
assert not {"typer", "rich", "click"} & set(sys.modules)
print(code, job.state(), job.events()[0][-1].message, *sorted(p.name for p in (job.outputs / "mask").iterdir()))
"""


@pytest.mark.slow
def test_a_job_runs_with_the_inference_packages_alone(tmp_path: Path) -> None:
    result = python("-c", BLOCKED_JOB, str(tmp_path), OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("0 done")
    assert "mask_sample-01_T1ce.nii.gz" in result.stdout and "provenance.json" in result.stdout


# --- files ----------------------------------------------------------------------------------------------------------


def test_text_files_have_lf_line_ends_and_are_utf8() -> None:
    wrong = [path for path in text_files() if b"\r\n" in path.read_bytes()]
    assert not wrong
    for path in text_files():
        path.read_text(encoding="utf-8")


def test_no_file_is_larger_than_a_repository_should_hold() -> None:
    assert not [path for path in repository_files() if path.stat().st_size > MAX_BYTES]


@pytest.mark.parametrize(
    ("suffix", "parse"),
    [(".toml", tomllib.loads), (".json", json.loads), (".cff", yaml.safe_load), (".yaml", yaml.safe_load)],
)
def test_data_files_parse(suffix: str, parse) -> None:
    files = [path for path in repository_files() if path.suffix == suffix]
    assert files
    for path in files:
        assert parse(path.read_text(encoding="utf-8")), path


def test_no_file_names_a_folder_of_one_machine() -> None:
    folders = re.compile("/(?:work|root)/")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if folders.search(line)
    ]
    assert not found


def test_the_license_is_apache_2() -> None:
    text = (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert text.splitlines()[1].strip() == "Apache License"
    assert "Version 2.0, January 2004" in text and "APPENDIX: How to apply the Apache License to your work." in text


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_the_continuous_integration_runs_the_readme_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert '"$python" run.py test --all' in script.read_text(encoding="utf-8")
    nightly = ROOT / ".ci" / "nightly"
    assert os.access(nightly, os.X_OK)
    (name,) = re.findall(r"export (\w+)=\d{4,}\n", nightly.read_text(encoding="utf-8"))
    assert f'os.environ["{name}"]' in (ROOT / "Testing" / "core" / "test_fuzz.py").read_text(encoding="utf-8")


def test_test_files_have_different_names() -> None:
    """pytest imports them by name alone."""
    names = Counter(path.name for path in repository_files() if path.is_relative_to(ROOT / "Testing"))
    assert not [name for name, times in names.items() if times > 1 and name.startswith("test_")]


def test_no_test_imports_a_conftest() -> None:
    """Several folders have one, and Python knows only one module of that name: helpers lie in modules of their own."""
    files = [path for path in repository_files() if path.is_relative_to(ROOT / "Testing") and path.suffix == ".py"]
    assert not [path.relative_to(ROOT).as_posix() for path in files if "conftest" in third_party(path)]
