"""Old form: `from celery.task import task, Task, periodic_task`, and `from celery import task`.

Everything here is bound to the current app. New code uses `@app.task`, `@shared_task` and `app.Task`.
"""

from __future__ import annotations

import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

from celery import _state, canvas
from celery.app.task import Task as BaseTask
from celery.exceptions import CDeprecationWarning
from celery.local import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("PeriodicTask", "Task", "backend_cleanup", "current", "periodic_task", "subtask", "task")

subtask = canvas.signature

#: The task that is running.
current = _state.current_task

#: The built-in task that lets the result backend delete what has expired.
backend_cleanup = Proxy(lambda: _state.get_current_app().tasks["celery.backend_cleanup"])


def task(*args: Any, **kwargs: Any) -> Any:
    """Make a task of the current app; usable as `@task` and `@task(...)`."""
    return _state.get_current_app().task(*args, **kwargs)


def periodic_task(*args: Any, **options: Any) -> Any:
    """Make a task of the current app that beat sends: `@periodic_task(run_every=...)`.

    Args:
        run_every: seconds, a timedelta or a schedule.
        **options: as for `Celery.task`.
    """
    every = options.pop("run_every")

    def decorate(fun: Callable[..., Any]) -> Any:
        app = _state.get_current_app()
        made = app.task(fun, **options)
        app.add_periodic_task(every, made.s(), name=made.name)
        return made

    return decorate(args[0]) if args else decorate


class _OnInstance:
    """A method that, looked up on the class, is that of the class's one instance."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return getattr(BaseTask, self.name).__get__(cls.instance() if obj is None else obj)


class Task(BaseTask):
    """A class-based task that registers itself with the current app.

    `delay`, `apply_async`, `apply` and the makers of signatures can be called on the class, too.
    """

    abstract = True

    delay = _OnInstance("delay")
    apply_async = _OnInstance("apply_async")
    apply = _OnInstance("apply")
    signature = _OnInstance("signature")
    subtask = _OnInstance("signature")
    s = _OnInstance("s")
    si = _OnInstance("si")
    retry = _OnInstance("retry")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A base says `abstract = True` itself; what a base says is not said of those derived from it.
        cls.abstract = vars(cls).get("abstract", False)
        if not cls.abstract:
            cls.instance()

    @classmethod
    def instance(cls) -> Any:
        """The instance that is registered with the current app."""
        app = _state.get_current_app()
        name = vars(cls).get("name") or app.gen_task_name(cls.__name__, cls.__module__)
        known = app.registry.get(name)
        if known is None or type(known) is not cls:
            cls.name = name
            known = app.register_task(cls)
            cls._on_registered(app, known)
        return known

    @classmethod
    def _on_registered(cls, app: Any, instance: Any) -> None: ...


class PeriodicTask(Task):
    """A class-based task that beat sends every `run_every`: seconds, a timedelta or a schedule."""

    abstract = True
    run_every: Any = None

    @classmethod
    def _on_registered(cls, app: Any, instance: Any) -> None:
        if cls.run_every is None:
            raise NotImplementedError("Periodic tasks must have a run_every attribute")
        app.add_periodic_task(cls.run_every, BaseTask.s(instance), name=instance.name)


class _Module(ModuleType):
    """Makes `from celery import task` a decorator."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return task(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in {"group", "chord"}:
            return getattr(canvas, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Module

warnings.warn(
    "celery.task is the old home of tasks: use @app.task, @shared_task or app.Task",
    CDeprecationWarning,
    stacklevel=2,
)
