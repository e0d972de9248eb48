"""Messages and context managers that are mocks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

from celery.utils import uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery.canvas import Signature

__all__ = ("ContextMock", "TaskMessage", "TaskMessage1", "task_message_from_sig")


def TaskMessage(  # noqa: N802, RUF100 - Celery's name
    name: str,
    id: str | None = None,  # noqa: A002 - Celery's name
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """A mock with headers, body and payload of a task message of protocol 2.

    Args:
        id: default: a new one.
        utc: has no place in this protocol.
        **options: more headers.
    """
    task_id = id or uuid()
    embed = {"callbacks": callbacks, "errbacks": errbacks, "chain": chain}
    payload = (args, kwargs or {}, embed)
    message = Mock(name=f"TaskMessage-{task_id}")
    message.headers = {"id": task_id, "task": name, "shadow": shadow, **options}
    return _filled(message, payload)


def TaskMessage1(  # noqa: N802, RUF100 - Celery's name
    name: str,
    id: str | None = None,  # noqa: A002 - Celery's name
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    **options: Any,
) -> Any:
    """A mock with the body of a task message of protocol 1, which has no headers and knows no chains.

    Args:
        id: default: a new one.
        **options: more fields of the body.
    """
    task_id = id or uuid()
    payload = {
        "task": name,
        "id": task_id,
        "args": args,
        "kwargs": kwargs or {},
        "callbacks": callbacks,
        "errbacks": errbacks,
        **options,
    }
    message = Mock(name=f"TaskMessage-{task_id}")
    message.headers = {}
    return _filled(message, payload)


def _filled(message: Any, payload: Any) -> Any:
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.payload = payload
    message.body = json.dumps(payload)
    return message


def task_message_from_sig(
    app: Any, sig: Signature[Any], utc: bool = True, TaskMessage: Callable[..., Any] = TaskMessage
) -> Any:
    """The mock message of a signature's call: its task id is chosen now, countdown and expiry become times.

    Args:
        app: whose time counts.
        TaskMessage: makes the message; `TaskMessage1` for protocol 1.
    """
    sig.freeze()
    options = dict(sig.options)
    countdown = options.pop("countdown", None)
    eta = _seconds_from_now(app, countdown) if countdown else options.pop("eta", None)
    expires = options.pop("expires", None)
    if isinstance(expires, int | float):
        expires = _seconds_from_now(app, expires)
    return TaskMessage(
        sig.task,
        id=options["task_id"],
        args=sig.args,
        kwargs=sig.kwargs,
        callbacks=_as_dicts(options.pop("link", None)),
        errbacks=_as_dicts(options.pop("link_error", None)),
        eta=eta.isoformat() if isinstance(eta, datetime) else eta,
        expires=expires.isoformat() if isinstance(expires, datetime) else expires,
        utc=utc,
        **options,
    )


def _seconds_from_now(app: Any, seconds: float) -> datetime:
    now = app.now()
    return (now if now.tzinfo else now.replace(tzinfo=UTC)) + timedelta(seconds=seconds)  # type: ignore[no-any-return]


def _as_dicts(signatures: Any) -> list[dict[str, Any]] | None:
    if not signatures:
        return None
    return [dict(one) for one in ([signatures] if isinstance(signatures, dict) else signatures)]


class _ContextMock(Mock):
    """`Mock` does not take these two itself."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None


def ContextMock(*args: Any, **kwargs: Any) -> Any:  # noqa: N802, RUF100 - Celery's name
    """A mock that can be used by `with`; it gives itself."""
    return _ContextMock(*args, **kwargs)
