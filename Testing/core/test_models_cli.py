"""``medddpm models`` as a person runs it: a process with its output and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from medddpm import __file__ as package
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.models.published import whole_head_config
from medddpm.models.registry import load_model, save_model_folder
from medddpm.network.unet import UNet3D
from medddpm.sampling.schedule import cosine_betas
from patience import patient
from small_models import draw

TINY = NetworkConfig(1, 2, 32, (1,), 1)


def run(*arguments: str | Path, models: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``python -m medddpm.cli`` with UTF-8 output; ``models`` is a folder of models known by name."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(package).parents[1]),
        "PYTHONIOENCODING": "utf-8",
        "OMP_NUM_THREADS": "1",
        "MEDDDPM_MODELS": str(models or ""),
        "COLUMNS": "1000",  # each row of a table in one line
    }
    command = [sys.executable, "-m", "medddpm.cli", "models", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=patient(30)
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, a model folder of hostile names, a damaged file and one that runs code."""
    place = tmp_path_factory.mktemp("Modelle mit Lücke 模型")
    torch.manual_seed(0)
    weights = UNet3D(TINY).state_dict()
    state = {f"denoise_fn.{name}": tensor for name, tensor in weights.items()}
    state["betas"] = torch.from_numpy(cosine_betas(12)).float()
    torch.save({"step": 1, "model": state, "ema": state}, place / "published.pt")
    config = replace(whole_head_config(TINY, ScheduleConfig(30)), name="[/] [red]\x1b[31m", intended_use="[link=x]y")
    save_model_folder(place / "folder", config, weights, torch.float16)
    (place / "broken.pt").write_bytes((place / "published.pt").read_bytes()[:-2000])
    return place


def test_list_shows_every_model_and_what_is_wrong_with_it(place: Path) -> None:
    result = run("list", models=place)
    assert (result.returncode, result.stderr) == (0, "")
    lines = {words[0]: line for line in result.stdout.splitlines() if len(words := line.split()) > 2}
    assert "128 x 128 x 128 at 1.5 x 1.5 x 1.5 mm, RAS" in lines["published"]
    assert "T1ce" in lines["folder"] and str(place / "folder") in lines["folder"]
    assert "unusable" in lines["broken"] and "Download it again" in lines["broken"]


@pytest.mark.slow
def test_inspect_tells_what_a_model_is_and_shows_its_names_as_they_are(place: Path) -> None:
    result = run("inspect", "folder", models=place)
    assert (result.returncode, result.stderr) == (0, "")
    for words in ("T1ce", "1 Head; 2 Tumor", "30 steps, predicts noise", "GPL-3.0", "0.4 million parameters"):
        assert words in result.stdout
    assert "[/] [red]?[31m" in result.stdout and "[link=x]y" in result.stdout and "\x1b" not in result.stdout


@pytest.mark.slow
def test_convert_makes_a_folder_that_predicts_the_same(place: Path, tmp_path: Path) -> None:
    target = tmp_path / "neues Modell ä"
    result = run("convert", place / "published.pt", target)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"Wrote {target}: Med-DDPM whole head, T1ce.\n"
    x = draw("cli/x", (1, 3, 8, 8, 8))
    before, after = (
        load_model(path).predict_noise(x[:, :1], x[:, 1:], torch.tensor([4]))
        for path in (place / "published.pt", target)
    )
    assert torch.equal(before, after)
    again = run("convert", place / "published.pt", target)
    assert again.returncode == 2
    assert again.stderr == f"Error: {target} already contains a model. Choose another folder or remove it first.\n"


@pytest.mark.slow
def test_nothing_is_written_when_the_source_is_bad(place: Path, tmp_path: Path) -> None:
    result = run("convert", place / "broken.pt", tmp_path / "target")
    assert result.returncode == 2 and not (tmp_path / "target").exists()
    assert result.stderr == f"Error: {place / 'broken.pt'} is a damaged or incomplete archive. Download it again.\n"


@pytest.mark.slow
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f'echo ran > "{tmp_path / "ran"}"',)

    torch.save({"ema": Evil()}, tmp_path / "evil.pt")
    result = run("inspect", tmp_path / "evil.pt")
    assert result.returncode == 2 and not (tmp_path / "ran").exists()
    assert "possibly code" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect", "nowhere"], "The model 'nowhere' does not exist: no such file or folder"),
        (["inspect"], "Missing argument"),
        (["surprise"], "No such command"),
    ],
)
def test_wrong_use_is_exit_code_2_and_a_sentence(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(("debug", "shown"), [(False, ""), (True, "INFO medddpm.jobs a ?detail\n")])
def test_what_goes_to_the_log_of_a_job_is_not_shown_on_the_terminal(debug: bool, shown: str) -> None:
    script = (
        f"import logging; from medddpm.cli.root import root; root(version=False, debug={debug});"
        "logging.getLogger('medddpm').setLevel(logging.INFO); logging.getLogger('medddpm.jobs').info('a \\x1bdetail')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == shown
