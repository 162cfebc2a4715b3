"""The errors that reach a person, each with the exit code of the job contract.

Every message is one or more plain sentences: what is wrong, where, which value, what to do.
Technical detail belongs in the log (``raise InputError(...) from exc`` keeps it there).
"""

from __future__ import annotations


class MedDDPMError(Exception):
    """Base of all errors whose text is meant for the user. Exit code 5 (internal), unless another is given.

    ``option``: the field of the request that helps. The sentence does not say how it is called: the command line adds
    its option, Slicer its widget, Python its keyword (a note of the exception). ``path``: the file in the sentence that
    was to be written, in place of which Slicer, whose user does not know it, has words.
    """

    exit_code = 5

    def __init__(self, message: str = "", exit_code: int | None = None, *, option: str = "", path: object = "") -> None:
        super().__init__(message)
        self.option, self.path = option, str(path)
        if exit_code is not None:
            self.exit_code = exit_code
        if option:
            self.add_note(f"See the keyword {option}.")


# What helps where a file cannot be written; who has chosen no folder (in Slicer) gets other advice in its place.
FREE_SPACE = "Free space or choose another folder."


class InputError(MedDDPMError):
    """A file, value or option given by the user cannot be used. Exit code 2."""

    exit_code = 2


class Cancelled(MedDDPMError):  # noqa: N818 - a request that was honoured, not a fault
    """The user asked to stop. Exit code 3."""

    exit_code = 3


class Paused(Cancelled):
    """Work that can go on later was asked to pause. Exit code 3."""


class OutOfMemory(MedDDPMError):  # noqa: N818 - named as the user reads it
    """The device has too little memory for the request. Exit code 4."""

    exit_code = 4
