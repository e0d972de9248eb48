"""What a call leaves in RabbitMQ: messages, queues, exchanges, bindings. `python rabbitmq_sent.py amqp://... ctl`"""
# ruff: noqa: B023, E402 - questions are put at once, where they stand

import datetime
import os
import re
import sys

URL = sys.argv[1]
os.environ["USED_BROKER"], os.environ["USED_BACKEND"] = URL, "cache+memory://"

import json

from canon import Names
from kombu import Exchange, Queue
from probe import show
from rabbit import Rabbit
from raw import differences
from workload import wait_for, worker

from celery import Celery, chord, group

rabbit = Rabbit(URL, sys.argv[2])


class Calls:
    """A fresh app, with a task."""

    def __init__(self, **settings):
        settings = {"broker": URL, "backend": "cache+memory://", "set_as_current": False} | settings
        self.app = Celery("proj", **settings)

        @self.app.task(name="add", shared=False)
        def add(x=0, y=2):
            return x + y

        self.add = add

    def __call__(self, *args, **options):
        options.setdefault("task_id", "I")
        return self.add.apply_async(args, **options)

    def send(self, name="t", *args, **options):
        options.setdefault("task_id", "I")
        return self.app.send_task(name, args, **options)


def after(send, queue="celery", **settings):
    """The message in a queue."""
    calls = Calls(**settings)
    while rabbit.get(queue, Names()):
        pass
    try:
        send(calls)
    finally:
        calls.app.close()
    return wait_for(lambda: rabbit.get(queue, Names()), 5)


def differs(send, queue="celery", **settings):
    """What is another than in the plain message."""
    return differences(PLAIN, after(send, queue, **settings))


show("plain", lambda: json.dumps(after(lambda call: call(2, 2)), sort_keys=True))
PLAIN = after(lambda call: call(1))
YEAR2040 = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)
for label, send in {
    "keywords": lambda call: call.add.apply_async((1,), {"y": 5}, task_id="I"),
    "all options": lambda call: call(
        2,
        2,
        countdown=10,
        expires=60,
        priority=5,
        compression="zlib",
        headers={"x-trace": "a"},
        time_limit=20,
        soft_time_limit=10,
        shadow="sh",
    ),
    "eta": lambda call: call(1, eta=YEAR2040),
    "expires seconds": lambda call: call(1, expires=1.5),
    "transient": lambda call: call(1, delivery_mode=1),
    "pickle": lambda call: call(1, serializer="pickle"),
    "yaml": lambda call: call(1, serializer="yaml"),
    "msgpack": lambda call: call(1, serializer="msgpack"),
    "bzip2": lambda call: call(1, compression="bzip2"),
    "unknown task": lambda call: call.send("unknown.task", 1),
    "ignore_result": lambda call: call(1, ignore_result=True),
    "ids": lambda call: call(
        1, root_id="R", parent_id="P", group_id="G", group_index=2, reply_to="rt", retries=1
    ),
    "properties": lambda call: call(1, user_id="guest", app_id="a", message_id="m", type="ty"),
    "stamps": lambda call: call(1, stamped_headers=["s"], s="v"),
    "unicode": lambda call: call("é€😀"),
    "types": lambda call: call(YEAR2040, b"\xff"),
    "headers of all kinds": lambda call: call(
        1,
        headers={
            "int": 1,
            "big": 2**40,
            "float": 1.5,
            "bool": True,
            "none": None,
            "list": [1, "a", {"b": 2}],
            "dict": {"x": {"y": []}},
            "text": "é",
        },
    ),
    "priority 0": lambda call: call(1, priority=0),
    "priority 9": lambda call: call(1, priority=9),
    "priority 255": lambda call: call(1, priority=255),
    "links": lambda call: call(1, link=call.add.s(2), link_error=call.add.s(3)),
    "time limits": lambda call: call(1, time_limit=1.5, soft_time_limit=1),
}.items():
    show(label, lambda: differs(send))
for label, settings in {
    "task_default_priority": {"task_default_priority": 6},
    "task_default_delivery_mode": {"task_default_delivery_mode": 1},
    "task_ignore_result": {"task_ignore_result": True},
    "no backend": {"backend": None},
    "rpc backend": {"backend": "rpc://"},
}.items():
    show(f"setting {label}", lambda: differs(lambda call: call(1), **settings))
