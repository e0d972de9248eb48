"""Values that are computed when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("lazy", "maybe_evaluate", "mlazy")


class lazy:  # noqa: N801, PLW1641, RUF100 - the public name; equal to values that may not be hashable
    """A call that is made each time the value is asked for.

    Args:
        fun: called with the other arguments.
    """

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._fun = fun
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self.evaluate()

    def evaluate(self) -> Any:
        """Make the call."""
        return self._fun(*self._args, **self._kwargs)

    def __str__(self) -> str:
        return str(self())

    def __repr__(self) -> str:
        return repr(self())

    def __eq__(self, rhs: object) -> bool:
        return bool(self() == rhs)

    def __ne__(self, rhs: object) -> bool:
        return bool(self() != rhs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        memo[id(self)] = self
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._fun,), {"_args": self._args, "_kwargs": self._kwargs}


class mlazy(lazy):  # noqa: N801, PLW1641, RUF100 - the public name; as above
    """A `lazy` that makes its call once."""

    #: Whether the call has been made.
    evaluated = False
    _value: Any = None

    def evaluate(self) -> Any:
        """The value; computed the first time."""
        if not self.evaluated:
            self._value = super().evaluate()
            self.evaluated = True
        return self._value


def maybe_evaluate(value: Any) -> Any:
    """The value of a `lazy` (ours or kombu's); anything else as it is."""
    if isinstance(value, lazy) or (
        type(value).__name__ == "lazy" and type(value).__module__ == "kombu.utils.functional"
    ):
        return value.evaluate()
    return value
