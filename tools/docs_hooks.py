"""What the documentation site takes from the repository when ``mkdocs`` builds it, so that nothing is written twice.

- ``<!-- options: package.module.Class -->`` becomes the table of the options of that request, with those of the command
  line, ``<!-- fields: package.module.Class -->`` the same without.
- ``<!-- card: NAME -->`` becomes the model card of ``Resources/Models/NAME``.
- Links that lead out of ``docs/`` lead to the repository; pictures of ``Resources/`` become part of the site.
"""

from __future__ import annotations

import importlib
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medddpm.options import options_table
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ("Resources/Screenshots/*.png", "Resources/Models/*/*.png")
LINK = re.compile(r"(!?\[[^\]]*\]\()((?!https?:|#|mailto:)[^)#\s]+)(#[^)]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pictures of ``Resources/``, under the same path."""
    for pattern in PICTURES:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with its tables and cards, and links that work on the site."""
    for name, make in (("options", options), ("fields", table), ("card", card)):
        markdown = re.sub(rf"<!-- {name}: (\S+) -->", _called(make), markdown)
    here = posixpath.join("docs", posixpath.dirname(page.file.src_uri))
    return LINK.sub(lambda found: _link(found, here, page.file.src_uri, config.repo_url), markdown)


def options(where: str) -> str:
    """The table of the options of a request."""
    return options_table(_class(where))


def table(where: str) -> str:
    """The table of the options of a section of a configuration file."""
    return options_table(_class(where), command_line=False)


def card(name: str) -> str:
    """A model card, one level of headings lower, with links as from ``docs/``."""
    folder = ROOT / "Resources" / "Models" / name
    text = re.sub(r"^#", "##", (folder / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return LINK.sub(lambda found: f"{found[1]}../Resources/Models/{name}/{found[2]}{found[3] or ''}{found[4]}", text)


def _called(make: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
    return lambda found: make(found[1])


def _class(where: str) -> type:
    module, _, name = where.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _link(found: re.Match[str], here: str, source: str, repository: str) -> str:
    """A link as it must be on the site: to a page, to a picture of ``Resources/``, or into the repository."""
    target = posixpath.normpath(posixpath.join(here, found[2]))
    if target.startswith("docs/"):
        return found[0]
    if found[1].startswith("!"):
        return f"{found[1]}{posixpath.relpath(target, posixpath.dirname(source) or '.')}{found[4]}"
    return f"{found[1]}{repository.rstrip('/')}/blob/main/{target}{found[3] or ''}{found[4]}"
