"""How a job can end: the exit codes of the job contract and a sentence for the user for every exception."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..errors import FREE_SPACE, Cancelled, MedDDPMError, OutOfMemory, Paused
from .events import State

EXIT_DONE, EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_OUT_OF_MEMORY, EXIT_INTERNAL = 0, 2, 3, 4, 5

EXIT_SENTENCES = {
    EXIT_DONE: "The job is done.",
    EXIT_BAD_INPUT: "The job cannot be done with this input. Correct what the message names and submit it again.",
    EXIT_CANCELLED: "The job was cancelled.",
    EXIT_OUT_OF_MEMORY: (
        "There was not enough memory for this job. Close other programs, ask for fewer samples at a time, "
        "or choose a smaller model, a lower precision or another device."
    ),
    EXIT_INTERNAL: "Something unexpected went wrong in MedDDPM. Please report it together with the job's log.txt.",
}

_NO_SPACE = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_MEMORY_WORDS = ("not enough memory", "out of memory", "defaultcpuallocator", "alloc_failed", "cannot allocate memory")


@dataclass(frozen=True)
class Outcome:
    """The end of a run: its state, exit code and sentence. ``option`` and ``path``: see ``MedDDPMError``."""

    event: State
    exit_code: int
    message: str
    option: str = ""
    path: str = ""


def outcome_of(error: BaseException) -> Outcome:
    """What to tell the user of an exception. Never a traceback: that belongs in the log."""
    if isinstance(error, Cancelled | KeyboardInterrupt):
        state = State.PAUSED if isinstance(error, Paused) else State.CANCELLED
        return Outcome(state, EXIT_CANCELLED, str(error) or EXIT_SENTENCES[EXIT_CANCELLED])
    if isinstance(error, MedDDPMError):
        sentence = str(error) or EXIT_SENTENCES[error.exit_code]
        return Outcome(State.FAILED, error.exit_code, sentence, error.option, error.path)
    if is_out_of_memory(error):
        return Outcome(State.FAILED, EXIT_OUT_OF_MEMORY, EXIT_SENTENCES[EXIT_OUT_OF_MEMORY])
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("medddpm"):
        sentence = f"The Python package '{error.name}' is not installed here. Install it with pip and try again."
        return Outcome(State.FAILED, EXIT_INTERNAL, sentence)
    if isinstance(error, OSError) and error.errno is not None:
        return Outcome(State.FAILED, EXIT_BAD_INPUT, _file_sentence(error), path=str(error.filename or ""))
    sentence = f"{EXIT_SENTENCES[EXIT_INTERNAL]} (It was a {type(error).__name__}.)"
    return Outcome(State.FAILED, EXIT_INTERNAL, sentence)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the computer or the device ran out, in any of the ways Python and torch tell it.

    torch is not imported for this: its CUDA error is known by its name, its CPU allocator's by its text.
    """
    if isinstance(error, OutOfMemory | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if any(base.__name__ == "OutOfMemoryError" for base in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _MEMORY_WORDS)


def _file_sentence(error: OSError) -> str:
    name = f"{error.filename}" if error.filename else "A file of the job"
    if error.errno in _NO_SPACE:
        return f"{name} could not be written because the disk is full. {FREE_SPACE}"
    return f"{name} could not be read or written: {error.strerror}. Check that it exists and that you may use it."
