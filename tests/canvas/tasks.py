"""The tasks that trees are made of, for any app; what they were called with is written into a log."""

from __future__ import annotations

import json
import zlib
from typing import Any


class Boom(Exception):
    """What failing tasks raise."""


def mix(label: str, args: Any) -> int:
    """The value of a task: tells its arguments, and their order."""
    return zlib.crc32(json.dumps([label, args]).encode()) % 100_003


def add_tasks(app: Any, log: Any) -> None:
    """Declare the tasks.

    Args:
        log: has `call(label, args)` and `error(label)`.
    """

    def seen(args: tuple[Any, ...]) -> tuple[str, list[Any]]:
        *given, label = args
        log.call(label, list(given))
        return label.rpartition(":")[2], list(given)

    @app.task(name="tree.step", shared=False)
    def step(*args: Any) -> int:
        return mix(*seen(args))

    @app.task(name="tree.fail", shared=False)
    def fail(*args: Any) -> None:
        label, _ = seen(args)
        raise Boom(label)

    @app.task(name="tree.retry", bind=True, max_retries=5, shared=False)
    def retry(self: Any, *args: Any) -> int:
        label, given = seen(args)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return mix(label, given)

    @app.task(name="tree.swap", bind=True, shared=False)
    def swap(self: Any, *args: Any, inner: dict[str, Any]) -> Any:
        seen(args)
        return self.replace(app.signature(inner))

    @app.task(name="tree.called_on_error", shared=False)
    def called_on_error(request: Any, exc: Any, traceback: Any, label: str) -> None:
        log.error(label)

    @app.task(name="tree.sent_on_error", shared=False)
    def sent_on_error(task_id: str, label: str) -> None:
        log.error(label)
