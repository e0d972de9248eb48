"""The least that a call and its result over RabbitMQ can take: the same frames, nothing around them.

    python -m benchmarks.bare_talk URL COUNT

Three processes on blocking sockets. The caller publishes a task, awaits the confirm, then the reply. The worker publishes a
record of what it begins, acknowledges the task, awaits the record's confirm, and wakes its child by a byte. The child
publishes the reply and awaits its confirm. Prints JSON: milliseconds until the reply was there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from celery.wire.amqp.frames import Command, Message, acknowledgement, content, method
from celery.wire.amqp.values import properties

from .bare import Bare, task_message

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS, RECORDS, REPLIES = "bare.tasks", "bare.records", "bare.replies"


def transient(queue: str, size: int) -> bytes:
    return method(1, "basic.publish", routing_key=queue) + content(
        1, properties({"delivery_mode": 1}), b"x" * size, 131072
    )


def is_confirm(event: Command | Message) -> bool:
    return isinstance(event, Command) and event.name == "basic.ack"


def is_from(tag: bytes) -> Callable[[Command | Message], bool]:
    return lambda event: isinstance(event, Message) and event.consumer_tag == tag


def opened(url: str, *consumed: str) -> Bare:
    client = Bare(url)
    client.ask("confirm.select")
    for queue in consumed:
        client.ask("queue.declare", queue=queue, durable=queue != REPLIES)
        client.ask("queue.purge", queue=queue)
        client.ask("basic.consume", queue=queue, consumer_tag=queue)
    return client


def work(url: str, ready: socket.socket, child: socket.socket) -> None:
    client, record, last = opened(url, TASKS, RECORDS), transient(RECORDS, 700), 0
    ready.send(b"r")
    while True:
        task = client.awaited(is_from(TASKS.encode()))
        client.socket.sendall(record + acknowledgement(1, task.delivery_tag))
        client.awaited(is_confirm)
        child.send(b"g")
        last = client.awaited(is_from(RECORDS.encode())).delivery_tag
        child.recv(1)
        client.socket.sendall(acknowledgement(1, last))


def run(url: str, ready: socket.socket, core: socket.socket) -> None:
    client, reply = opened(url), transient(REPLIES, 150)
    ready.send(b"r")
    while core.recv(1):
        client.socket.sendall(reply)
        client.awaited(is_confirm)
        core.send(b"d")


def call(url: str, count: int) -> list[float]:
    sender, receiver, message, times = opened(url), opened(url, REPLIES), task_message(TASKS), []
    for _ in range(count):
        began = time.perf_counter()
        sender.socket.sendall(message)
        sender.awaited(is_confirm)
        tag = receiver.awaited(is_from(REPLIES.encode())).delivery_tag
        times.append((time.perf_counter() - began) * 1e3)
        receiver.socket.sendall(acknowledgement(1, tag))
        time.sleep(0.002)  # so that everybody is idle again
    return sorted(times)


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    ready, told = socket.socketpair()
    core, child = socket.socketpair()
    family = []
    try:
        for part, end in ((work, core), (run, child)):
            family.append(os.fork())
            if not family[-1]:
                part(url, told, end)
            ready.recv(1)
        times = call(url, count)
    finally:
        for pid in filter(None, family):
            os.kill(pid, signal.SIGKILL)
    print(json.dumps({"p50 ms": times[count // 2], "p99 ms": times[min(count - 1, count * 99 // 100)]}))


if __name__ == "__main__":
    main()
