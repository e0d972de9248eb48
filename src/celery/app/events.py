"""`app.events`: receivers, senders and pictures of events that belong to an app."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from celery.app import wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Events",)


class Events:
    """What `app.events` is.

    Args:
        app: the application.
    """

    receiver_cls = wiring.TABLE["EventReceiver"]
    dispatcher_cls = wiring.TABLE["EventDispatcher"]
    state_cls = wiring.TABLE["EventState"]

    def __init__(self, app: Any = None) -> None:
        self.app = app

    @cached_property
    def Receiver(self) -> Any:  # noqa: N802, RUF100 - Celery's name
        """`celery.events.EventReceiver` bound to this app."""
        return self.app.subclass_with_self(self.receiver_cls, reverse="events.Receiver")

    @cached_property
    def Dispatcher(self) -> Any:  # noqa: N802, RUF100 - as above
        """`celery.events.EventDispatcher` bound to this app."""
        return self.app.subclass_with_self(self.dispatcher_cls, reverse="events.Dispatcher")

    @cached_property
    def State(self) -> Any:  # noqa: N802, RUF100 - as above
        """`celery.events.state.State` bound to this app."""
        return self.app.subclass_with_self(self.state_cls, reverse="events.State")

    @contextlib.contextmanager
    def default_dispatcher(
        self, hostname: str | None = None, enabled: bool = True, buffer_while_offline: bool = False
    ) -> Iterator[Any]:
        """An event dispatcher that sends as the app sends its tasks.

        Args:
            hostname: node name of the sender; default: one made of the process id.
            buffer_while_offline: keep what cannot be sent, instead of raising.
        """
        with self.Dispatcher(
            hostname=hostname, enabled=enabled, buffer_while_offline=buffer_while_offline
        ) as dispatcher:
            yield dispatcher
