"""The tasks an app knows, by name."""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

from celery import _state
from celery.app.autoretry import add_autoretry_behaviour
from celery.exceptions import InvalidTaskError, NotRegistered

__all__ = ("TaskRegistry",)


class TaskRegistry(dict[str, Any]):
    """Task name -> task. Looking up an unknown name raises `NotRegistered`."""

    NotRegistered = NotRegistered

    def __missing__(self, key: str) -> NoReturn:
        raise self.NotRegistered(key)

    def register(self, task: Any, **options: Any) -> None:
        """Add a task, in place of one of the same name.

        Args:
            task: an instance, or a class, which is instantiated.
            **options: those of automatic retries (`autoretry_for` ...).

        Raises:
            InvalidTaskError: the task has no name.
        """
        if task.name is None:
            raise InvalidTaskError(f"Task class {type(task).__name__!r} must specify .name attribute")
        task = self[task.name] = task() if inspect.isclass(task) else task
        add_autoretry_behaviour(task, **options)

    def unregister(self, name: Any) -> None:
        """Remove a task, given by name or itself.

        Raises:
            NotRegistered: it is not there.
        """
        try:
            self.pop(getattr(name, "name", name))
        except KeyError:
            raise self.NotRegistered(name) from None

    def regular(self) -> dict[str, Any]:
        """Names and tasks of those of type 'regular'."""
        return self.filter_types("regular")

    def periodic(self) -> dict[str, Any]:
        """Names and tasks of those of type 'periodic'."""
        return self.filter_types("periodic")

    def filter_types(self, type: str) -> dict[str, Any]:  # noqa: A002 - the public name
        """Names and tasks of those whose `type` attribute is this ('regular' if they have none)."""
        return {name: task for name, task in self.items() if getattr(task, "type", "regular") == type}


def _unpickle_task(name: str) -> Any:
    return _state.get_current_app().tasks[name]


def _unpickle_task_v2(name: str, module: str | None = None) -> Any:
    app = _state.get_current_app()
    if module and name not in app.tasks:
        app.loader.import_task_module(module)
    return app.tasks[name]