show(
    "protocol 1",
    lambda: json.dumps(after(lambda call: call(2, 2, expires=9), task_protocol=1), sort_keys=True),
)
show("chord", lambda: differs(lambda call: chord([call.add.s(1)], call.add.s(), app=call.app).apply_async()))
show("group", lambda: differs(lambda call: group(call.add.s(1), call.add.s(2), app=call.app).apply_async()))


def declared(word):
    """What there is in the vhost whose names have a word."""
    return [line for line in there if word in line.replace("-> ", "").split()]


there = rabbit.everything(Names())
show("declared by a call", lambda: declared("celery"))
QUEUES = {
    "task_queues": [
        Queue("one", Exchange("xdirect", type="direct"), routing_key="k1"),
        Queue(
            "two", Exchange("xtopic", type="topic"), routing_key="t.#", queue_arguments={"x-max-priority": 10}
        ),
        Queue("three", Exchange("xfan", type="fanout"), durable=False, auto_delete=True),
        Queue("four", Exchange("xheaders", type="headers"), binding_arguments={"x-match": "all", "a": "1"}),
        Queue(
            "five",
            Exchange("xdirect", type="direct"),
            routing_key="k5",
            expires=300,
            message_ttl=60,
            max_length=5,
            max_length_bytes=10000,
        ),
        Queue("six", "", routing_key="six", exclusive=False, delivery_mode=1),
    ],
    "task_default_queue": "one",
}
SENT = [
    ("queue one", {"queue": "one"}, "one"),
    ("default", {}, "one"),
    ("queue two", {"queue": "two", "routing_key": "t.a", "priority": 7}, "two"),
    ("queue two without key", {"queue": "two"}, "two"),
    ("queue three", {"queue": "three"}, "three"),
    ("queue four", {"queue": "four", "headers": {"a": "1"}}, "four"),
    ("queue five", {"queue": "five"}, "five"),
    ("queue six", {"queue": "six"}, "six"),
    ("undeclared", {"queue": "fresh"}, "fresh"),
]
for label, options, queue in SENT:
    show(f"sent to {label}", lambda: differs(lambda call: call(1, **options), queue, **QUEUES))
show(
    "sent to quorum queues",
    lambda: differs(lambda call: call(1), "qq", task_default_queue="qq", task_default_queue_type="quorum"),
)
show(
    "sent with max priority",
    lambda: differs(lambda call: call(1), "pp", task_default_queue="pp", task_queue_max_priority=5),
)
there = rabbit.everything(Names())
for queue in ("one", "two", "three", "four", "five", "six", "fresh", "qq", "pp"):
    show(f"declared for {queue}", lambda: declared(queue))
show("exchanges", lambda: [line for line in there if line.startswith("exchange")])


def _read():
    after(lambda call: call(1))
    call = Calls()
    call(1, 2, headers={"h": 1})
    with call.app.connection_for_read() as connection:
        got = connection.SimpleQueue("celery").get(timeout=5)
        got.ack()
        return got.payload, got.headers["h"], got.properties["delivery_mode"], got.content_type


show("read by app.connection", _read)


def news(names, before):
    """What is there since: of tasks only, and of the levels of delay the first and the last."""
    lines = [line for line in rabbit.everything(names) if line not in before]
    lines = [line for line in lines if not any(word in line for word in ("pidbox", "celeryev", "celeriac"))]
    kept = re.compile(r"celery_delayed_(0|27|delivery)\b")
    return [line for line in lines if "celery_delayed_" not in line or kept.search(line)]


# A worker
names = Names()
before = set(rabbit.everything(names))
with worker("-Q", "wq", "--hostname", "w@h"):
    show("declared by a worker", lambda: news(names, before))
    show("its consumer", lambda: wait_for(lambda: rabbit.count("wq")))
DELAYED = {
    "task_default_queue": "delayed",
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
}
with worker("--hostname", "w@h", USED_QUORUM="1", USED_QUEUE="delayed"):
    show("declared by a worker with quorum queues", lambda: news(names, before))
    show(
        "delayed natively",
        lambda: differs(lambda call: call.send("workload.noop", countdown=21), "celery_delayed_4", **DELAYED),
    )
