"""The sessions of noxfile.py, on stand-ins for the programs that they run."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT


def nox(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nox", "--session", "slicer", "--", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)


def test_without_a_slicer_its_tests_are_skipped_with_a_clear_line(tmp_path: Path) -> None:
    result = nox(MEDDDPM_SLICER="", PATH=str(tmp_path))
    assert result.returncode == 0
    assert "no 3D Slicer. Give its path: nox -s slicer -- /path/to/Slicer" in result.stderr


def test_a_wrong_path_to_slicer_is_an_error(tmp_path: Path) -> None:
    result = nox(str(tmp_path / "Slicer"))
    assert result.returncode != 0
    assert f"There is no program {tmp_path / 'Slicer'}" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Slicer is a shell script")
@pytest.mark.parametrize("code", [0, 1])
def test_slicer_gets_the_modules_the_tests_and_the_paths_of_the_clone(tmp_path: Path, code: int) -> None:
    program = tmp_path / "Slicer"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "$PYTHONPATH" "$MEDDDPM_TEST_OUT"\nexit {code}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    variables = {"DISPLAY": ":0", "MEDDDPM_TEST_OUT": str(tmp_path / "out"), "PYTHONPATH": "before"}
    result = nox(str(program), "--no-main-window", **variables)
    assert result.returncode == code, result.stderr
    modules = [str(ROOT / name) for name in ("MedDDPMSynth", "MedDDPMTraining", "SegmentEditorMedDDPM")]
    assert result.stdout.splitlines() == [
        *("--testing", "--no-splash", "--additional-module-paths", *modules, "--no-main-window"),
        *("--python-script", str(ROOT / "Testing/slicer/run_all.py")),
        os.pathsep.join([str(ROOT / "MedDDPMCore"), str(ROOT / "MedDDPMSlicer"), "before"]),
        str(tmp_path / "out"),
    ]
    assert (tmp_path / "out").is_dir()


def test_the_stable_environment_takes_the_pins_of_the_other_but_for_slicer() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert {"slicer-core", "vtk"} <= set(re.findall(r"^([\w-]+)==", text, re.MULTILINE))
    (pinned,) = re.findall(r"^PINNED_OTHERWISE = (.+)$", (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE)
    assert pinned == '("slicer-core==", "vtk==")'
