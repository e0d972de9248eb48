"""Functions and classes made into tasks of an app, and an app with all its tasks."""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any

from celery._state import _announce_app_finalized, connect_on_app_finalize
from celery.app.autoretry import add_autoretry_behaviour
from celery.exceptions import DuplicateTaskNameWarning
from celery.local import PromiseProxy, Proxy
from celery.utils.frames import user_stacklevel

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery.app.base import Celery

#: The text of the warning about two functions of one name.
W_DUPTASK = """\
Task name {0!r} is already registered to a different callable.

Existing: {1}
New:      {2}

{3}

Every task must have a unique name. Pass an explicit name= to the task decorator, or rename one of the callables.\
"""
_KEPT = "The new callable was not registered; calls under this name reach the callable registered first."
_REPLACED = "The new callable replaces the first one; calls under this name reach the new callable."


def decorate(app: Celery, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """What `@app.task` and `@app.task(...)` give: a task, or the decorator that makes one. See `Celery.task`."""
    if not args:
        return decorator(app, **options)
    if len(args) > 1:
        raise TypeError(f"@task() takes exactly 1 argument ({len(args) + len(options)} given)")
    if not callable(args[0]):
        raise TypeError("argument 1 to @task() must be a callable")
    return decorator(app, **options)(args[0])


def decorator(
    app: Celery,
    *,
    shared: bool = True,
    filter: Callable[[Any], Any] | None = None,  # noqa: A002 - the public name
    lazy: bool = True,
    **options: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """Make the decorator that `app.task(...)` returns. See `Celery.task`."""

    def decorate(fun: Callable[..., Any]) -> Any:
        if shared:

            def construct(other: Celery) -> Any:
                return task_from_fun(other, fun, guest=other is not app, **options)

            connect_on_app_finalize(construct)
        task: Any
        if lazy and not app.finalized:
            task = PromiseProxy(task_from_fun, (app, fun), options, __doc__=fun.__doc__)
            app.pending_tasks.append(task)
        else:
            task = task_from_fun(app, fun, **options)
        return filter(task) if filter else task

    return decorate


def task_from_fun(
    app: Celery,
    fun: Callable[..., Any],
    name: str | None = None,
    base: Any = None,
    bind: bool = False,
    guest: bool = False,
    pydantic: bool = False,
    pydantic_strict: bool = False,
    pydantic_context: dict[str, Any] | None = None,
    pydantic_dump_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Make the task of a function and register it; return the one registered under that name already, if any.

    Args:
        guest: it comes from another app; a task of our own of that name takes precedence, whenever it is made.

    Raises:
        RuntimeError: the app is not finalized and does not finalize by itself.
    """
    if not app.finalized and not app.autofinalize:
        raise RuntimeError("Contract breach: app not finalized")
    name = name or app.gen_task_name(fun.__name__, fun.__module__)
    registry = app.registry
    existing = registry.get(name)
    if existing is not None and (guest or not existing._is_guest):
        if not guest and callable_of(existing) is not fun:
            warn_duplicate(app, name, existing, fun, _KEPT)
        return existing
    run, dump = fun, None
    if pydantic:
        from celery.app import pydantic as models  # noqa: PLC0415 - an optional package

        run = models.validating(
            app, fun, name, bound=bind, strict=pydantic_strict, context=pydantic_context,
            dump_kwargs=pydantic_dump_kwargs,
        )  # fmt: skip
        dump = models.dumper(fun, bound=bind, strict=pydantic_strict, context=pydantic_context)
    base = base or app.Task
    attributes: dict[str, Any] = {
        "app": app,
        "name": name,
        "run": run if bind else staticmethod(run),
        "abstract": False,
        "_decorated": True,
        "_is_guest": guest,
        "_decorated_fun": staticmethod(fun),
        "_dump_pydantic_arguments": staticmethod(dump) if dump else None,
        "__doc__": fun.__doc__,
        "__module__": fun.__module__,
        "__qualname__": fun.__qualname__,
        "__annotations__": inspect.get_annotations(fun),
        "__header__": staticmethod(app.type_checker(fun, bound=bind)),
        "__wrapped__": run if bind else staticmethod(run),
        **options,
    }
    # `app` is a property of the class: the value would hide it.
    attributes.pop("app")
    task = type(fun.__name__, (base,), attributes)()
    vars(task)["__qualname__"] = fun.__qualname__
    registry[name] = task
    task.bind(app)
    add_autoretry_behaviour(task, **options)
    return task


def register(app: Celery, task: Any, **options: Any) -> Any:
    """Register a class-based task, in place of one of the same name; return the instance."""
    instance: Any = task() if inspect.isclass(task) else task
    if not instance.name:
        cls = type(instance)
        instance.name = app.gen_task_name(cls.__name__, cls.__module__)
    existing = app.registry.get(instance.name)
    if existing is not None and not existing._is_guest and callable_of(existing) is not callable_of(instance):
        warn_duplicate(app, instance.name, existing, callable_of(instance), _REPLACED)
    add_autoretry_behaviour(instance, **options)
    app.registry[instance.name] = instance
    instance._app = app
    instance.bind(app)
    return instance


def finalize(app: Celery, *, auto: bool) -> None:
    """Make every task that was declared, and bind it, once. See `Celery.finalize`."""
    with app._finalize_mutex:
        if app.finalized:
            return
        if auto and not app.autofinalize:
            raise RuntimeError("Contract breach: app not finalized")
        app.finalized = True
        # Our own first: a task of another app never takes the name of one of ours.
        while app.pending_tasks:
            proxy = app.pending_tasks.popleft()
            proxy.__maybe_evaluate__()
        _announce_app_finalized(app)
        for task in app.registry.values():
            task.bind(app)
        app.on_after_finalize.send(sender=app)


def callable_of(task: Any) -> Any:
    """What tells one task from another: the decorated function, else the class."""
    task = task._get_current_object() if isinstance(task, Proxy) else task
    return vars(type(task)).get("_decorated_fun", staticmethod(type(task))).__func__


def warn_duplicate(app: Celery, name: str, existing: Any, new: Any, consequence: str) -> None:
    """Say, once per name, that two callables have one name; at the line of the user's that did it."""
    if name in app.duplicates_warned:
        return
    app.duplicates_warned.add(name)
    warnings.warn(
        W_DUPTASK.format(name, _dotted(callable_of(existing)), _dotted(new), consequence),
        DuplicateTaskNameWarning,
        stacklevel=user_stacklevel(),
    )


def _dotted(obj: Any) -> str:
    return f"{obj.__module__}.{obj.__qualname__}"
