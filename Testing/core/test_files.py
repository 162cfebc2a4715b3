"""What is no ordinary file is refused at once, wherever a file is named; texts have a plausible size."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from medddpm.cli.commands import app
from medddpm.cli.console import ConsoleReporter
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.files import csv_text, open_regular, read_text, sha256, write_text
from medddpm.geometry.io import content_hash, read_geometry, read_volume, require_survivable
from medddpm.models.places import find_model, list_models
from medddpm.models.published import read_published
from medddpm.models.registry import read_model_folder
from medddpm.synthesis.names import case_names
from model_files import write_models
from rich.console import Console
from typer.testing import CliRunner
from volume_files import nrrd_bytes, write_any

pytestmark = [
    pytest.mark.timeout(60),  # opening a pipe waits for a writer
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have names on POSIX systems"),
]


@pytest.fixture(params=("pipe", "folder", "device", "link to a pipe"))
def strange(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path that opens like a file and is none."""
    path = tmp_path / "strange"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "pipe")
        path.symlink_to("pipe") if request.param == "link to a pipe" else (tmp_path / "pipe").rename(path)
    return path


def test_texts_and_hashes_are_of_ordinary_files(strange: Path) -> None:
    for read in (read_text, sha256, content_hash):
        with pytest.raises(InputError, match=r"strange is not an ordinary file but a folder, pipe or device"):
            read(strange)


@pytest.mark.parametrize(
    "arguments",
    (
        ["check", "{}.nii.gz", "--model", "demo"],
        ["synth", "{}.nii.gz", "--out", "{}-out"],
        ["synth", "{}", "--out", "{}-out"],
        ["prepare", "{}-scans", "{}-out", "--table", "{}"],
        ["prepare", "{}-scans", "{}-out", "--scheme", "{}.json"],
        ["train", "{}.toml"],
    ),
    ids=lambda arguments: " ".join(arguments[:2]) + arguments[-1],
)
def test_commands_refuse_pipes(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "x-scans").mkdir()
    for ending in ("", ".nii.gz", ".json", ".toml"):
        os.mkfifo(tmp_path / f"x{ending}")
    result = CliRunner().invoke(app, [part.format(tmp_path / "x") for part in arguments])
    code = result.exception.exit_code if isinstance(result.exception, MedDDPMError) else result.exit_code
    assert code == 2, result.output


def test_reading_is_cancelled_between_blocks(tmp_path: Path) -> None:
    """By whatever runs the job or the command."""
    for ending in (".nii", ".nii.gz", ".mgh", ".mgz"):
        write_any(tmp_path / f"a{ending}", np.ones((4, 5, 6), np.uint8), np.eye(4))
    longer = tmp_path / "longer.nrrd"
    longer.write_bytes(nrrd_bytes({"encoding": "gzip"}, {}, gzip.compress(bytes(211))))
    write_models(tmp_path)
    works: list[Callable[[], object]] = [
        *(partial(read_volume, tmp_path / f"a{ending}") for ending in (".nii", ".nii.gz", ".mgh", ".mgz")),
        partial(read_geometry, longer),
        partial(read_published, tmp_path / "zip.pt"),
        partial(read_model_folder, tmp_path / "folder"),
        partial(content_hash, longer),
        partial(require_survivable, [longer]),
    ]
    for work in works:
        work()
        with ConsoleReporter(Console(quiet=True)) as reporter:
            reporter.cancel()
            with pytest.raises(Cancelled):
                work()


def test_texts_are_read_with_and_without_a_mark_and_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffä\n".encode())
    assert read_text(path) == "ä\n"
    path.write_bytes(b"x" * 11)
    with pytest.raises(InputError, match=r"The list .*a.txt has more than 10 bytes"):
        read_text(path, "The list", 10)
    path.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_text(path)
    for missing in (tmp_path / "none", Path("a\0b")):
        with pytest.raises(InputError, match="cannot be read"):
            read_text(missing)


def test_an_ordinary_file_is_opened_through_a_link_only_where_links_may_be(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("x", encoding="utf-8")
    (tmp_path / "link").symlink_to("own")
    os.close(open_regular(tmp_path / "link"))
    with pytest.raises(InputError, match="is a link"):
        open_regular(tmp_path / "link", links=False)


def test_many_masks_of_one_name_and_names_that_are_no_text_get_names_at_once() -> None:
    start = time.process_time()
    names = case_names([Path(f"{'A' if i % 2 else 'a'}/m_1.nii.gz") for i in range(8000)])
    assert time.process_time() - start < 5
    assert len({name.casefold() for name in names}) == 8000
    assert case_names([Path(os.fsdecode(b"k\xff\n.nii.gz"))]) == ["k__"]


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final, synced = tmp_path / "a.txt", []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((os.fstat(file).st_ino, final.exists())))
    write_text(final, "whole")
    assert synced == [(final.stat().st_ino, False)]


@pytest.mark.parametrize("start", ("=", "+", "-", "@", "\t", "\r", "\n", "\t=", " =", "\uff1d", "\x1b="))
def test_no_text_of_a_table_is_a_formula(start: str) -> None:
    text = f'{start}1+HYPERLINK("x";"y")'
    table = csv_text([["name", "value"], [text, -0.5], [f"a,;{text}", None]])
    for separator in ",;":  # the second is that of spreadsheets where a comma is in numbers
        cells = [cell for row in csv.reader(table.splitlines(), delimiter=separator) for cell in row]
        begun = {unicodedata.normalize("NFKC", cell).strip()[:1] for cell in cells if cell != "-0.5"}
        assert not begun & set("=+-@") and all(map(str.isprintable, cells))
    assert table.splitlines()[1].endswith(",-0.5") and "HYPERLINK" in table


@pytest.mark.parametrize("ending", (".nii.gz", ".nrrd", ".mha", ".mgz"))
def test_a_file_whose_name_is_no_text_is_read_or_refused(tmp_path: Path, ending: str) -> None:
    write_any(tmp_path / f"a{ending}", np.ones((4, 5, 6), np.uint8), np.eye(4))
    try:
        path = (tmp_path / f"a{ending}").rename(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff" + ending.encode()))
    except OSError:
        pytest.skip("this file system takes no such names")
    script = "import sys; from medddpm.geometry.io import read_mask; from medddpm.errors import InputError\n"
    script += "try: print(read_mask(sys.argv[1]).volume.shape)\nexcept InputError as exc: print(ascii(exc))"
    ran = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and ("(4, 5, 6)" in ran.stdout or "is not UTF-8 text" in ran.stdout), ran.stderr


def test_a_folder_does_not_shadow_a_model_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_model("demo") == list_models()["demo"]
    assert find_model("./demo") == Path("demo")
