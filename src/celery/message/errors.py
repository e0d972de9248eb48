"""What is wrong with a message."""

from __future__ import annotations

from celery.exceptions import InvalidTaskError


class MalformedMessage(InvalidTaskError):
    """The message cannot be read as a task. Trying again won't help: set it aside.

    Attributes:
        reason: what is wrong, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UndecodableBody(MalformedMessage):
    """The body is not what its content type says, or of a type that is not accepted."""


class UnknownMessage(MalformedMessage):
    """The message is of no protocol: it is no task at all."""


def why(exc: BaseException) -> str:
    """One line about an exception, not too long to log."""
    return " ".join((str(exc) or type(exc).__name__).split())[:300]
