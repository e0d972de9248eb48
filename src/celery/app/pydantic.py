"""Tasks whose arguments and result are Pydantic models."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, get_type_hints

from celery.exceptions import ImproperlyConfigured
from celery.utils.annotations import annotation_issubclass, get_optional_arg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery.app.base import Celery


def _base_model() -> type[Any]:
    try:
        from pydantic import BaseModel  # noqa: PLC0415 - optional, and slow to import
    except ImportError as exc:
        raise ImproperlyConfigured(
            "You need to install pydantic to use pydantic model serialization."
        ) from exc
    return BaseModel


def _model_in(annotation: Any, base: type[Any]) -> type[Any] | None:
    """The model that an annotation names: itself, or the one inside `Optional`."""
    inner = get_optional_arg(annotation)
    found = annotation if inner is None else inner
    return found if annotation_issubclass(found, base) else None


def _hints(fun: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(fun)
    except Exception:  # noqa: BLE001 - an annotation that cannot be resolved is none of our models
        return inspect.get_annotations(fun)


def _models(fun: Callable[..., Any], base: type[Any]) -> dict[str, type[Any]]:
    found = {name: _model_in(hint, base) for name, hint in _hints(fun).items()}
    return {name: model for name, model in found.items() if model is not None}


def validating(
    app: Celery,
    fun: Callable[..., Any],
    name: str,
    *,
    bound: bool,
    strict: bool,
    context: Mapping[str, Any] | None,
    dump_kwargs: Mapping[str, Any] | None,
) -> Callable[..., Any]:
    """Wrap a task's function: dicts become the models that it expects, a model that it returns becomes a dict.

    Args:
        app, name: offered to validators as `celery_app` and `celery_task_name` in their context.
        bound: the first parameter is the task.
        strict: validate without coercion.
        context: more validation context.
        dump_kwargs: of `model_dump` for the result.

    Raises:
        ImproperlyConfigured: pydantic is not installed.
    """
    base = _base_model()
    models = _models(fun, base)
    returned = models.pop("return", None)
    signature = inspect.signature(fun)
    given = {**(context or {}), "celery_app": app, "celery_task_name": name}

    def bind(args: Any, kwargs: Any) -> inspect.BoundArguments:
        arguments = signature.bind(*args, **kwargs)
        for parameter, model in models.items():
            value = arguments.arguments.get(parameter)
            if value is not None:
                arguments.arguments[parameter] = model.model_validate(value, strict=strict, context=given)
        return arguments

    def dump(value: Any) -> Any:
        if returned is not None and isinstance(value, base):
            return value.model_dump(**{"mode": "json", **(dump_kwargs or {})})
        return value

    if inspect.iscoroutinefunction(fun):

        @wraps(fun)
        async def awrapper(*args: Any, **kwargs: Any) -> Any:
            arguments = bind(args, kwargs)
            return dump(await fun(*arguments.args, **arguments.kwargs))

        return awrapper

    @wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        arguments = bind(args, kwargs)
        return dump(fun(*arguments.args, **arguments.kwargs))

    return wrapper


def dumper(
    fun: Callable[..., Any], *, bound: bool, strict: bool, context: Mapping[str, Any] | None
) -> Callable[..., tuple[Any, Any]]:
    """Make what turns models among a call's arguments into what can be sent.

    A model is dumped only if the dump, validated again, is equal to it; one that says itself how it
    becomes JSON (`__json__`), and anything that pickle takes as it is, is left alone.
    """
    base = _base_model()
    models = _models(fun, base)
    models.pop("return", None)
    signature = inspect.signature(fun)
    skipped = (None,) if bound else ()

    def one(model: type[Any], value: Any) -> Any:
        if not isinstance(value, base) or hasattr(value, "__json__"):
            return value
        dumped = value.model_dump(mode="json")
        try:
            same = model.model_validate(dumped, strict=strict, context=context) == value
        except Exception:  # noqa: BLE001 - not what would arrive: let the serializer say so
            same = False
        return dumped if same else value

    def dump(args: Any, kwargs: Any, serializer: str | None) -> tuple[Any, Any]:
        if serializer in {"pickle", "application/x-python-serialize"}:
            return args, kwargs
        try:
            arguments = signature.bind_partial(*skipped, *args, **kwargs).arguments
        except TypeError:
            return args, kwargs
        changed = {name: one(model, arguments[name]) for name, model in models.items() if name in arguments}
        names = list(signature.parameters)[len(skipped) :]
        return (
            [changed.get(names[at], value) if at < len(names) else value for at, value in enumerate(args)],
            {key: changed.get(key, value) for key, value in kwargs.items()},
        )

    return dump
