"""Another computer, reached by the program ssh of this one."""

from __future__ import annotations

import contextlib
import queue
import re
import shlex
import subprocess
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, MedDDPMError
from ..version import __version__

# No questions: what asks for a password is refused. A connection that is silent for half a minute counts as lost.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=10")
CONNECTION_LOST = 255  # what ssh exits with where the connection, not the command, failed
CALL_SECONDS = 60.0
_HOST = re.compile(r"[\w.@%\[\]-]+")


class ConnectionLost(MedDDPMError):  # noqa: N818 - a state of affairs, told in a sentence
    """The other computer does not answer. Exit code 5; a job that had begun there goes on."""


@dataclass(frozen=True)
class Host:
    """Another computer: ``name`` as ssh takes it (host, user@host, or a name of ssh's configuration), and the
    ``command`` that is the package there.
    """

    name: str
    command: str = "medddpm"

    @classmethod
    def of(cls, text: str) -> Host:
        """The computer that HOST or HOST:COMMAND names.

        Raises InputError for what ssh would take for an option, or a shell for more.
        """
        name, _, command = text.strip().partition(":")
        if not _HOST.fullmatch(name) or name.startswith("-"):
            raise InputError(f"'{text}' is not a host. Write it as HOST, USER@HOST or HOST:COMMAND.", option="on")
        return cls(name, command or "medddpm")

    def start(self, script: str, **pipes: Any) -> subprocess.Popen[bytes]:
        """Run a shell script there. Raises InputError where this computer has no ssh."""
        try:
            return subprocess.Popen([*SSH, self.name, script], **pipes)
        except OSError as exc:
            raise InputError(f"OpenSSH cannot be started here ({exc.strerror}). Install the program ssh.") from exc

    def call(self, script: str) -> str:
        """What a short shell script prints there.

        Raises ConnectionLost where the host does not answer, InputError where the script fails.
        """
        process = self.start(script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, errors = process.communicate(timeout=CALL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise ConnectionLost(f"{self.name} does not answer. Check the network and try again.") from None
        if process.returncode:
            raise self.refusal(process.returncode, errors)
        return out.decode("utf-8", "replace")

    def refusal(self, code: int, errors: bytes) -> MedDDPMError:
        """The error for a script that ended with ``code``."""
        last = (errors.decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1]
        if code == CONNECTION_LOST:
            return ConnectionLost(f"{self.name} cannot be reached: {last}. Check that 'ssh {self.name}' works.")
        return InputError(f"On {self.name} something failed: {last}.", option="on")

    def prepared(self) -> str:
        """The absolute path of the spool folder there, made if need be.

        Raises InputError with what is missing: the package, PyTorch, this version, room on the disk.
        """
        version = shlex.join([self.command, "--version"])
        found = self.call(
            'umask 077; s="${XDG_CACHE_HOME:-$HOME/.cache}/medddpm/jobs"; mkdir -p "$s" && cd "$s" && '
            f'echo "spool=$(pwd -P)"; echo "version=$({version} 2>&1 | tail -n 1)"'
        )
        told = dict(line.split("=", 1) for line in found.splitlines() if line.startswith(("spool=", "version=")))
        if "spool" not in told:
            raise InputError(
                f"On {self.name} no folder for jobs can be made. Check the disk and its permissions there."
            )
        version, _, torch = told.get("version", "").removeprefix("medddpm ").partition(", ")
        if not re.fullmatch(r"\d[\w.+]*", version):
            raise InputError(
                f"On {self.name} the command {self.command} does not work ({version or 'no answer'}). Install MedDDPM "
                "there, or name the command with its path as HOST:COMMAND.",
                option="on",
            )
        if version != __version__:
            raise InputError(f"{self.name} has MedDDPM {version}, this computer {__version__}. Install the same there.")
        if not torch.startswith("PyTorch"):
            raise InputError(f"MedDDPM on {self.name} lacks PyTorch. Install it there with: pip install torch")
        return told["spool"]


def read_lines(stream: Any, lines: queue.Queue[bytes | None]) -> None:
    """Put the lines of ``stream`` into the queue, and None at its end; a last line may be broken off."""
    with contextlib.suppress(OSError, ValueError):
        rest = b""
        while block := stream.read(65536):
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                lines.put(line + b"\n")
    lines.put(None)
