"""A synthesis on another computer: by OpenSSH's own server on the loopback address, and by a stand-in for ssh."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from medddpm import errors
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.jobs import host as hosts
from medddpm.jobs import remote
from medddpm.jobs.events import State
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.handlers import default_handlers
from medddpm.jobs.host import ConnectionLost, Host
from medddpm.jobs.preview import GRID_NAME
from medddpm.jobs.runner import run_job
from medddpm.jobs.stop import Stop
from medddpm.progress import SilentReporter
from medddpm.training.resume import open_run
from medddpm.training.run import RunFolder
from medddpm.training.runner import run_training
from medddpm.training.sections import MonitorConfig
from medddpm.version import __version__
from patience import patient
from safetensors.torch import load_file
from synthesis_phantoms import save_tiny, voxels
from synthesis_runs import Recorder, run_command, synthesize
from training_runs import make_dataset, tiny_config

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
STAND_IN = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
if [ -e "{home}/down" ]; then echo "connect to host $1: Connection refused" >&2; exit 255; fi
shift
HOME="{home}" XDG_CACHE_HOME="{cache}" exec sh -c "$1"
"""
CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/key.pub
PidFile none
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv XDG_CACHE_HOME={cache}
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the other computer is this one, which needs a shell")


@dataclass
class Computer:
    """The other computer: ``on`` as the option takes it; its jobs lie in ``spool``; ``down`` cuts it off."""

    on: str
    home: Path
    spool: Path

    @property
    def jobs(self) -> list[str]:
        return [path.name for path in self.spool.iterdir() if path.is_dir()] if self.spool.is_dir() else []

    @property
    def down(self) -> Path:
        return self.home / "down"


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def stop_worker(spool: Path) -> None:
    """The worker that serves the spool ends, as it would by itself later."""
    owner = spool / "worker.json"
    if owner.exists():
        os.kill(json.loads(owner.read_text())["pid"], 9)


