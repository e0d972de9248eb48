"""`celery events --dump`: every event as a line."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery._state import get_current_app
from celery.utils.lru import LRUCache

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ("Dumper", "evdump", "humanize_type")

#: What is known of tasks is kept for so many of them.
TASK_NAMES = LRUCache(limit=0xFFF)

HUMAN_TYPES = {
    "worker-offline": "shutdown",
    "worker-online": "started",
    "worker-heartbeat": "heartbeat",
}
CONNECTION_ERROR = "-> Cannot connect to {url}: {error}.\nTrying again {when}\n"


def humanize_type(type: str) -> str:  # noqa: A002 - Celery's name
    """An event's type for people.

    >>> humanize_type("worker-online"), humanize_type("task-received")
    ('started', 'task received')
    """
    return HUMAN_TYPES.get(type.lower(), type.lower().replace("-", " "))


class Dumper:
    """Writes events.

    Args:
        out: where to.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out

    def say(self, msg: str) -> None:
        """Write a line at once."""
        print(msg, file=self.out, flush=True)

    def on_event(self, ev: dict[str, Any]) -> None:
        """Write an event."""
        fields = dict(ev)
        when = datetime.fromtimestamp(fields.pop("timestamp"), UTC)
        kind, hostname = fields.pop("type").lower(), fields.pop("hostname")
        if not kind.startswith("task-"):
            told = ", ".join(f"{name}={fields[name]}" for name in sorted(fields))
            self.say(f"{hostname} [{when}] {humanize_type(kind)}: {told}")
            return
        uuid = fields.pop("uuid")
        if kind in ("task-received", "task-sent"):
            task = TASK_NAMES[uuid] = "{}({}) args={} kwargs={}".format(
                fields.pop("name"), uuid, fields.pop("args"), fields.pop("kwargs")
            )
        else:
            task = TASK_NAMES.get(uuid, "")
        self.format_task_event(hostname, when, kind, task, fields)

    def format_task_event(
        self,
        hostname: str,
        timestamp: datetime,
        type: str,  # noqa: A002 - Celery's name
        task: str,
        event: dict[str, Any],
    ) -> None:
        """Write what is said of a task.

        Args:
            task: what is known of it, as text.
            event: what remains to be said.
        """
        told = ", ".join(f"{name}={event[name]}" for name in sorted(event))
        self.say(f"{hostname} [{timestamp}] {humanize_type(type)}: {task} {told}")


def evdump(app: Any = None, out: TextIO = sys.stdout) -> None:
    """Write every event, until interrupted."""
    app = app or get_current_app()
    dumper = Dumper(out=out)
    dumper.say("-> evdump: starting capture...")
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": dumper.on_event})

        def on_connection_error(error: BaseException, interval: float) -> None:
            when = f"in {interval} seconds"
            dumper.say(CONNECTION_ERROR.format(url=connection.as_uri(), error=error, when=when))

        receiver.on_connection_error = on_connection_error
        try:
            receiver.capture()
        except (KeyboardInterrupt, SystemExit):
            return
