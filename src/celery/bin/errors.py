"""What goes wrong for reasons the user can mend is one line, not a traceback."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celery.brokers.base import BrokerError
from celery.brokers.registry import UnknownTransport
from celery.exceptions import (
    BackendError,
    EncodeError,
    ImproperlyConfigured,
    OperationalError,
    ResumeError,
    SecurityError,
)
from celery.platforms import EX_FAILURE, LockFailed
from celery.utils.imports import NotAPackage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

#: Errors whose message says what happened, where and what to do.
EXPECTED = (
    ImproperlyConfigured,
    OperationalError,
    BackendError,
    EncodeError,
    ResumeError,
    SecurityError,
    BrokerError,
    UnknownTransport,
    NotAPackage,
    LockFailed,
)
#: Our own folder: frames in it do not help to find a mistake in the user's files.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextmanager
def shown_as_one_line() -> Iterator[None]:
    """Print expected errors of the block as `Error: ...` and exit with 1; others pass."""
    try:
        yield
    except EXPECTED as error:
        _end(str(error))
    except NotImplementedError as error:
        # What the broker or the result backend in use cannot do, or that there is none.
        if users_frames(error) is not None:
            raise
        _end(" ".join(str(error).split()))
    except BrokenPipeError:
        # Whoever read our output has gone (`celery ... | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EX_FAILURE)
    except ModuleNotFoundError as error:
        # One that the user's own module imports is shown with its traceback.
        if users_frames(error) is not None:
            raise
        _end(
            f"{error}. A setting or an option names it (imports, include, -I, --config, result_backend, ...)."
        )
    except OSError as error:
        if error.filename is None or users_frames(error) is not None:
            raise
        _end(f"{error.filename}: {error.strerror}")


def _end(text: str) -> None:
    # Not sys.stderr: in a worker that is the log by now.
    print(f"Error: {text.strip()}", file=sys.__stderr__, flush=True)
    sys.exit(EX_FAILURE)


def users_frames(error: BaseException) -> TracebackType | None:
    """The traceback of `error` from the user's own code on; None if none of it is the user's.

    Frames of this package, of the import system and of the program's launcher are not.
    """
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_machinery(filename: str) -> bool:
    return (
        filename.startswith((_PACKAGE, "<frozen "))
        or filename == importlib.__file__
        or f"{os.sep}click{os.sep}" in filename
        or f"{os.sep}logging{os.sep}" in filename
        or filename == sys.argv[0]
    )
