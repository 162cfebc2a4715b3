"""README and the pages of docs/ say what exists: commands, examples, messages, places."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import PACKAGE, ROOT, blocks, python

SLICER = ("MedDDPMSynth", "MedDDPMTraining", "MedDDPMSlicer", "SegmentEditorMedDDPM")


PAGES = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))


def commands_of_pages() -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("medddpm ") and "--help" not in line})


@pytest.mark.parametrize("line", commands_of_pages())
def test_command_lines_exist(line: str) -> None:
    import typer
    from medddpm.cli.commands import app

    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= options
    # Parsing, without running, also finds missing arguments and values of the wrong kind.
    command.make_context(command.name, words)


@pytest.mark.slow
def test_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = blocks("README.md", "python")
    result = python("-c", code.replace("steps=10", "steps=2").replace("out/python", str(tmp_path)))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "glioma" / "provenance.json").is_file()


@pytest.mark.slow
def test_python_of_the_first_lines_runs(tmp_path: Path) -> None:
    (code,) = blocks("docs/python.md", "python")
    (tmp_path / "Resources").mkdir()
    shutil.copytree(ROOT / "Resources" / "SampleMasks", tmp_path / "Resources" / "SampleMasks")
    short = code.replace("steps=10", "steps=2")
    assert short.count("steps=2") == 2
    result = subprocess.run(
        [sys.executable, "-c", short],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    shapes, findings, last = result.stdout.strip().splitlines()
    assert shapes.startswith("{'T1': (") and "follows the numbers" in findings
    assert (tmp_path / "out" / "python" / "glioma" / "provenance.json").is_file()
    assert "T1" in last and last.endswith("(1, 4, 152, 192, 192)")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "Resources" / "SampleMasks", tmp_path / "Resources" / "SampleMasks")
    (tmp_path / "examples").mkdir()
    cells = json.loads((ROOT / "examples" / "first-steps.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs")]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    result = subprocess.run(
        [sys.executable, "-c", code.replace("steps=10", "steps=2")],
        cwd=tmp_path / "examples",
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "examples" / "results" / "mask" / "provenance.json").is_file()


def test_the_training_example_is_a_configuration(tmp_path: Path) -> None:
    from medddpm.training.presets import read_train_file

    (text,) = blocks("docs/training.md", "toml")
    (tmp_path / "training.toml").write_text(text, encoding="utf-8")
    config = read_train_file(tmp_path / "training.toml")[0]
    assert config.dataset == str((tmp_path / "prepared").resolve())
    assert config.network.level_channels == (64, 64, 128, 192, 256)


def test_the_study_examples_are_requests(tmp_path: Path) -> None:
    from medddpm.studies.request import Table1Request, Table2Request, read_study

    for name, text in zip(("table1", "table2"), blocks("docs/studies.md", "toml"), strict=True):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    request = read_study(tmp_path / "table1.toml", Table1Request)
    assert [model.name for model in request.models] == ["Med-DDPM", "Pix2Pix", "DiscoGAN"]
    assert request.output == str((tmp_path / "table1").resolve()) and request.features.network == "hd-bet"
    second = read_study(tmp_path / "table2.toml", Table2Request)
    assert [arm.synthetic for arm in second.all_arms] == [0, 0, 1000, 1000, 1000]


def test_troubleshooting_quotes_messages_that_the_program_has() -> None:
    section = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = [found[1] for line in section.splitlines() if (found := re.match(r"\| `(.+?)` \|", line))]
    assert len(quoted) > 10
    texts = [text for path in PACKAGE.rglob("*.py") for text in literals(path)]
    missing = [q for q in quoted if not any(_occurs(q, text) for text in texts)]
    assert not missing


def literals(path: Path) -> list[str]:
    """The string literals of a file; what an f-string fills in stands as a single ``…``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            found.append("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


def _occurs(quoted: str, text: str) -> bool:
    pieces = [re.escape(piece.strip(" ")) for piece in quoted.split("…") if piece.strip(" ")]
    return re.search(r"\s*….*?\s*".join(pieces), text, re.DOTALL) is not None


@pytest.mark.parametrize("name", [*PAGES, "CHANGELOG.md"])
def test_links_and_named_places_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    base = (ROOT / name).parent
    headings = {_anchor(line) for line in text.splitlines() if line.startswith("#")}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (base / target.partition("#")[0]).is_file(), target
    for place in re.findall(r"`([A-Za-z_]+(?:/[A-Za-z_.-]+)+)`", text):
        rooms = [ROOT, PACKAGE.parent, PACKAGE, PACKAGE / "synthesis", *(ROOT / name for name in SLICER)]
        generated = place.startswith(("out/", "run/", "RUN/", ".venv/", "medddpm/models/bundled", "cases/"))
        assert generated or any((room / place).exists() for room in rooms), place


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lstrip("# ").lower()).replace(" ", "-")
