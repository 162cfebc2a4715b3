"""What the house rules say of lengths holds for all code but the tests."""

from __future__ import annotations

import ast
import re

from repository import ROOT, repository_files

MOST_LINES, MOST_FUNCTION_LINES = 300, 60


def too_long(source: str) -> list[str]:
    """Sentences about a file and its functions, where they are longer than the rules allow."""
    lines = source.count("\n")
    found = [f"{lines} lines"] if lines > MOST_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_FUNCTION_LINES:
                found.append(f"{node.name} has {length} lines")
    return found


def test_no_file_and_no_function_is_too_long() -> None:
    files = [path.relative_to(ROOT) for path in repository_files() if path.suffix == ".py"]
    texts = {path.as_posix(): (ROOT / path).read_text("utf-8") for path in files if path.parts[0] != "Testing"}
    assert "MedDDPMCore/medddpm/cli/synth.py" in texts
    assert {name: found for name, text in texts.items() if (found := too_long(text))} == {}


def test_what_is_too_long_would_be_found() -> None:
    long = "def f():\n" + "    pass\n" * 60
    assert too_long(long) == ["f has 61 lines"]
    assert too_long("x = 1\n" * 301) == ["301 lines"]
    assert too_long("def f():\n" + "    pass\n" * 59) == []


def test_all_that_is_printed_or_written_as_csv_goes_through_its_one_guard() -> None:
    package = ROOT / "MedDDPMCore" / "medddpm"
    writes = re.compile(r"(typer\.(echo|secho)|(?<!\w)print|console\.print|csv\.writer)\((?!printable)")
    found = {path.name for path in package.rglob("*.py") if writes.search(path.read_text("utf-8"))}
    assert found == {"root.py", "files.py"}  # the version; csv_text
