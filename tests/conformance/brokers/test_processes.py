"""Several processes on one broker: take-over, fencing, orphans, forks, many at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from .tools import LEASE, in_order, needs, outgoing, send, sized

HOLDER = Path(__file__).with_name("holder.py")


class Process:
    """A `holder.py`."""

    def __init__(self, url: str, window: int, *extra: str, lease: float = LEASE) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, str(HOLDER), url, str(lease), str(window), *extra],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.lines: list[str] = []  # said, and not yet expected

    def expect(self, start: str) -> str:
        """Read until a line begins so, and take it out of `lines`; return it."""
        while not any(line.startswith(start) for line in self.lines):
            line = self.popen.stdout.readline()
            assert line, f"ended without saying {start!r}: {self.lines}"
            self.lines.append(line.strip())
        found = next(line for line in self.lines if line.startswith(start))
        self.lines.remove(found)
        return found

    def tell(self, line: str) -> None:
        self.popen.stdin.write(line + "\n")

    def kill(self) -> None:
        self.popen.kill()
        self.close()

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def start(site):
    needs(site.broker, "shared")
    needs(site.broker, "recovers")
    started = []

    def begin(window=10, *extra, lease=LEASE):
        process = Process(site.url, window, *extra, json.dumps(site.arguments), lease=lease)
        started.append(process)
        process.expect("ready")
        return process

    yield begin
    for process in started:
        process.close()


def test_a_killed_workers_messages_are_taken_over(broker, queue, work, start):
    async def test(hire):
        worker = await hire(queue)
        worker.consumer.allow(0)
        send(broker, *range(5))
        process = start(5)
        for _ in range(5):
            process.expect("got")
        worker.consumer.allow(5)
        process.kill()
        await worker.seen.count(5)
        assert in_order(broker, worker.seen.bodies) == ["0", "1", "2", "3", "4"]
        assert {delivery.deliveries for delivery in worker.seen.deliveries} == {2}

    work(test)


def test_every_worker_that_died_with_a_message_is_counted(broker, queue, work, start):
    needs(broker, "leases")

    async def test(hire):
        send(broker, "a")
        for _ in range(3):
            process = start(1)
            process.expect("got")
            process.kill()
        worker = await hire(queue)
        worker.consumer.allow(1)
        (delivery,) = await worker.seen.count(1)
        assert (delivery.body, delivery.deliveries, delivery.redelivered) == (b"a", 4, True)
        worker.consumer.ack(delivery)
        await worker.consumer.flush()
        await sized(broker, "work", 0)

    work(test)


def test_a_killed_workers_begun_messages_become_orphans(broker, queue, work, start):
    needs(broker, "leases")

    async def test(hire):
        send(broker, "a", "b")
        process = start(1)
        process.expect("got a")
        process.tell("begin")
        process.expect("begun 1")
        process.expect("got b")
        process.kill()
        worker = await hire(queue)
        worker.consumer.allow(10)
        await worker.seen.until(lambda: worker.seen.orphans and worker.seen.deliveries)
        assert [delivery.body for delivery in worker.seen.orphans] == [b"a"]
        assert worker.seen.bodies == ["b"]
        for delivery in worker.seen.orphans + worker.seen.deliveries:
            worker.consumer.ack(delivery)
        await worker.consumer.stop()
        late = await hire(queue)
        late.consumer.allow(10)
        send(broker, "end")
        await late.seen.count(1)
        assert (late.seen.bodies, late.seen.orphans) == (["end"], [])

    work(test)


def test_orphans_wait_for_a_worker_that_consumes_their_queue(broker, queue, work, start):
    needs(broker, "leases")

    async def test(hire):
        from celery.brokers.topology import Queue

        send(broker, "a")
        process = start(1)
        process.expect("got a")
        process.tell("begin")
        process.expect("begun 1")
        process.kill()
        other = await hire(Queue("other"))
        other.consumer.allow(1)
        await other.consumer.flush()
        send(broker, "x", queue="other")
        await other.seen.count(1)
        await other.consumer.stop()
        assert other.seen.orphans == []
        worker = await hire(queue)
        await worker.seen.until(lambda: worker.seen.orphans)

    work(test)


def test_a_stopped_worker_is_fenced(broker, queue, work, start):
    needs(broker, "leases")

    async def test(hire):
        worker = await hire(queue)
        send(broker, "a", "b")
        process = start(2)
        process.expect("got b")
        process.tell("begin")
        process.expect("begun 2")
        process.popen.send_signal(signal.SIGSTOP)
        await worker.seen.until(lambda: len(worker.seen.orphans) == 2)
        process.popen.send_signal(signal.SIGCONT)
        process.tell("ack")
        process.expect("fenced")
        process.expect("acked")
        # Its late acknowledgement changed nothing: the orphans are still ours to settle.
        assert len(await worker.consumer.begin(worker.seen.orphans)) == 2
        send(broker, "c")
        process.expect("got c 1")

    work(test)


def test_a_fenced_workers_reserved_messages_run_elsewhere(broker, queue, work, start):
    needs(broker, "leases")

    async def test(hire):
        send(broker, "a")
        process = start(1)
        process.expect("got a")
        worker = await hire(queue)
        worker.consumer.allow(1)
        process.popen.send_signal(signal.SIGSTOP)
        (delivery,) = await worker.seen.count(1)
        process.popen.send_signal(signal.SIGCONT)
        process.tell("ack")
        process.expect("acked")
        process.kill()  # it has room again, and might get what is requeued
        worker.consumer.requeue(delivery)
        again = (await worker.seen.count(2))[1]
        assert again.deliveries == 3
        worker.consumer.ack(again)
        await worker.consumer.flush()
        assert broker.size("work") == 0

    work(test)


def test_a_keeper_holds_the_lease_while_a_task_hogs_the_interpreter(broker, queue, work, start):
    needs(broker, "leases")

    async def test(hire):
        send(broker, "a")
        process = start(1, "guarded")
        process.expect("got a")
        worker = await hire(queue)
        worker.consumer.allow(10)
        process.tell(f"hog {4 * LEASE}")
        process.expect("hogged")
        process.tell("ack")
        process.expect("acked")
        assert "fenced" not in process.lines
        assert worker.seen.deliveries == []
        # Stopped is not busy: the keeper lets go.
        worker.consumer.allow(0)
        await worker.consumer.flush()
        send(broker, "b")
        process.expect("got b")
        worker.consumer.allow(10)
        process.popen.send_signal(signal.SIGSTOP)
        await worker.seen.count(1)

    work(test)


def test_a_worker_whose_tasks_hog_the_interpreter_does_not_keep_others_out(broker, queue, start):
    """Its threads stand still in the middle of whatever they do, again and again; nobody else may wait for that."""
    needs(broker, "leases")

    process = start(50, "guarded", "eager")
    process.tell("hog 2 2")
    publisher = broker.publisher()
    sent = 0
    hogged = threading.Event()
    waiting = threading.Thread(target=lambda: (process.expect("hogged"), hogged.set()))
    waiting.start()
    while not hogged.is_set():
        assert publisher.publish([outgoing(sent)], deadline=time.monotonic() + 1.5) == [None]
        sent += 1
    waiting.join()
    assert sent > 10


def test_fifty_threads_publish(broker, queue):
    publisher = broker.publisher()
    failures = []

    def run(start):
        try:
            for number in range(20):
                publisher.publish([outgoing(start * 20 + number)], deadline=time.monotonic() + 30)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert broker.size("work") == 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_after_the_first_publish(broker, queue, work):
    if not broker.capabilities.shared:
        pytest.skip("this broker lives in one process")
    publisher = broker.publisher()
    publisher.publish([outgoing("first")], deadline=time.monotonic() + 30)
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            publisher.publish([outgoing("parent")], deadline=time.monotonic() + 30)

    thread = threading.Thread(target=busy)
    thread.start()
    children = []
    for child in range(8):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for number in range(20):
                    broker.publisher().publish(
                        [outgoing(f"{child}-{number}")], deadline=time.monotonic() + 30
                    )
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    stop.set()
    thread.join()
    assert codes == [0] * 8
    publisher.publish([outgoing("last")], deadline=time.monotonic() + 30)

    async def test(hire):
        worker = await hire(queue)
        total = broker.size("work")
        await worker.take(total)
        counts = Counter(worker.seen.bodies)
        assert counts.pop("first") == counts.pop("last") == 1
        counts.pop("parent", None)
        assert counts == {f"{child}-{number}": 1 for child in range(8) for number in range(20)}

    work(test)


PUBLISH = """
import sys, time
sys.path.insert(0, sys.argv[4])
from tests.conformance.brokers.tools import open_broker, options, outgoing
broker = open_broker(sys.argv[1], options(sys.argv[1]))
start, count = int(sys.argv[2]), int(sys.argv[3])
for number in range(start, start + count):
    assert broker.publisher().publish([outgoing(number)], deadline=time.monotonic() + 30) == [None]
