"""Arguments of calls: what is wrong with them is said where the call is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def of_call(task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The arguments that a call of a task sends.

    Args:
        options: of the call; the serializer decides how models of pydantic are written.

    Raises:
        TypeError, ValueError: they, or the limits, cannot be right.
    """
    if args is not None and not isinstance(args, (list, tuple)):
        positional = (args,) if kwargs is None or isinstance(kwargs, Mapping) else (args, kwargs)
        raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}: args={positional!r}")
    if kwargs is not None and type(kwargs) is not dict and not isinstance(kwargs, Mapping):
        raise TypeError(
            f"task keyword arguments must be a mapping, not {type(kwargs).__name__}; "
            f"positional arguments go into one tuple: args=({', '.join(map(repr, args or ()))}, {kwargs!r})"
        )
    if task.typing and task.__header__ is not None:
        task.__header__(*(args or ()), **(kwargs or {}))
    if task._dump_pydantic_arguments is not None:
        serializer = options.get("serializer") or task.serializer
        args, kwargs = task._dump_pydantic_arguments(args or (), kwargs or {}, serializer)
    if task.soft_time_limit and task.time_limit and task.soft_time_limit > task.time_limit:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")
    return args, kwargs


def of_message(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments as a message takes them: none at all are `()` and `{}`.

    Raises:
        TypeError: `args` is no list or tuple, `kwargs` no mapping.
    """
    args = () if args is None else args
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(args, (list, tuple)):
        raise TypeError("task args must be a list or tuple")
    if type(kwargs) is not dict and not isinstance(kwargs, Mapping):
        raise TypeError("task keyword arguments must be a mapping")
    return args, kwargs