def put_on_path(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script(folder / "ssh", text)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def command(home: Path) -> Path:
    core = Path(errors.__file__).parents[1]
    run = f'PYTHONPATH="{core}" OMP_NUM_THREADS=1 exec "{sys.executable}" -m medddpm.cli "$@"'
    return script(home / "medddpm", f"#!/bin/sh\n{run}\n")


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Computer]:
    """One that the stand-in for ssh leads to."""
    home = tmp_path / "its home"
    home.mkdir()
    put_on_path(home, STAND_IN.format(home=home, cache=home / "cache"), monkeypatch)
    made = Computer(f"box:{command(home)}", home, home / "cache/medddpm/jobs")
    yield made
    stop_worker(made.spool)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Computer]:
    """One behind a real OpenSSH server of this user."""
    if not Path(SSHD).exists() or shutil.which("ssh") is None:
        pytest.skip("there is no OpenSSH server here")
    home, real = tmp_path / "home", shutil.which("ssh")
    home.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which the system's service would make
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (home / "sshd_config").write_text(CONFIG.format(port=port, home=home, cache=home / "cache"))
    options = f'-p {port} -i "{home}/key" -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR'
    put_on_path(home, f'#!/bin/sh\nexec {real} -F none {options} "$@"\n', monkeypatch)
    sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", home / "sshd_config"], stderr=subprocess.DEVNULL)
    until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None)
    made = Computer(f"127.0.0.1:{command(home)}", home, home / "cache/medddpm/jobs")
    yield made
    sshd.kill()
    sshd.wait()
    stop_worker(made.spool)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + patient(seconds)
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be stopped on its way."""
    return save_tiny(tmp_path_factory.mktemp("models") / "slow", steps=250)


@pytest.mark.slow
def test_the_results_are_those_of_this_computer(server: Computer, tiny: Path, mask: Path, tmp_path: Path) -> None:
    """By a real server; masks of equal names, one of which cannot be used."""
    other = tmp_path / "other" / "brain.nii.gz"
    other.parent.mkdir()
    other.write_bytes(b"no image")
    options = {"samples": 2, "steps": 3, "device": "cpu", "precision": "fp32"}
    local, reporter = Recorder(), Recorder()
    here = synthesize([mask, other], tmp_path / "here", tiny, local, **options)
    reporter = Recorder()
    there = synthesize([mask, other], tmp_path / "there", tiny, reporter, on=server.on, **options)
    assert [result.state for result in there] == [result.state for result in here] == ["done", "failed"]
    assert str(other) in there[1].message and "cache" not in there[1].message
    names = sorted(path.name for path in here[0].folder.iterdir())
    assert names == sorted(path.name for path in there[0].folder.iterdir())
    for one, two in zip(sorted(here[0].folder.glob("*.nii.gz")), sorted(there[0].folder.glob("*.nii.gz")), strict=True):
        np.testing.assert_array_equal(voxels(one)[0], voxels(two)[0])
    assert [path.name for path in there[0].sheets] == [path.name for path in here[0].sheets]
    assert {"connect", "send", "sample", "fetch"} <= set(reporter.stages) and reporter.steps[-1] == local.steps[-1]
    assert server.jobs == []
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [there[0].folder.name]


@pytest.mark.slow
def test_a_job_folder_shows_what_happens_there(computer: Computer, slow: Path, mask: Path, tmp_path: Path) -> None:
    request = {"masks": [str(mask)], "model": str(slow), "steps": 250, "on": computer.on, "device": "cpu"}
    job = JobFolder(tmp_path / "job")
    job.create(request)
    assert run_job(job, default_handlers()) == 0
    events = job.events()[0]
    assert [e.event for e in events if e.event in ("started", "done")] == ["started", "done"]
    assert any(e.event == "preview" for e in events) and job.state() is State.DONE
    assert json.loads((job.path / GRID_NAME).read_text())["case"] == "brain"
    assert (job.outputs / "brain/provenance.json").is_file()
    assert not (job.path / "inputs").exists() and computer.jobs == []


@pytest.mark.slow
def test_a_lost_connection_loses_nothing(
    computer: Computer, slow: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shortly, it is waited for; for long, the same command again fetches what went on there."""
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.1)

    class Cut(Recorder):
        def step(self, done: int, total: int, preview: object = None) -> None:
            super().step(done, total)
            if (
                self.stages[-1] == "sample"
                and not computer.down.exists()
                and not any("lost" in w for w in self.warnings)
            ):
                computer.down.touch()
                subprocess.run(["pkill", "-f", "tail -c .* -f events.jsonl"], check=False)

        def warning(self, sentence: str) -> None:
            super().warning(sentence)
            if back and "lost" in sentence:
                computer.down.unlink()

    back = True
    reporter = Cut()
    [result] = synthesize(mask, tmp_path / "out", slow, reporter, on=computer.on, steps=250, device="cpu")
    assert result.state == "done" and sum("was lost" in sentence for sentence in reporter.warnings) == 1
    back = False
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.5)
    with pytest.raises(ConnectionLost, match="goes on there"):
        synthesize(mask, tmp_path / "again", slow, Cut(), on=computer.on, steps=250, seed=1, device="cpu")
    assert len(computer.jobs) == 1
    computer.down.unlink()
    reporter = Recorder()
    [result] = synthesize(mask, tmp_path / "again", slow, reporter, on=computer.on, steps=250, seed=1, device="cpu")
    assert result.state == "done" and "send" not in reporter.stages and computer.jobs == []


