"""Whether a thread is in the user's code at this moment.

A soft time limit must be raised in the body of a task: not while we decode its arguments, and not while we store
its result, where an exception would lose what the task has done. And what waits to be stored may be stored from
within a signal handler only if the interrupted code is not itself in the middle of storing or sending. Both are
told from the stack: a frame that is neither ours nor the standard library's is the user's.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from celery.app import coroutines

if TYPE_CHECKING:
    from types import FrameType

_OURS = os.path.dirname(os.path.dirname(__file__)) + "/"
_STDLIB = os.path.dirname(os.__file__) + "/"
_INSTALLED = ("/site-packages/", "/dist-packages/")
#: Client libraries that we call and that call nobody back: being in them means being in the middle of our I/O.
_CLIENTS = ("/kombu/", "/amqp/", "/redis/", "/sqlalchemy/")

#: Runs the private loop of a task that is a coroutine.
_LOOP = coroutines.run.__code__.co_filename

USERS, OURS, NEUTRAL = "users", "ours", "neutral"


@lru_cache(maxsize=4096)
def owner_of(filename: str) -> str:
    """Whose code a file is: `USERS`, `OURS` or `NEUTRAL` (the standard library, generated code of it)."""
    if filename.startswith(_OURS):
        return OURS
    if any(part in filename for part in _INSTALLED):
        return OURS if any(part in filename for part in _CLIENTS) else USERS
    if filename.startswith(("<frozen ", _STDLIB)):
        return NEUTRAL
    return USERS


def in_body(frame: FrameType | None, root: str) -> bool:
    """Whether a task's body is running: a frame of the user's lies above the last frame of file `root`."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename == root:
            return False
        if owner_of(filename) is USERS:
            return True
        frame = frame.f_back
    return False


def in_plain_body(frame: FrameType | None) -> bool:
    """Whether a task's body is running, or waits as a coroutine, and nothing of ours is in the midst of its work."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename == _LOOP:
            return True
        owner = owner_of(filename)
        if owner is not NEUTRAL:
            return owner is USERS
        frame = frame.f_back
    return False
