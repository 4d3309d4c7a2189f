"""Errors that a user can mend: one sentence that names the file or key and the way out."""

from __future__ import annotations

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_RERUN = 75  # stopped with saved state: run the same command again


class SoftlabelsError(Exception):
    """A failure with a cause outside the code; the command line prints it as one line."""

    exit_code = EXIT_ERROR


class SpecError(SoftlabelsError):
    """A grid, scale or configuration that cannot be used; the message names file and key."""

    exit_code = EXIT_USAGE


def require(condition: bool, message: str) -> None:
    """Refuse a spec whose values do not go together.

    Raises:
        SpecError: the condition does not hold.
    """
    if not condition:
        raise SpecError(message)


class DataError(SoftlabelsError):
    """Data that are missing, damaged or of another shape than declared."""


class Stopped(SoftlabelsError):
    """A job was asked to stop and has saved its state; `progressed`: it has come further than it was."""

    exit_code = EXIT_RERUN

    def __init__(self, message: str, progressed: bool = True) -> None:
        super().__init__(message)
        self.progressed = progressed
