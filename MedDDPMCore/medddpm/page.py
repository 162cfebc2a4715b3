"""HTML pages that open offline: reports of a preparation and of an evaluation.

A page is one file with its style sheet inside, without script and without a link to the network. Pictures are shown by
their path relative to the page, so that page and pictures move together. All text is escaped: names come from files of
strangers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from .errors import InputError
from .files import write_text
from .page_style import STYLE
from .parse import printable

# Nothing may be loaded but the pictures beside the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file: data:"
KINDS = ("", "number", "error", "warning")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, how it is shown (one of ``KINDS``), and a link within the page or beside it."""

    text: str
    kind: str = ""
    link: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a cell of kind {self.kind!r}")


def document(title: str, body: str) -> str:
    """A whole HTML document with the common look; ``title`` is plain text, ``body`` HTML."""
    head = (
        f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<style>{STYLE}</style>'
    )
    html = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    return "\n".join(map(printable, html.split("\n")))  # line by line, since most need no change


class Page:
    """An HTML page that is filled from top to bottom.

    ``notice``: a sentence in a box below the title, for what nobody may overlook.
    """

    def __init__(self, title: str, notice: str = "") -> None:
        self._title, self._footer = title, ""
        box = f'<p class="notice">{escape(notice)}</p>' if notice else ""
        self._header = f"<header><h1>{escape(title)}</h1>{box}</header>"
        self._parts: list[str] = []

    def heading(self, text: str, level: int = 2, anchor: str = "") -> None:
        """A heading; ``anchor`` is a name that cells can link to as ``#anchor``."""
        name = f' id="{escape(anchor)}"' if anchor else ""
        self._parts.append(f"<h{level}{name}>{escape(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        """Running text."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def listing(self, items: Sequence[str]) -> None:
        """A list of sentences; nothing where there is none."""
        if items:
            self._parts.append("<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str | Cell]], caption: str = "") -> None:
        """A table; every row has as many cells as ``head``."""
        if any(len(row) != len(head) for row in rows):
            raise ValueError("a row of a table has another number of cells than its head")
        title = f"<caption>{escape(caption)}</caption>" if caption else ""
        numeric = (
            [isinstance(cell, Cell) and cell.kind == "number" for cell in rows[0]] if rows else [False] * len(head)
        )
        top = "".join(_head_cell(text, right) for text, right in zip(head, numeric, strict=True))
        body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>\n" for row in rows)
        whole = f"<table>{title}<thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table>"
        self._parts.append(f'<div class="overview scroll">{whole}</div>')

    def picture(self, path: str, caption: str, description: str = "") -> None:
        """A picture at ``path`` relative to the page, with forward slashes; ``description`` is read to the blind.

        Raises ValueError for a path that leads out of the page's folder.
        """
        address = _address(path)
        image = f'<img src="{address}" alt="{escape(description or caption)}" loading="lazy">'
        label = f"<figcaption>{escape(caption)}</figcaption>"
        self._parts.append(f'<figure class="wide">{label}<a href="{address}">{image}</a></figure>')

    def footer(self, text: str) -> None:
        """The last line: what wrote the page, and when."""
        self._footer = f"<footer>{escape(text)}</footer>"

    def html(self) -> str:
        """The whole page."""
        main = "\n".join(self._parts)
        return document(self._title, f"{self._header}\n<main>\n{main}\n</main>\n{self._footer}")

    def save(self, path: Path) -> None:
        """Write the page, whole or not at all. Raises InputError where it cannot be written."""
        if Path(path).suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{path} cannot be a report: a page ends in .html.")
        write_text(path, self.html())


def number(value: float | None, digits: int = 3) -> Cell:
    """A number, right-aligned; a dash where there is none."""
    return Cell("–" if value is None or value != value else f"{value:.{digits}f}", "number")


def _head_cell(text: str, right: bool) -> str:
    kind = ' class="number"' if right else ""
    return f'<th scope="col"{kind}>{escape(text)}</th>'


def _cell(cell: str | Cell) -> str:
    shown = cell if isinstance(cell, Cell) else Cell(cell)
    kind = f' class="{shown.kind}"' if shown.kind else ""
    text = escape(shown.text)
    if shown.link:
        text = f'<a href="{_address(shown.link)}">{text}</a>'
    return f"<td{kind}>{text}</td>"


def _address(path: str) -> str:
    """A relative path, or ``#anchor`` within the page, as an address; never one that leaves the page's folder."""
    if path.startswith("#"):
        return "#" + quote(path[1:])
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or ":" in parts[0]:
        raise ValueError(f"{path!r} is not a path below the page's folder")
    return escape(quote(path))
