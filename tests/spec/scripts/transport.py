"""kombu's entities over the stores that are built in: what a program of kombu's does with `app.connection()`."""
# ruff: noqa: B023 - questions are put at once, where they stand

import sys
import warnings
from pathlib import Path

from kombu import Exchange, Producer, Queue
from probe import show

from celery import Celery

warnings.simplefilter("ignore")
URLS = {"memory": "memory://", "sqlite": f"sqlite:///{Path.cwd()}/store.db"}
for kind in sys.argv[1:] or URLS:
    app = Celery("transport", broker=URLS[kind], backend="cache+memory://", set_as_current=False)

    def ask(label, question):
        show(f"{kind} {label}", question)

    @app.task(name="add", shared=False)
    def add(x, y):
        return x + y

    with app.connection_for_write() as connection:
        channel = connection.default_channel
        queue = Queue("kq", Exchange("kx", type="direct"), routing_key="kk")(channel)
        producer = Producer(channel)

        def publish(body, **options):
            producer.publish(body, exchange="kx", routing_key="kk", **options)

        def got():
            message = queue.get()
            message.ack()
            return (
                message.payload,
                message.headers,
                message.content_type,
                message.delivery_info["routing_key"],
            )

        def drained():
            seen = []

            def callback(body, message):
                seen.append(body)
                message.ack()

            publish({"b": 2})
            with connection.Consumer(queue, callbacks=[callback]):
                connection.drain_events(timeout=9)
            return seen

        def timed_out():
            with connection.Consumer(queue, callbacks=[print]):
                connection.drain_events(timeout=0.1)

        def requeued():
            publish({"d": 4})
            queue.get().reject(requeue=True)
            message = queue.get()
            message.ack()
            return message.payload, bool(message.delivery_info.get("redelivered"))

        def topic():
            bound = Queue("tq", Exchange("tx", type="topic"), routing_key="a.#")(channel)
            bound.declare()
            producer.publish("text", exchange="tx", routing_key="a.b.c")
            return bound.get().payload

        ask("declare", queue.declare)
        publish({"a": 1}, headers={"h": 1}, priority=2)
        ask("count", lambda: queue.queue_declare(passive=True).message_count)
        ask("get", got)
        ask("empty", queue.get)
        ask("drain", drained)
        ask("timeout", timed_out)
        publish({"c": 3})
        publish({"c": 3})
        ask("purge", queue.purge)
        simple = connection.SimpleQueue("simple")
        ask("simple", lambda: (simple.put({"x": 1}), simple.qsize(), simple.get(timeout=9).payload))
        ask("simple empty", lambda: simple.get(timeout=0.1))
        ask("requeue", requeued)
        ask("topic", topic)

    add.apply_async((1, 2), task_id="I")
    with app.connection_for_read() as connection:
        seen = []

        def callback(body, message):
            seen.append((message.headers["task"], body, message.properties["correlation_id"]))
            message.ack()

        with app.amqp.TaskConsumer(connection.default_channel, callbacks=[callback]):
            ask("task", lambda: (connection.drain_events(timeout=9), seen))
