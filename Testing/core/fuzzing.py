"""Mutated files in processes of their own, which may die or hang: every parser ends in a value or one of our errors."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from medddpm.errors import MedDDPMError
from patience import patient

SECONDS, MEMORY = 10, 3 * 2**30  # of the processor, and of memory: what an input of some kilobytes may take at most
NUMBERS = (b"-1", b"0", b"1", b"7", b"1000", b"2147483648", b"99999999999999999999", b"1e400", b"nan", b"inf", b"0x10")
PIECES = (
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b":",
    b":=",
    b"=",
    b"(",
    b")",
    b"#",
    b"{",
    b"[",
    b'"',
    b"\xff\xfe",
    b"%s%n",
    b"../",
)


def mutated(data: bytes, rng: random.Random, words: tuple[bytes, ...]) -> bytes:
    """``data`` with one to six changes of the kinds that break parsers."""
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 30, 200)))
        changed: tuple[bytes, ...] = (
            bytes([rng.randrange(256)]),
            bytes(rng.randrange(256) for _ in range(end - at)),
            b"",
            data[at:end] * rng.choice((2, 3, 50)),
            rng.choice(NUMBERS),
            rng.choice(PIECES),
            rng.choice(words),
            bytes([rng.choice(b"Ay7 (")]) * rng.choice((40, 300, 1200, 70_000)),
        )
        kind = rng.randrange(len(changed) + 1)
        if kind == len(changed):  # another number
            found = [i for i in range(at, len(data)) if data[i : i + 1].isdigit()][:1]
            at, end = (found[0], found[0] + 1) if found else (at, end)
            data = data[:at] + rng.choice(NUMBERS) + data[end:]
        else:
            data = data[:at] + changed[kind] + data[at if kind in (4, 5, 6, 7) and rng.random() < 0.5 else end :]
    return data


def failures(
    read: Callable[[Path], object], path: Path, seeds: Mapping[str, bytes], count: int, seed: int = 0
) -> Iterator[str]:
    """What went wrong with ``count`` mutants of ``seeds``, each written to ``path`` plus its seed's name and read."""
    rng = random.Random(seed)
    found = {word for data in seeds.values() for word in data[:4000].split() if 2 < len(word) < 40}
    words = tuple(sorted(found)) or (b"0",)
    for number in range(count):
        name = sorted(seeds)[number % len(seeds)]
        file = path.with_name(f"{path.name}{name}")
        file.write_bytes(mutated(seeds[name], rng, words))
        if found := _problem(read, file):
            kept = path.with_name(f"failed-{number}{name}")
            file.rename(kept)
            yield f"{kept}: {found}"


def _problem(read: Callable[[Path], object], file: Path) -> str:
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        _read_alone(read, file, tell)
    os.close(tell)
    ended, deadline = 0, time.monotonic() + patient(SECONDS)
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0 if ended else 0.001)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return said if os.WEXITSTATUS(status) else ""


def _read_alone(read: Callable[[Path], object], file: Path, tell: int) -> None:
    """In the child: read, say what is no error of ours, and end without any clean-up."""
    code = 0
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        read(file)
    except MedDDPMError:
        pass
    except BaseException:
        os.write(tell, traceback.format_exc(limit=-6).encode()[-4000:])
        code = 1
    os._exit(code)
