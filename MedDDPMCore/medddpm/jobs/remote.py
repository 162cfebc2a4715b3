"""A job on another computer: its folder goes there by OpenSSH, its events come back, and at the end its results.

The other computer needs an account that ssh reaches without asking anything (a key), a POSIX shell with tar, and this
version of the package. There is no server: the job is put into a spool folder in the account's cache folder, and a
worker (``medddpm worker``) that ends by itself takes it. When the connection is lost, the job goes on there.
"""

from __future__ import annotations

import contextlib
import io
import json
import queue
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Cancelled, InputError, MedDDPMError
from ..files import atomic_path, open_blocks
from ..progress import Reporter
from .events import FINAL, Event, State
from .folder import Job, JobFolder
from .host import ConnectionLost, Host, read_lines
from .outcome import EXIT_SENTENCES
from .preview import GRID_NAME, read_preview

SILENT_SECONDS = 20.0  # after which a worker is started again: the former one may be gone
RETRY_SECONDS, PAUSE_SECONDS = 600.0, 5.0
IDLE_SECONDS, PATIENCE_SECONDS = 120, 3.0
_DETACHED = (".nhdr", ".mhd", ".hdr")


def run_elsewhere(folder: JobFolder, reporter: Reporter) -> None:
    """Run the job of ``folder`` on the host that its request names in ``on``; the results come to its ``outputs``.

    All files that the request names are sent. Progress, warnings and previews are told to ``reporter`` as those of a
    job here. A job that is there already, because the connection was lost, is followed further. When it has ended or
    is cancelled, or its results cannot be written here, nothing of it stays there. Raises what ``Host`` does,
    Cancelled, and MedDDPMError with the sentence and exit code that it ended with there.
    """
    job = folder.read()
    host = Host.of(job.request["on"])
    reporter.stage("connect", f"Connecting to {host.name}")
    there = Elsewhere(host, host.prepared(), job)
    try:
        there.submit(reporter)
        end = there.followed(folder, reporter)
        reporter.stage("fetch", f"Fetching the results from {host.name}")
        there.fetch(folder.path, "outputs", GRID_NAME)
    except (Cancelled, InputError):
        with contextlib.suppress(MedDDPMError):
            there.cancel()
        raise
    there.remove()
    if end.event == State.CANCELLED:
        raise Cancelled(f"The job was cancelled on {host.name}.")
    if end.event != State.DONE:
        code = end.exit_code or 5
        message = there.in_local_words(end.message or EXIT_SENTENCES.get(code, EXIT_SENTENCES[5]))
        raise MedDDPMError(message, code, option=end.option or "")


