"""The errors that reach a person, each with the exit code of the job contract.

Every message is one or more plain sentences: what is wrong, where, which value, what to do.
Technical detail belongs in the log (``raise InputError(...) from exc`` keeps it there).
"""

from __future__ import annotations


class MedDDPMError(Exception):
    """Base of all errors whose text is meant for the user. Exit code 5 (internal), unless another is given."""

    exit_code = 5

    def __init__(self, message: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


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
