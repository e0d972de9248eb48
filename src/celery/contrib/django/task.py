"""Tasks of Django projects: calls that wait for the transaction they are made in.

A task sent inside of a transaction may start before it is committed, and not find what it is about; if the
transaction is rolled back it should not have been sent at all.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from celery.app.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("DjangoTask",)


class DjangoTask(Task[..., Any]):
    """The usual class of tasks where the environment names a Django settings module."""

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """`delay(*args, **kwargs)` when the current transaction is committed, at once outside of one.

        There is no result: nothing is sent yet, and after a rollback nothing ever will be.
        """
        _on_commit(partial(self.delay, *args, **kwargs))

    def apply_async_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """`apply_async(*args, **kwargs)` when the current transaction is committed, at once outside of one.

        There is no result, see `delay_on_commit`.
        """
        _on_commit(partial(self.apply_async, *args, **kwargs))


def _on_commit(call: Callable[[], object]) -> None:
    on_commit = cast(
        "Callable[[Callable[[], object]], None]", import_module("django.db.transaction").on_commit
    )
    on_commit(call)
