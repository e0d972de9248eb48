"""A bare AMQP client, to see what the broker itself gives: frames on a blocking socket, nothing around them.

    python -m benchmarks.bare URL COUNT

Publishes COUNT persistent messages of a no-op task (its headers cost the broker as much as its way to the disk) and awaits each
one's confirm, then consumes them with a window of 1,000 and acknowledges all that came with one read at once. Prints JSON.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from celery.message.writing import build_v2
from celery.wire.amqp.connection import Connection, Login
from celery.wire.amqp.frames import Command, Message, acknowledgement, content, method
from celery.wire.amqp.values import properties, table

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE = "bare"
ID = "11111111-1111-1111-1111-111111111111"
TASK = build_v2(
    ID, "bench.late", (), {}, argsrepr="()", kwargsrepr="{}", origin="gen1@host", ignore_result=True
)
BODY = b'[[],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
PERSISTENT = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "correlation_id": ID,
    "reply_to": ID,
    "delivery_mode": 2,
}


def task_message(queue: str, frame_max: int = 131_072) -> bytes:
    """The frames that send one task into a queue."""
    return method(1, "basic.publish", routing_key=queue, mandatory=True) + content(
        1, properties(PERSISTENT, table(TASK.headers)), BODY, frame_max
    )


class Bare:
    """An open connection with one channel."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        login = Login(parts.username or "guest", parts.password or "guest", unquote(parts.path[1:]) or "/")
        self.socket = socket.create_connection((parts.hostname, parts.port or 5672))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.machine = Connection(login)
        self.events: list[Command | Message] = []
        self.socket.sendall(self.machine.begin())
        while not self.machine.open:
            self.read()
        self.ask("channel.open")

    def read(self) -> list[Command | Message]:
        """What the next bytes bring."""
        events = self.machine.receive(self.socket.recv(1 << 18))
        if out := self.machine.reply():
            self.socket.sendall(out)
        return events

    def awaited(self, wanted: Callable[[Command | Message], bool]) -> Any:
        """The first event that is wanted; the others stay."""
        while True:
            for event in self.events:
                if wanted(event):
                    self.events.remove(event)
                    return event
            self.events += self.read()

    def ask(self, name: str, **values: object) -> None:
        """Send a method and await the answer."""
        self.socket.sendall(method(1, name, **values))
        while not any(isinstance(event, Command) and event.name == f"{name}-ok" for event in self.read()):
            pass

    def publish(self, count: int) -> None:
        """One message after the other, each confirmed before the next."""
        self.ask("queue.declare", queue=QUEUE, durable=True)
        self.ask("confirm.select")
        message = task_message(QUEUE, self.machine.frame_max)
        for _ in range(count):
            self.socket.sendall(message)
            while not any(isinstance(event, Command) and event.name == "basic.ack" for event in self.read()):
                pass

    def consume(self, count: int) -> None:
        """All that was published."""
        self.ask("basic.qos", prefetch_count=1000)
        self.socket.sendall(method(1, "basic.consume", queue=QUEUE, consumer_tag="bare"))
        while count > 0:
            messages = [event for event in self.read() if isinstance(event, Message)]
            if messages:
                self.socket.sendall(acknowledgement(1, messages[-1].delivery_tag, True))
                count -= len(messages)


def main() -> None:
    client, count = Bare(sys.argv[1]), int(sys.argv[2])
    times, cpu = [time.perf_counter()], [_cpu()]
    for action in (client.publish, client.consume):
        action(count)
        times.append(time.perf_counter())
        cpu.append(_cpu())
    figures = {
        "enqueue/s": count / (times[1] - times[0]),
        "enqueue us": (cpu[1] - cpu[0]) / count * 1e6,
        "drain/s": count / (times[2] - times[1]),
    }
    print(json.dumps(figures))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
