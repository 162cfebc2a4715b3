"""What the house rules say and no linter checks."""

from __future__ import annotations

import ast
import re

from repository import ROOT, repository_files

MOST_LINES, MOST_FUNCTION_LINES = 300, 60


def test_no_file_and_no_function_is_too_long() -> None:
    found = []
    for path in repository_files():
        if path.suffix == ".py" and not path.is_relative_to(ROOT / "Testing"):
            text = path.read_text("utf-8")
            found += [f"{path}: {lines} lines"] if (lines := text.count("\n")) > MOST_LINES else []
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
            lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in nodes]
            found += [f"{path}: {name}, {lines} lines" for name, lines in lengths if lines > MOST_FUNCTION_LINES]
    assert not found


def test_all_that_is_printed_or_written_as_csv_goes_through_its_one_guard() -> None:
    package = ROOT / "MedDDPMCore" / "medddpm"
    writes = re.compile(r"(typer\.(echo|secho)|(?<!\w)print|console\.print|csv\.writer)\((?!printable)")
    found = {path.name for path in package.rglob("*.py") if writes.search(path.read_text("utf-8"))}
    assert found == {"root.py", "files.py"}  # the version; csv_text


def test_only_the_command_line_names_its_options() -> None:
    """Sentences of the core are shown by Slicer and Python, too: an error has its ``option`` as a field."""
    package = ROOT / "MedDDPMCore" / "medddpm"
    texts = [
        (path.name, node.value)
        for path in package.rglob("*.py")
        if path.parent.name != "cli" and path.name != "page_style.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [one for one in texts if re.search(r"(?<!docker run)[ '(]--[a-z]", one[1])]