@pytest.mark.slow
def test_what_is_cancelled_ends_there_and_leaves_nothing(
    computer: Computer, slow: Path, mask: Path, tmp_path: Path
) -> None:
    with pytest.raises(Cancelled):
        synthesize(mask, tmp_path / "out", slow, Recorder(stop_after=8), on=computer.on, steps=250, device="cpu")
    until(lambda: computer.jobs == [])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("echo 'medddpm: command not found' >&2; exit 127", "the command .* does not work .*HOST:COMMAND"),
        ("echo medddpm 0.0.1, PyTorch 2.0", f"has MedDDPM 0.0.1, this computer {re.escape(__version__)}"),
        (f"echo medddpm {__version__}, no PyTorch", "lacks PyTorch"),
    ],
)
def test_what_is_missing_there_is_said(
    computer: Computer, mask: Path, tiny: Path, tmp_path: Path, answer: str, expected: str
) -> None:
    other = script(computer.home / "other", f"#!/bin/sh\n{answer}\n")
    with pytest.raises(InputError, match=expected):
        synthesize(mask, tmp_path / "out", tiny, on=f"box:{other}")
    assert computer.jobs == []


def test_a_host_that_is_down_or_full_is_a_sentence(
    computer: Computer, mask: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.down.touch()
    with pytest.raises(ConnectionLost, match=r"box cannot be reached: .*Connection refused"):
        synthesize(mask, tmp_path / "out", tiny, on=computer.on)
    computer.down.unlink()
    script(computer.home / "tar", "#!/bin/sh\ncat >/dev/null; echo 'tar: No space left on device' >&2; exit 2\n")
    with pytest.raises(InputError, match="No space left"):
        synthesize(mask, tmp_path / "out", tiny, on=computer.on)
    assert computer.jobs == []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="Install the program ssh"):
        Host.of("box").call("true")


