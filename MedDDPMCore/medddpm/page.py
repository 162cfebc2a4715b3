"""HTML pages that open offline: reports of a preparation and of an evaluation.

A page is one file with its style sheet inside, without script and without a link to the network. Pictures are shown by
their path relative to the page, so that page and pictures move together. All text is escaped: names come from files of
strangers. The templates are those of the folder ``pages``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .parse import printable


class Cell(NamedTuple):
    """A cell of a table: its text, how it is shown ("number", "error", "warning", or several of them), and a link.

    The link is as ``address`` has it.
    """

    text: str
    kind: str = ""
    link: str = ""


def number(value: float | None, digits: int = 3) -> Cell:
    """A number, right-aligned; a dash where there is none."""
    return Cell("–" if value is None or value != value else f"{value:.{digits}f}", "number")


def address(path: str) -> str:
    """A path below the page's folder, with forward slashes, or ``#anchor`` within the page, as an address.

    Raises ValueError for any other path.
    """
    if path.startswith("#"):
        return "#" + quote(path[1:])
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or ":" in parts[0]:
        raise ValueError(f"{path!r} is not a path below the page's folder")
    return quote(path)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str | Cell]]) -> str:
    """A table of cells or plain texts as Markdown."""
    texts = [[cell if isinstance(cell, str) else cell.text for cell in line] for line in lines]
    table = [list(head), ["---"] * len(head), *texts]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table)


def render(template: str, **values: Any) -> str:
    """The text of the template of that name in ``pages``, with ``values`` escaped and nothing that is not printable."""
    text = _templates().get_template(template).render(values)
    return "\n".join(map(printable, text.split("\n")))  # line by line, since most need no change


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["address"] = address
    made.filters["sides"] = lambda spacing: " x ".join(f"{side:.3g}" for side in spacing)
    return made
