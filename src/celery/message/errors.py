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
