"""Hearing events in tests: a receiver in a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from celery.events.receiver import EventReceiver
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery


class Ear(EventReceiver):
    """Keeps what it hears.

    Attributes:
        heard: events, in the order in which they came.
    """

    def __init__(self, channel: Any, app: Celery, **options: Any) -> None:
        super().__init__(channel, handlers={"*": self._keep}, app=app, **options)
        self.heard: list[dict[str, Any]] = []
        self.listens = threading.Event()
        self._tested = False

    def _keep(self, event: dict[str, Any]) -> None:
        if not self._tested or event.get("number") != self.node_id:
            self.heard.append(event)

    def on_consume_ready(self, *args: Any, **kwargs: Any) -> None:
        super().on_consume_ready(*args, **kwargs)
        self.listens.set()

    def check(self) -> None:
        """Return when it really hears: kombu subscribes on Redis only after it has said that it is ready."""
        self._tested = False
        with self.app.events.default_dispatcher() as dispatcher:

            def heard() -> bool:
                dispatcher.send(self.routing_key.replace("#", "test").replace(".", "-"), number=self.node_id)
                return any(event.get("number") == self.node_id for event in list(self.heard))

            wait_until(heard)
        self._tested = True
        self.heard[:] = [event for event in self.heard if event.get("number") != self.node_id]

    def of(self, kind: str, uuid: str | None = None) -> list[dict[str, Any]]:
        """Events of a type, perhaps of one task."""
        found = [event for event in list(self.heard) if event["type"] == kind]
        return [event for event in found if uuid is None or event.get("uuid") == uuid]

    def wait_for(
        self, kind: str, uuid: str | None = None, count: int = 1, timeout: float = 20
    ) -> list[dict[str, Any]]:
        """Wait until so many of them have come."""
        return wait_until(
            lambda: len(found := self.of(kind, uuid)) >= count and found,
            timeout,
            lambda: f"no {kind} of {uuid}: {[(e['type'], e.get('uuid')) for e in self.heard]}",
        )

    def story(self, uuid: str) -> list[str]:
        """What was said of a task, in order."""
        return [
            event["type"].removeprefix("task-") for event in list(self.heard) if event.get("uuid") == uuid
        ]


@contextlib.contextmanager
def listening(app: Celery, **options: Any) -> Iterator[Ear]:
    """An `Ear` that listens."""
    wakeup = options.pop("wakeup", False)
    with app.connection() as connection:
        ear = Ear(connection, app, **options)

        def run() -> None:
            with contextlib.suppress(OSError):
                ear.capture(wakeup=wakeup)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert ear.listens.wait(20), "the receiver did not begin to listen"
        try:
            ear.check()
            yield ear
        finally:
            ear.should_stop = True
            thread.join(10)
