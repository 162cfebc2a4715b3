"""Which tests run, and how long they may take.

Without arguments the slow tests are left out, and parsers get few mutated files. ``--all`` runs everything; so does
naming files, or choosing with -k or -m.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from patience import patient

# With this folder on the path, Testing/slicer would be taken for a part of the package slicer.
sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]

os.environ.setdefault("PYTEST_TIMEOUT", str(patient(60)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", dest="all_tests", help="run the slow tests as well")


def pytest_configure(config: pytest.Config) -> None:
    """Decided by the process that was started; those that xdist starts get its options and variables."""
    if hasattr(config, "workerinput"):
        return
    option = config.option
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    option.all_tests = option.all_tests or named or bool(option.keyword or option.markexpr)
    os.environ.setdefault("MEDDDPM_FUZZ_INPUTS", "120" if option.all_tests else "10")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.all_tests:
        return
    slow = [item for item in items if is_slow(item)]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not is_slow(item)]


def is_slow(item: pytest.Item) -> bool:
    """Whether it is marked ``slow``; of a parametrized test, ``slow(but="id")`` leaves one case to the fast ones."""
    marker = item.get_closest_marker("slow")
    return marker is not None and item.name.partition("[")[2] != f"{marker.kwargs.get('but')}]"