@pytest.mark.parametrize("text", ["-oProxyCommand=x", "a b", "a;b", "$(x)", "", ":x"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a host"):
        Host.of(text)


def test_a_host_that_says_nothing_is_given_up(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "CALL_SECONDS", 0.2)
    with pytest.raises(ConnectionLost, match="does not answer"):
        Host.of("box").call("exec sleep 30")


def test_only_what_was_asked_for_is_taken_from_there(computer: Computer, tmp_path: Path) -> None:
    """A host that sends links, paths that lead elsewhere, or files nobody asked for."""
    hostile = tmp_path / "hostile"
    (hostile / "outputs").mkdir(parents=True)
    (hostile / "outputs/good.txt").write_text("good")
    (hostile / "outputs/link").symlink_to("/etc/passwd")
    (hostile / "extra").write_text("x")
    (tmp_path / "outside").write_text("x")
    archive = tmp_path / "archive.tar"
    subprocess.run(["tar", "-cPf", archive, "-C", hostile, "outputs", "extra", "../outside"], check=True)
    script(computer.home / "tar", f'#!/bin/sh\ncat >/dev/null; cat "{archive}"\n')
    job = JobFolder(tmp_path / "job")
    made = job.create({"on": "box"})
    (computer.spool / "x").mkdir(parents=True)
    there = remote.Elsewhere(Host.of("box"), str(computer.spool), made)
    Path(there._path).mkdir()
    into = tmp_path / "into"
    there.fetch(into, "outputs")
    assert sorted(path.name for path in into.rglob("*")) == ["good.txt", "outputs"]


def test_results_that_break_off_are_no_results(computer: Computer, tmp_path: Path) -> None:
    """Not even where the other side says that all was well."""
    script(computer.home / "tar", "#!/bin/sh\ncat >/dev/null; head -c 700 /dev/urandom\n")
    made = JobFolder(tmp_path / "job").create({"on": "box"})
    there = remote.Elsewhere(Host.of("box"), str(computer.spool), made)
    Path(there._path).mkdir(parents=True)
    with pytest.raises(ConnectionLost, match="broke off"):
        there.fetch(tmp_path / "into", "outputs")


def test_detached_headers_are_not_sent_alone(computer: Computer, tmp_path: Path) -> None:
    header = tmp_path / "mask.mhd"
    header.touch()
    made = JobFolder(tmp_path / "job").create({"on": "box", "masks": [str(header)]})
    with pytest.raises(MedDDPMError, match="voxels in another file"):
        remote.Elsewhere(Host.of("box"), "/spool", made)


# --- trainings --------------------------------------------------------------------------------------------------------


class Console(SilentReporter):
    """Asks the run to pause, or cuts the connection, when so many iterations are done."""

    def __init__(self, at: int, do: Callable[[], None]) -> None:
        self.at, self.do, self.stages, self.verdicts = at, do, [], []

    def stage(self, name: str, message: str = "") -> None:
        self.stages.append(name)

    def verdict(self, kind: str, sentence: str) -> None:
        self.verdicts.append(kind)

    def step(self, done: int, total: int, preview: object = None) -> None:
        if done >= self.at:
            self.at = 10**9
            self.do()


def training(tmp_path: Path, on: str, iterations: int) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    if not (tmp_path / "set").exists():
        make_dataset(tmp_path / "set")
    monitor = MonitorConfig(validate_every=20, sample_every=0, log_every=10, neighbors=False, tensorboard=False)
    run.create(tiny_config(tmp_path / "set", on=on, iterations=iterations, monitor=monitor))
    return run


@pytest.mark.slow
def test_a_training_computes_there_pauses_and_goes_on(computer: Computer, tmp_path: Path) -> None:
    run = training(tmp_path, computer.on, 400)
    console = Console(60, run.request_pause)
    assert run_training(run, Stop(), console=console) == 3
    assert run.state() is State.PAUSED and computer.jobs == []
    assert {"connect", "send", "train", "validate", "fetch"} <= set(console.stages)
    first = run.summary().iteration
    assert 60 <= first < 400 and run.model.is_dir() and list(run.checkpoints.glob("step-*.pt"))
    open_run(run.path, changes={"iterations": first + 20, "on": ""})
    assert run_training(run, Stop()) == 0 and computer.jobs == []  # here, without anything sent
    open_run(run.path, changes={"iterations": first + 30, "on": computer.on})
    assert run_training(run, Stop(), console=Console(10**9, print)) == 0
    assert run.state() is State.DONE and computer.jobs == []
    assert run.summary().iteration == first + 30
    steps = [metric["iteration"] for metric in run.metrics.newest_first() if metric["kind"] == "train"]
    assert len(steps) == len(set(steps)) and min(steps) <= 10  # one course, of both turns
    here = training(tmp_path / "here", "", first + 30)
    assert run_training(here, Stop()) == 0
    one, other = (load_file(made.model / "model.safetensors") for made in (run, here))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_training_goes_on_there_while_the_connection_is_lost(
    computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.3)
    run = training(tmp_path, computer.on, 120)

    def cut() -> None:
        computer.down.touch()
        subprocess.run(["pkill", "-f", "tail -c .* -f events.jsonl"], check=False)

    assert run_training(run, Stop(), console=Console(20, cut)) == 5
    assert "goes on there" in (run.recent_events()[-1].message or "") and len(computer.jobs) == 1
    computer.down.unlink()
    console = Console(10**9, print)
    assert run_training(run, Stop(), console=console) == 0
    assert "send" not in console.stages and run.summary().iteration == 120 and computer.jobs == []


@pytest.mark.slow
def test_a_training_that_fails_there_says_why(computer: Computer, tmp_path: Path) -> None:
    run = training(tmp_path, computer.on, 10)
    case = tmp_path / "set" / "cases" / "case0.safetensors"
    case.write_bytes(b"damaged")
    assert run_training(run, Stop()) == 2
    message = run.recent_events()[-1].message or ""
    assert message.startswith("On box: ") and str(case) in message and "cache" not in message and computer.jobs == []


def test_the_command_needs_no_packages_of_training_here(
    computer: Computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    computer.down.touch()
    run = training(tmp_path, computer.on, 10)
    monkeypatch.setattr("medddpm.cli.train.importlib.util.find_spec", lambda name: None)
    assert run_command(monkeypatch, "train", run.path) == 5
    assert "box cannot be reached" in capsys.readouterr().err
    other = training(tmp_path / "other", "", 10)
    assert run_command(monkeypatch, "train", other.path) == 2
    assert "medddpm[train]" in capsys.readouterr().err
