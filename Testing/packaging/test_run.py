"""run.py: which tests run with which Slicer, how two runs become one summary, and what it does without a Slicer."""

from __future__ import annotations

import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT, python

RUN = runpy.run_path(str(ROOT / "run.py"), run_name="run")
ONCE = ["-m", "not processes"]


@pytest.mark.parametrize(
    ("arguments", "second"),
    [
        ([], ["Testing/scene", *ONCE]),
        (["-x", "-k", "ddim"], ["Testing/scene", *ONCE, "-x", "-k", "ddim"]),
        (["Testing", "-x"], ["Testing/scene", *ONCE, "-x"]),
        (["Testing/scene"], ["Testing/scene", *ONCE]),
        (["Testing/core/test_sampling.py", "-k", "ddim"], None),
        (["Testing/packaging/test_run.py::test_second_run"], None),
    ],
)
def test_second_run(arguments: list[str], second: list[str] | None) -> None:
    assert RUN["stable_arguments"](arguments) == second


def test_a_single_scene_test_runs_with_both_versions(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "Testing" / "scene").mkdir(parents=True)
    (tmp_path / "Testing" / "scene" / "test_x.py").touch()
    monkeypatch.setitem(RUN["stable_arguments"].__globals__, "ROOT", tmp_path)
    assert RUN["stable_arguments"](["-v", "Testing/scene/test_x.py::test_y"]) == [
        "Testing/scene/test_x.py::test_y",
        *ONCE,
        "-v",
    ]


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("....\n3 passed in 0.12s\n", "3 passed in 0.12s"),
        (
            "\x1b[31m==== \x1b[1m1 failed\x1b[0m, 2 passed in 61.00s (0:01:01) ====\x1b[0m\n",
            "1 failed, 2 passed in 61.00s (0:01:01)",
        ),
        ("no tests ran in 0.01s\r\n", "no tests ran in 0.01s"),
        ("Traceback: something took 3 s\n", ""),
    ],
)
def test_the_line_that_counts_the_tests_is_found(printed: str, line: str) -> None:
    assert RUN["last_line"](printed) == line


def test_the_summary_adds_the_runs_up() -> None:
    runs = [("new", 0, "5 passed, 1 skipped in 2.50s"), ("old", 1, "1 failed, 2 passed in 1.25s"), ("other", 4, "")]
    assert RUN["summary"](runs).splitlines() == [
        "new: 5 passed, 1 skipped in 2.50s",
        "old: 1 failed, 2 passed in 1.25s",
        "other: ended early with exit code 4",
        "7 passed, 1 skipped, 1 failed in 3.75s",
    ]


@pytest.mark.parametrize(
    ("codes", "code"), [([0, 0], 0), ([0, 1], 1), ([2, 0], 2), ([0, 5], 0), ([5, 0], 0), ([5, 5], 5), ([5, 3], 3)]
)
def test_a_failure_in_either_run_is_a_failure(codes: list[int], code: int) -> None:
    assert RUN["combined"](codes) == code


def test_pytest_output_is_shown_and_its_counts_are_kept(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text("def test_a():\n    pass\n\n\ndef test_b():\n    assert False\n")
    code = (
        "import runpy, sys; from pathlib import Path; run = runpy.run_path('run.py', run_name='run');"
        "names = run['pytest'].__globals__; names['BIN'] = Path(sys.executable).name;"
        "folder = Path(sys.executable).parent;"
        "print(run['pytest'](folder, ['-p', 'no:cacheprovider', '-c', sys.argv[1], sys.argv[2]]))"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    result = python("-c", code, str(tmp_path / "pytest.ini"), str(tmp_path / "test_two.py"))
    assert "FAILED" in result.stdout
    assert re.search(r"^\(1, '1 failed, 1 passed in [\d.]+s'\)$", result.stdout, re.MULTILINE), result.stdout


def test_the_stable_environment_takes_the_pins_of_the_other_but_for_slicer(tmp_path: Path, monkeypatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setitem(RUN["set_up_stable"].__globals__, "ROOT", tmp_path)
    monkeypatch.setitem(RUN["set_up_stable"].__globals__, "installed", lambda *a: calls.append(a) or True)
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\nslicer-core==5.13.31053.0\nvtk==9.6.2\nzipp==4.1.2\n")
    assert RUN["set_up_stable"]()
    (venv, _, _, needs) = calls[0]
    assert isinstance(venv, Path) and venv.name == ".venv-slicer-5.12"
    assert isinstance(needs, tuple) and needs[0] == "-c" and "slicer-core==5.12.4.0" in needs and "torch" not in needs
    assert Path(needs[1]).read_text() == "numpy==2.4.6\nzipp==4.1.2\n"


def test_run_py_and_pyproject_know_the_same_platforms_of_slicer_core() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.findall(r"slicer-core>=5\.12; .*sys_platform == '(\w+)' and platform_machine == '(\w+)'", text)
    assert tuple(found) == RUN["SLICER_CORE"]


# --- 3D Slicer ------------------------------------------------------------------------------------------------------


def test_without_a_slicer_its_tests_are_skipped_with_a_clear_line(tmp_path: Path) -> None:
    result = python("run.py", "slicer", MEDDDPM_SLICER="", PATH=str(tmp_path))
    assert result.returncode == 0
    assert result.stdout == "Skipped: no 3D Slicer. Give its path: python3 run.py slicer /path/to/Slicer\n"


def test_a_wrong_path_to_slicer_is_an_error(tmp_path: Path) -> None:
    result = python("run.py", "slicer", str(tmp_path / "Slicer"))
    assert result.returncode == 2
    assert str(tmp_path / "Slicer") in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Slicer is a shell script")
@pytest.mark.parametrize("code", [0, 1])
def test_slicer_gets_the_modules_the_tests_and_the_paths_of_the_clone(tmp_path: Path, code: int) -> None:
    program = tmp_path / "Slicer"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "$PYTHONPATH" "$MEDDDPM_TEST_OUT"\nexit {code}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    variables = {"DISPLAY": ":0", "MEDDDPM_TEST_OUT": str(tmp_path / "out"), "PYTHONPATH": "before"}
    result = subprocess.run(
        [sys.executable, "run.py", "slicer", str(program), "--no-main-window"],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert result.returncode == code
    modules = [str(ROOT / name) for name in ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")]
    assert result.stdout.splitlines()[1:-1] == [
        *("--testing", "--no-splash", "--additional-module-paths", *modules, "--no-main-window"),
        *("--python-script", str(ROOT / "Testing/slicer/run_all.py")),
        os.pathsep.join([str(ROOT / "MedDDPMCore"), str(ROOT / "MedDDPMSlicer"), "before"]),
        str(tmp_path / "out"),
    ]
    assert (tmp_path / "out").is_dir()
    assert ("passed" in result.stdout.splitlines()[-1]) == (code == 0)