"""


def test_many_processes_on_one_broker(site, broker, queue, work, start):
    """Producers and consumers at once, one consumer killed: everything arrives, only what was held comes twice."""
    needs(broker, "leases")

    async def test(hire):
        root = str(Path(__file__).parents[3])
        producers = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", PUBLISH, site.url, str(index * 200), "200", root
            )
            for index in range(4)
        ]
        victim = start(50)
        victim.expect("got")
        workers = [await hire(queue) for _ in range(3)]
        finished: list[str] = []
        progress = asyncio.Event()

        async def serve(worker):
            while True:
                await worker.seen.until(lambda: worker.seen.deliveries)
                batch, worker.seen.deliveries = worker.seen.deliveries, []
                for delivery in batch:
                    finished.append(delivery.body.decode())
                    worker.consumer.ack(delivery)
                progress.set()

        async def reached(number):
            while len(finished) < number:
                progress.clear()
                await progress.wait()

        async with asyncio.timeout(40):
            for worker in workers:
                worker.consumer.allow(20)
            serving = [asyncio.ensure_future(serve(worker)) for worker in workers]
            await reached(400)
            victim.kill()
            await reached(800)
            assert [await producer.wait() for producer in producers] == [0] * 4
        for task in serving:
            task.cancel()
        assert Counter(finished) == dict.fromkeys(map(str, range(800)), 1)
        for worker in workers:
            await worker.consumer.flush()
        assert broker.size("work") == 0

    work(test)
