"""`consumer.event_dispatcher`: the worker's way to send events, as extensions know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import EventSender


class WorkerDispatcher:
    """Facade with the methods of `celery.events.EventDispatcher`, usable from any thread. Nothing blocks.

    Attributes:
        on_enabled, on_disabled: called, without arguments, when task events are switched on and off.
    """

    def __init__(self, sender: EventSender) -> None:
        self._sender = sender
        self.app = sender.app
        self.hostname = sender.hostname
        self.on_enabled: set[Callable[[], Any]] = set()
        self.on_disabled: set[Callable[[], Any]] = set()

    @property
    def enabled(self) -> bool:
        """Whether task events are on."""
        return self._sender.tasks is not None

    @property
    def groups(self) -> set[str]:
        """The groups of events that are sent."""
        return {"worker", "task"} if self.enabled else {"worker"}

    @property
    def clock(self) -> Any:
        """The app's logical clock."""
        return self.app.clock

    def send(self, type: str, blind: bool = False, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Have an event sent soon; one of a task's only while task events are on.

        Args:
            blind: leave the clock as it is (it moves all the same: accepted for those who say so).
        """
        if type.startswith("task-") and not self.enabled:
            return
        for name in ("utcoffset", "retry", "retry_policy", "Event"):
            fields.pop(name, None)
        self._sender.send(type, **fields)

    def publish(self, type: str, fields: dict[str, Any], producer: Any = None, **kwargs: Any) -> None:  # noqa: A002
        """Have an event sent soon, whether or not events are on."""
        self._sender.send(type, **fields)

    def enable(self) -> None:
        """Switch task events on."""
        if self._sender.enable():
            for callback in list(self.on_enabled):
                callback()

    def disable(self) -> None:
        """Switch task events off."""
        if self._sender.disable():
            for callback in list(self.on_disabled):
                callback()

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Nothing to do: events leave by themselves."""

    def extend_buffer(self, other: Any) -> None:
        """Nothing to do: what waits goes on waiting when a connection is made again."""

    def close(self) -> None:
        """Nothing to do: the worker ends it."""

    def __enter__(self) -> WorkerDispatcher:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<WorkerDispatcher: {self.hostname}>"
