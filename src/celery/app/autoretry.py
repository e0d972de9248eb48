"""Retry by itself: `autoretry_for` and its companions."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any

import msgspec

from celery.exceptions import Ignore, Retry
from celery.utils.time import get_exponential_backoff_interval

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("add_autoretry_behaviour",)


class _Policy(msgspec.Struct, frozen=True):
    """For which exceptions a task is retried, and how long it waits."""

    retry_for: tuple[type[BaseException], ...]
    never_for: tuple[type[BaseException], ...]
    options: dict[str, Any]
    backoff: float
    backoff_max: float
    jitter: bool

    @classmethod
    def of(cls, task: Any, given: dict[str, Any]) -> _Policy:
        def choose(name: str, default: Any) -> Any:
            value = given.get(name, getattr(task, name, default))
            return default if value is None else value

        return cls(
            retry_for=tuple(choose("autoretry_for", ())),
            never_for=tuple(choose("dont_autoretry_for", ())),
            options=dict(choose("retry_kwargs", {})),
            backoff=choose("retry_backoff", False),
            backoff_max=choose("retry_backoff_max", 600),
            jitter=choose("retry_jitter", True),
        )

    def options_for(self, task: Any, exc: BaseException) -> dict[str, Any]:
        """Return the options of `task.retry`; raise `exc` if it must not be retried."""
        if isinstance(exc, self.never_for):
            raise exc
        options = dict(self.options)
        if self.backoff:
            options["countdown"] = get_exponential_backoff_interval(
                factor=int(max(1.0, self.backoff)),
                retries=task.request.retries,
                maximum=self.backoff_max,
                full_jitter=self.jitter,
            )
        # A limit that the body gave to its own `retry()` holds for this attempt too.
        if "max_retries" not in options and task.request.override_max_retries is not None:
            options["max_retries"] = task.request.override_max_retries
        return options


def add_autoretry_behaviour(task: Any, **options: Any) -> None:
    """Make `task.run` retry itself for the exceptions in `autoretry_for`.

    Args:
        task: the task; its attributes are used for what is not given.
        **options: `autoretry_for`, `dont_autoretry_for`, `retry_kwargs`, `retry_backoff`,
            `retry_backoff_max`, `retry_jitter`; others are ignored.
    """
    policy = _Policy.of(task, options)
    if not policy.retry_for or hasattr(task, "_orig_run"):
        return
    task._orig_run = task.run
    task.run = _async_run(task, policy) if inspect.iscoroutinefunction(task._orig_run) else _run(task, policy)


def _run(task: Any, policy: _Policy) -> Callable[..., Any]:
    original = task._orig_run

    @wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except (Ignore, Retry):
            raise
        except policy.retry_for as exc:
            raise task.retry(exc=exc, **policy.options_for(task, exc)) from exc

    return run


def _async_run(task: Any, policy: _Policy) -> Callable[..., Any]:
    original = task._orig_run

    @wraps(original)
    async def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return await original(*args, **kwargs)
        except (Ignore, Retry):
            raise
        except policy.retry_for as exc:
            raise await task.aretry(exc=exc, **policy.options_for(task, exc)) from exc

    return run
