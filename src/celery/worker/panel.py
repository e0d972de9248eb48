"""`Panel`: which commands a worker knows, and how programs of the command line are to call them.

>>> @inspect_command()
... def current_window(state):
...     return {"window": state.consumer.max_prefetch_count}
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])


class controller_info_t(NamedTuple):
    """What is known of a command.

    Attributes:
        type: `control` or `inspect`.
        visible: whether `--list` shows it.
        default_timeout: seconds to wait for its replies.
        signature: its arguments, for people.
        args: (name, type) of its arguments, to read words of a command line with.
        variadic: name of the argument that takes all the rest.
    """

    alias: str | None
    type: str
    visible: bool
    default_timeout: float
    help: str | None
    signature: str | None
    args: list[tuple[str, Any]] | None
    variadic: str | None


class Panel(UserDict):  # type: ignore[type-arg]  # as in Celery
    """The commands, for all workers of this process: `Panel.data` has functions, `Panel.meta` what is known of them."""

    data: ClassVar[dict[str, Callable[..., Any]]] = {}  # type: ignore[misc]
    meta: ClassVar[dict[str, controller_info_t]] = {}

    @classmethod
    def register(cls, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function `(state, **arguments)` as a command; options as of `control_command`."""
        if args:
            return cls._register(**kwargs)(*args)
        return cls._register(**kwargs)

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",  # noqa: A002 - Celery's name
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,  # noqa: A002 - Celery's name
        signature: str | None = None,
        args: list[tuple[str, Any]] | None = None,
        variadic: str | None = None,
    ) -> Callable[[F], F]:
        def inner(fun: F) -> F:
            known_as = name or fun.__name__
            text = help or (fun.__doc__ or "").strip().split("\n")[0]
            info = controller_info_t(alias, type, visible, default_timeout, text, signature, args, variadic)
            cls.data[known_as], cls.meta[known_as] = fun, info
            if alias:
                cls.data[alias] = fun
            return fun

        return inner


@overload
def control_command(fun: F, /) -> F: ...
@overload
def control_command(**kwargs: Any) -> Callable[[F], F]: ...
def control_command(*given: Any, **kwargs: Any) -> Any:
    """Make a function a command of `celery control`, and of `app.control.broadcast`.

    It is called as `fun(state, **arguments)` on the worker's extension thread; `state` has `app`, `hostname` and
    `consumer`. What it returns is the reply: `{"ok": ...}`, `{"error": ...}` or anything that JSON can hold.

    Args:
        name, alias: it is called by; default: the function's name.
        args: (name, type) of its arguments, to read words of a command line with.
        variadic: name of the argument that takes all the rest of them.
        signature: its arguments as `--list` shows them.
        default_timeout: seconds that `celery control` waits for replies at least.
        help: default: the first line of its docstring.
        visible: show it in `--list`.
    """
    return Panel.register(*given, type="control", **kwargs)


@overload
def inspect_command(fun: F, /) -> F: ...
@overload
def inspect_command(**kwargs: Any) -> Callable[[F], F]: ...
def inspect_command(*given: Any, **kwargs: Any) -> Any:
    """Make a function a command of `celery inspect`, and a question for `app.control.inspect().call`.

    Else as `control_command`.
    """
    return Panel.register(*given, type="inspect", **kwargs)
