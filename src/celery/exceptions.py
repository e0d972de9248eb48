"""Every exception and warning of the package: one tree, one docstring each.

Stock Celery takes some of these from kombu (`OperationalError`, `EncodeError`, ...) and billiard (the time
limits, `WorkerLostError`, `Terminated`). Here they are classes of ours; `celery._foreign` makes instances that
are *also* of the foreign class in programs that have imported it, so that either `except` clause catches them.
"""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

__all__ = (  # noqa: F822 - CeleryCommandException is made on first use, see __getattr__
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleryCommandException",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "ContentDisallowed",
    "DecodeError",
    "DuplicateNodenameWarning",
    "DuplicateTaskNameWarning",
    "EncodeError",
    "FixupWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotConfigured",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "ResumeError",
    "Retry",
    "SecurityError",
    "SecurityWarning",
    "SoftTimeLimitExceeded",
    "SoftTimeLimitException",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
    "reraise",
)


def reraise(
    tp: type[BaseException] | None, value: BaseException, tb: TracebackType | None = None
) -> NoReturn:
    """Raise `value`, with traceback `tb` if that is not already its own.

    Args:
        tp: the exception's class; not needed, kept because callers pass `sys.exc_info()`.
    """
    if value.__traceback__ is not tb:
        raise value.with_traceback(tb)
    raise value


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001 - a broken repr must not hide the error being reported
        return f"<Unrepresentable {type(value)!r}: {exc!r}>"


# -- warnings


class CeleryWarning(UserWarning):
    """Base of all warnings."""


class AlwaysEagerIgnored(CeleryWarning):
    """`send_task` sends even though `task_always_eager` is set."""


class DuplicateNodenameWarning(CeleryWarning):
    """Several workers answer by the same node name."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two different functions are registered as tasks of one name."""


class FixupWarning(CeleryWarning):
    """A framework fix-up found something it does not understand."""


class NotConfigured(CeleryWarning):
    """No configuration was found although one was expected."""


class SecurityWarning(CeleryWarning):
    """What is being done may be dangerous."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """Is deprecated."""


# -- errors


class CeleryError(Exception):
    """Base of most errors."""


class ImproperlyConfigured(CeleryError):
    """A setting is missing, contradictory or of no use."""


class SecurityError(CeleryError):
    """Something was refused because it is not safe."""


class OperationalError(Exception):
    """The broker could not be reached, or did not take a message, within its deadline."""


class SerializationError(Exception):
    """A value could not be made into bytes, or bytes into a value.

    The classes below are kombu's by origin: pickles name them so (see `celery._foreign`).
    """


class EncodeError(SerializationError):
    """A value cannot be written by the serializer asked for."""


class DecodeError(SerializationError):
    """The bytes are not what their content type says."""


class ContentDisallowed(SerializationError):
    """The content type is not in `accept_content`."""


class TaskPredicate(CeleryError):
    """Base of what a task raises to say what shall become of it."""


class Ignore(TaskPredicate):
    """Raised by a task: acknowledge the message, store and call nothing."""


class Reject(TaskPredicate):
    """Raised by a task with late acknowledgement: reject the message.

    Args:
        reason: what to log.
        requeue: offer the message again rather than set it aside.
    """

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class Retry(TaskPredicate):
    """Raised by `Task.retry()`: the task will run again.

    Args:
        message: text for people; made from the rest if None.
        exc: why, an exception or its text.
        when: seconds from now, or the time, of the next run.
        is_eager: the task ran by `apply()` and the caller runs it again.
        sig: the signature of the next run.
    """

    #: Text for people, None if made from the rest.
    message: str | None = None
    #: The exception that caused the retry, None if only its text was given.
    exc: BaseException | None = None
    #: Seconds from now, or a time.
    when: float | datetime | None = None

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        self.message = message
        self.exc, self.excs = (None, exc) if isinstance(exc, str) else (exc, _safe_repr(exc) if exc else None)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(**kwargs)

    @property
    def args(self) -> tuple[Any, ...]:  # type: ignore[override]  # read-only on purpose
        """As Celery's: the exception itself, the cause, the time. Computed, so that there is no cycle."""
        return (self, self.exc or self.excs, self.when)

    def humanize(self) -> str:
        """`in 10s`, or `at 2026-01-01 00:00:00`."""
        if isinstance(self.when, numbers.Number):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __repr__(self) -> str:
        return f"Retry(Retry(...), {self.exc or self.excs!r}, {self.when!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exc, self.when)


RetryTaskError = Retry


class TaskError(CeleryError):
    """Base of errors about tasks."""


class QueueNotFound(KeyError, TaskError):
    """A queue was named that is not configured, and `task_create_missing_queues` is off."""


class IncompleteStream(TaskError):
    """A stream of data ended early."""


class NotRegistered(KeyError, TaskError):
    """No task of this name is known here."""

    def __repr__(self) -> str:
        return f"Task of kind {self} never registered, please make sure it's imported."


class AlreadyRegistered(TaskError):
    """A task of this name exists already."""


class TimeoutError(TaskError):  # noqa: A001 - the public name
    """The result was not there in time."""


class MaxRetriesExceededError(TaskError):
    """The task was retried as often as it may be.

    Args:
        task_args, task_kwargs: what the task was called with (keyword only).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args: Any = kwargs.pop("task_args", [])
        self.task_kwargs: Any = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskError):
    """The task was revoked, has expired or was terminated."""


class InvalidTaskError(TaskError):
    """The message is not one of a task, or lacks something."""


class ChordError(TaskError):
    """A member of the chord failed, or the chord could not be completed."""


class BackendError(Exception):
    """The result store failed."""


class BackendGetMetaError(BackendError):
    """A result could not be read.

    Args:
        task_id: whose (keyword only).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_id: str = kwargs.get("task_id", "")
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} task_id:{self.task_id}"


class ResumeError(CeleryError):
    """A workflow cannot be resumed; the message says why."""


class BackendStoreError(BackendError):
    """A result could not be stored.

    Args:
        state, task_id: which result (keyword only).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: str = kwargs.get("state", "")
        self.task_id: str = kwargs.get("task_id", "")
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} state:{self.state} task_id:{self.task_id}"


# -- the ends of processes and runs


class SoftTimeLimitExceeded(Exception):
    """The soft time limit passed. Raised inside the task, which may catch it and clean up."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args!r}"


#: What some tutorials call it.
SoftTimeLimitException = SoftTimeLimitExceeded


class TimeLimitExceeded(Exception):
    """The hard time limit passed and the run was killed."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args!r}"


class WorkerLostError(Exception):
    """The process that ran the task ended under it."""


class Terminated(Exception):
    """The run was killed on request."""


class WorkerTerminate(SystemExit):
    """The worker shall end now."""


SystemTerminate = WorkerTerminate


class WorkerShutdown(SystemExit):
    """The worker shall end when its tasks have."""


def _command_exception() -> type[Exception]:
    # click is too heavy to import for a class that only the command line needs.
    import click  # noqa: PLC0415 - see above

    class CeleryCommandException(click.ClickException):
        """A command failed: printed as one line, the process ends with `exit_code`."""

        def __init__(self, message: str, exit_code: int) -> None:
            super().__init__(message=message)
            self.exit_code = exit_code  # type: ignore[misc]  # as click documents

        def __reduce__(self) -> tuple[Any, ...]:
            return type(self), (self.message, self.exit_code)

    CeleryCommandException.__qualname__ = "CeleryCommandException"
    return CeleryCommandException


def __getattr__(name: str) -> Any:
    if name == "CeleryCommandException":
        return globals().setdefault(name, _command_exception())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
