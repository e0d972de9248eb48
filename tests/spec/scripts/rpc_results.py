"""The replies of a worker whose results go to whoever asked. `python rpc_results.py amqp://... ctl`"""
# ruff: noqa: B023, E402 - questions are put at once, where they stand

import json
import os
import sys
import time

URL = sys.argv[1]
os.environ["USED_BROKER"], os.environ["USED_BACKEND"] = URL, "rpc://"

import workload
from canon import Names, tree
from probe import show
from rabbit import Rabbit
from raw import stable
from workload import app, settle, worker

from celery import Celery, chain, group
from celery.exceptions import TimeoutError as Late

rabbit = Rabbit(URL, sys.argv[2])
REPLIES = "my.replies"
rabbit.channel.queue_declare(REPLIES, durable=False, auto_delete=False)


#: Calls that are not answered.
SILENT = {"ignored", "silent"}


def answered(label, sig):
    """What arrives in the queue that the call names."""
    names = Names()
    sig.apply_async(task_id="I", reply_to=REPLIES)
    settle()
    deadline = time.monotonic() + 10
    while label not in SILENT and not waiting() and time.monotonic() < deadline:
        time.sleep(0.02)  # a refusal is not sent by the process that runs tasks
    found = []
    while message := rabbit.get(REPLIES, names):
        message["body"] = _plain(message["body"], names)
        found.append(json.dumps(message, sort_keys=True))
    return found


def waiting():
    """How many replies there are."""
    return rabbit.channel.queue_declare(REPLIES, passive=True).message_count


def _plain(meta, names):
    if meta.get("traceback"):
        lines = meta["traceback"].strip().splitlines()
        meta["traceback"] = [lines[0], lines[-1]]
    return json.loads(stable(json.dumps(meta), names))


def queues(names):
    return [
        line
        for line in rabbit.everything(names)
        if line.startswith("queue ")
        and "pidbox" not in line
        and "celeryev" not in line
        and "celeriac" not in line
    ]


def waited(question):
    try:
        return question()
    except Late as exc:
        return type(exc).__name__


def refused(question):
    try:
        return question()
    except NotImplementedError as exc:
        return type(exc).__name__


def own(**settings):
    own_app = Celery("own", broker=URL, backend="rpc://", set_as_current=False)
    own_app.conf.update(settings)
    return own_app


with worker():
    for label, make in {
        "success": lambda: workload.add.s(2, 2),
        "failure": lambda: workload.fail.s(1),
        "retries": lambda: workload.retries.s(1),
        "gives up": lambda: workload.gives_up.s(),
        "ignored": lambda: workload.ignores.s(),
        "rejected": lambda: workload.rejects.s(),
        "silent": lambda: workload.silent.s(),
        "progress": lambda: workload.progress.s(),
        "nested": lambda: workload.returns.s("nested"),
        "unserialisable": lambda: workload.returns.s("set"),
        "unknown": lambda: app.signature("unknown.task"),
        "children": lambda: workload.starts.s(),
        "in a group": lambda: workload.add.s(1).set(group_id="G", group_index=1),
    }.items():
        show(label, lambda: answered(label, make()))
    show(
        "state",
        lambda: (lambda r: (r.get(timeout=4), r.state, r.result, r.ready()))(workload.add.delay(1, 1)),
    )
    show("failure raised", lambda: workload.fail.delay(1).get(timeout=4))
    show("state of another", lambda: own().AsyncResult("nobody's").state)
    show("another waits in vain", lambda: waited(lambda: own().AsyncResult("nobody's").get(timeout=0.3)))
    show("group", lambda: group(workload.add.s(n, n) for n in range(5))().get(timeout=4))
    show(
        "chain",
        lambda: (lambda r: (r.get(timeout=4), r.parent.get(timeout=4), tree(r)))(
            chain(workload.add.s(1, 1), workload.mul.s(3))()
        ),
    )
    show(
        "on_message",
        lambda: (
            lambda heard: (
                workload.add.delay(1, 1).get(timeout=9, on_message=heard.append),
                [sorted(one) for one in heard[:1]],
                [one["status"] for one in heard],
            )
        )([]),
    )
    show("get twice", lambda: (lambda r: (r.get(timeout=4), r.get(timeout=4)))(workload.add.delay(1, 1)))
    show("forget", lambda: (lambda r: (r.get(timeout=4), r.forget()))(workload.add.delay(1, 1)))
    show("save group", lambda: refused(lambda: group(workload.add.s(1, 1))().save()))
    show("restore group", lambda: refused(lambda: app.GroupResult.restore("G")))
    show(
        "reply queues",
        lambda: sorted(
            {line.replace(" ".join(line.split()[1:2]), "NAME") for line in queues(Names()) if "<" in line}
        ),
    )
show(
    "kind",
    lambda: (
        type(app.backend).__name__,
        app.backend.supports_native_join,
        app.backend.supports_autoexpire,
        app.backend.persistent,
        app.backend.as_uri(),
    ),
)
show("persistent", lambda: own(result_persistent=True).backend.persistent)