class Elsewhere:
    """One job in the ``spool`` of a host. ``carried``: of its own folder, what is sent with it."""

    def __init__(self, host: Host, spool: str, job: Job, carried: Sequence[Path] = ()) -> None:
        self.host = host
        self._spool = spool
        name = f"{int(job.created * 1e9):020d}-{job.id}"  # the same for every try
        self._path, self._hidden = f"{spool}/{name}", f"{spool}/.new-{name}"
        self._files: dict[str, Path] = {}  # path there -> path here
        self._carried = [(f"{self._path}/{path.name}", path) for path in carried]
        request = {name: self._there(value) for name, value in job.request.items() if name != "on"}
        self._job = replace(job, request=request)
        self._last: np.ndarray | None = None

    def in_local_words(self, text: str) -> str:
        """A sentence from there, with the paths that the files have here."""
        for there, here in self._files.items():
            text = text.replace(there, str(here))
        return text

    def submit(self, reporter: Reporter) -> None:
        """Send the job unless it is there, and start a worker."""
        if "yes" not in self.host.call(f"test -d {shlex.quote(self._path)} && echo yes || echo no"):
            sent = [*self._files.items(), *self._carried]
            files = [(f"{there}{inner}", file) for there, here in sent for inner, file in _within(here)]
            size = sum(file.stat().st_size for _, file in files)
            reporter.stage("send", f"Sending {size / 1e6:.1f} MB to {self.host.name}")
            self._send(files, reporter)
        self._start_worker()

    def _there(self, value: Any) -> Any:
        """A value of the request with the paths that its files have there."""
        if isinstance(value, (list, tuple)):
            return [self._there(one) for one in value]
        if not isinstance(value, str):
            return value
        before, equals, rest = value.partition("=")
        text, head = (rest, before + equals) if equals and Path(rest).is_absolute() else (value, "")
        path = Path(text)
        if not (text and path.is_absolute() and path.exists()):
            return value
        if path.suffix.lower() in _DETACHED:
            raise InputError(f"{path} has its voxels in another file. Save it as .nii.gz, .nrrd or .mha to send it.")
        # Results are called by the mask, and by its folder where several masks have one name.
        parent = path.resolve().parent.name or "root"
        there = f"{self._path}/inputs/{len(self._files) + 1:04d}/{parent}/{path.name}"
        self._files[there] = path
        return head + there

    def _send(self, files: list[tuple[str, Path]], reporter: Reporter) -> None:
        new, final = shlex.quote(self._hidden), shlex.quote(self._path)
        taken = f"mkdir {new} && tar -xf - -C {new} && mv {new} {final}"
        script = f"umask 077; rm -rf {new}; {taken} || {{ rm -rf {new}; exit 1; }}"
        process = self.host.start(script, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        pipe, errors = process.stdin, process.stderr
        assert pipe is not None and errors is not None
        try:
            with contextlib.suppress(BrokenPipeError), pipe, tarfile.open(fileobj=pipe, mode="w|") as tar:
                text = json.dumps(asdict(self._job)).encode("ascii")
                _add(tar, "job.json", len(text), io.BytesIO(text))
                _add(tar, "events.jsonl", 0, None)
                for number, (there, here) in enumerate(files, 1):
                    with open_blocks(here) as stream:
                        _add(tar, there.removeprefix(self._path + "/"), here.stat().st_size, stream)
                    reporter.step(number, len(files))
        except BaseException:
            process.kill()
            raise
        finally:
            said = errors.read()
            errors.close()
            process.wait()
        if process.returncode:
            raise self.host.refusal(process.returncode, said)

    def _start_worker(self) -> None:
        """Start a worker there; where one serves the spool already, it ends at once."""
        worker = shlex.join([self.host.command, "worker", self._spool, "--idle-seconds", str(IDLE_SECONDS)])
        self.host.call(f"umask 077; nohup {worker} >/dev/null 2>&1 </dev/null &")

    def followed(self, folder: JobFolder, reporter: Reporter) -> Event:
        """Tell ``reporter`` what happens there until the job ends; the last event."""
        offset, lost = 1, None
        while True:
            try:
                for line in self._lines(offset, reporter):
                    offset, lost = offset + len(line), None
                    event = Event.from_line(line)
                    if event is not None and event.event in FINAL and event.event != State.INTERRUPTED:
                        return event
                    if event is not None:
                        self._tell(event, folder, reporter)
            except ConnectionLost as exc:
                if lost is None:
                    lost = time.monotonic()
                    reporter.warning(f"The connection to {self.host.name} was lost. The job goes on; trying again.")
                if time.monotonic() - lost > RETRY_SECONDS:
                    raise ConnectionLost(
                        f"{self.host.name} has not answered for some minutes. The job goes on there: start it again to "
                        "fetch its results."
                    ) from exc
                until = time.monotonic() + PAUSE_SECONDS
                while time.monotonic() < until:
                    reporter.check_cancelled()
                    time.sleep(0.1)

    def _lines(self, offset: int, reporter: Reporter) -> Iterator[bytes]:
        """Whole lines of the job's events from byte ``offset`` (the first is 1) on, as they come; without an end."""
        # Without a terminal nothing tells tail that the connection has ended, but its neighbor's input ends then.
        script = f"cd {shlex.quote(self._path)} && (tail -c +{offset} -f events.jsonl & t=$!; cat >/dev/null; kill $t)"
        process = self.host.start(
            script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        assert process.stdin is not None and process.stdout is not None
        lines: queue.Queue[bytes | None] = queue.Queue()
        thread = threading.Thread(target=read_lines, args=(process.stdout, lines), daemon=True)
        thread.start()
        heard = time.monotonic()
        try:
            while True:
                reporter.check_cancelled()
                with contextlib.suppress(queue.Empty):
                    line = lines.get(timeout=0.2)
                    if line is None or not line.endswith(b"\n"):
                        raise ConnectionLost("the connection has ended")
                    heard = time.monotonic()
                    yield line
                if time.monotonic() - heard > SILENT_SECONDS:
                    heard = time.monotonic()
                    self._start_worker()
        finally:
            process.stdin.close()  # on which all ends there
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=PATIENCE_SECONDS)
            process.kill()
            process.wait()
            thread.join()
            process.stdout.close()

    def _tell(self, event: Event, folder: JobFolder, reporter: Reporter) -> None:
        message = self.in_local_words(event.message or "")
        if event.event == "stage" and event.stage:
            reporter.stage(event.stage, message)
        elif event.event == "step":
            reporter.step(event.step or 0, event.total or 0)
        elif event.event == "preview" and event.path:
            reporter.step(event.step or 0, event.total or 0, self._preview(event.path, folder))
        elif event.event == "warning":
            reporter.warning(message)
        elif event.event == "verdict" and event.stage:
            reporter.verdict(event.stage, message)

    def _preview(self, name: str, folder: JobFolder) -> Callable[[], np.ndarray]:
        def picture() -> np.ndarray:
            with tempfile.TemporaryDirectory() as into, contextlib.suppress(MedDDPMError, OSError):
                if not folder.inside(GRID_NAME).exists():
                    self.fetch(folder.path, GRID_NAME)
                self.fetch(Path(into), name)
                self._last = read_preview(Path(into) / Path(name).name)
            if self._last is None:
                raise InputError("No preview could be fetched.")
            return self._last

        return picture

    def fetch(self, into: Path, *names: str) -> None:
        """Copy files and folders of the job, as far as they are there, to ``into``; each is whole or not there.

        Nothing but ordinary files is taken, and nothing outside of what was asked for. Raises ConnectionLost where not
        all came, and InputError where it cannot be written.
        """
        there = f'for n in {shlex.join(names)}; do test -e "$n" && echo "$n"; done'
        script = f"cd {shlex.quote(self._path)} && {there} | tar -cf - -T -"
        process = self.host.start(script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        whole = False
        try:
            with contextlib.suppress(tarfile.ReadError), tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    parts = Path(member.name).parts
                    if not member.isfile() or ".." in parts or not parts or parts[0] not in names:
                        continue
                    source = tar.extractfile(member)
                    assert source is not None
                    with atomic_path(into / member.name) as temporary, temporary.open("wb") as stream:
                        shutil.copyfileobj(source, stream)
                whole = True
        finally:
            process.stdout.close()
            errors = process.stderr.read()
            process.stderr.close()
            process.wait()
        if process.returncode:
            raise self.host.refusal(process.returncode, errors)
        if not whole:
            raise ConnectionLost(f"The results from {self.host.name} broke off. Start the job again to fetch them.")

    def cancel(self) -> None:
        """Stop the job there and remove it, at the latest after some seconds: before, its process would write on."""
        self.stop()
        self.remove()

    def stop(self) -> None:
        """Ask the job there to stop, and wait up to 20 seconds until it has."""
        ended = "i=0; while test -e claim.json && test $i -lt 100; do sleep 0.2; i=$((i+1)); done"
        self.host.call(f"if cd {shlex.quote(self._path)}; then : > cancel; {ended}; fi")

    def remove(self) -> None:
        """Leave nothing of the job there. Its worker may be giving up its claim in it, hence the second try."""
        deleted = f"rm -rf {shlex.quote(self._path)} {shlex.quote(self._hidden)}"
        self.host.call(f"{deleted} || {{ sleep 1; {deleted}; }}")


def _within(path: Path) -> list[tuple[str, Path]]:
    """The ordinary files of a file or folder: what to add to its own path, and the file."""
    if path.is_file():
        return [("", path)]
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return [(f"/{file.relative_to(path).as_posix()}", file) for file in files]


def _add(tar: tarfile.TarFile, name: str, size: int, stream: Any) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    tar.addfile(entry, stream)
