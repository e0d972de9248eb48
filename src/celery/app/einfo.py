"""An exception with its traceback, as handlers, signals and logs get it."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


class ExceptionInfo:
    """What was raised, and where.

    Args:
        exc_info: as `sys.exc_info()` gives it, which is the default.
        internal: the exception came from our own code, not from the task's.
    """

    __slots__ = ("_text", "exception", "internal", "tb", "type")

    def __init__(self, exc_info: tuple[Any, Any, Any] | None = None, internal: bool = False) -> None:
        self.type: type[BaseException]
        self.exception: BaseException
        self.tb: TracebackType | None
        self.type, self.exception, self.tb = exc_info or sys.exc_info()  # type: ignore[assignment]
        self.internal = internal
        self._text: str | None = None

    @property
    def __class__(self) -> Any:
        """For `isinstance`: also billiard's class of this name, if the program knows that."""
        billiard = sys.modules.get("billiard.einfo")
        return getattr(billiard, "ExceptionInfo", ExceptionInfo)

    @__class__.setter
    def __class__(self, cls: Any) -> None:
        raise TypeError("The class of an ExceptionInfo cannot be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return ExceptionInfo, ((*self.exc_info[:2], None), self.internal), self.__getstate__()

    @property
    def traceback(self) -> str:
        """The traceback as Python prints it."""
        if self._text is None:
            self._text = _format(self.type, self.exception, self.tb)
        return self._text

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """As `sys.exc_info()`."""
        return self.type, self.exception, self.tb

    def __getstate__(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "exception": self.exception,
            "internal": self.internal,
            "_text": self.traceback,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.tb = None
        for name, value in state.items():
            setattr(self, name, value)


def _format(kind: type[BaseException], exc: BaseException, tb: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(kind, exc, tb))
    except Exception as error:  # noqa: BLE001 - a `__str__` of the user's may raise anything
        text = "".join(traceback.format_tb(tb))
        return f"{text}{kind.__name__}: <exception str() failed: {error!r}>\n"


def clear_frames(exc: BaseException) -> None:
    """Forget the local variables of the frames that an exception holds on to."""
    tb = exc.__traceback__
    while tb is not None:
        with suppress(RuntimeError):  # it still runs: one of ours, or a coroutine's
            tb.tb_frame.clear()
        tb = tb.tb_next
