"""What results leave in Redis: keys, lives, payloads, announcements. `python redis_results.py redis://...`"""
# ruff: noqa: B023 - questions are put at once, where they stand

import contextlib
import datetime
import itertools
import json
import os
import sys
import warnings
import zlib

os.environ["USED_BROKER"] = os.environ["USED_BACKEND"] = sys.argv[1]

import probe
import workload
from canon import Names, tree
from raw import Redis, everything, stable
from workload import app, settle, wait_for, worker

from celery import Celery, chord, group, states
from celery.result import GroupResult

URL = sys.argv[1]
redis = Redis(URL)
#: Keys of no meaning to Celery.
PRIVATE = ("celeriac", r"\.first\.", "^_kombu", "^unacked")


def plain(payload):
    """A stored result; of a traceback the first and the last line."""
    prefix = b"\x00celery-compressed\x00"
    packed = ""
    if payload.startswith(prefix):
        kind, _, payload = payload[len(prefix) :].partition(b"\x00")
        packed, payload = f"{kind.decode()} ", zlib.decompress(payload)
    try:
        meta = json.loads(payload)
    except ValueError:
        return packed + repr(payload)
    if isinstance(meta, dict) and meta.get("traceback"):
        lines = meta["traceback"].strip().splitlines()
        meta["traceback"] = [lines[0], lines[-1]]
    if isinstance(meta, dict) and meta.get("worker"):
        meta["worker"] = "WORKER"
    return packed + stable(json.dumps(meta, sort_keys=True), Names())


def life(key):
    left = redis("TTL", key)
    return "for ever" if left < 0 else f"{round(left / 10) * 10} s"


def stored(task_id, prefix=""):
    key = f"{prefix}celery-task-meta-{task_id}"
    payload = redis("GET", key)
    return None if payload is None else (life(key), plain(payload))


def own(backend=URL, **settings):
    own_app = Celery("own", broker=URL, backend=backend, set_as_current=False)
    own_app.conf.update(settings)
    return own_app


def show(label, question):
    """Without what Celery's client library says of itself."""

    def ask():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return question()

    probe.show(label, ask)


# Stored by hand
def put(value="v", state=states.SUCCESS, prefix="", **settings):
    redis("FLUSHDB")
    store = own(**settings).backend
    store.store_result("I", value, state)
    return stored("I", prefix)


show("success", put)
for state in ("STARTED", "PENDING", "RECEIVED", "CUSTOM"):
    show(f"state {state}", lambda: put({"a": 1}, state))
for state in ("FAILURE", "RETRY", "REVOKED"):
    show(f"state {state}", lambda: put(ValueError("bad", 1), state))
show("none", lambda: put(None))
show("unicode", lambda: put("é€😀"))
show("types", lambda: put([datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC), b"\xff", {"a": (1,)}]))
for label, value in {"None": None, "0": 0, "60": 60, "timedelta": datetime.timedelta(hours=2)}.items():
    show(f"expires {label}", lambda: put(result_expires=value))
show(
    "failure expires",
    lambda: [
        put(ValueError("x"), state, result_failure_expires=100, result_expires=1000)[0]
        for state in ("FAILURE", "REVOKED", "RETRY")
    ],
)
show("failure does not expire", lambda: put(ValueError("x"), "FAILURE", result_failure_expires=0)[0])
for label, prefix in {"plain": "pre", "with end": "pre_", "with dash": "pre-", "with colon": "pre:"}.items():
    show(
        f"prefix {label}",
        lambda: (
            put(result_backend_transport_options={"global_keyprefix": prefix}),
            [key.decode() for key in redis("KEYS", "*")],
        )[1],
    )
show("pickle", lambda: put("v", result_serializer="pickle", accept_content=["pickle", "json"]) and "stored")
show("yaml", lambda: put({"a": 1}, result_serializer="yaml", accept_content=["yaml", "json"])[1])
show("compressed", lambda: put("v" * 20, result_compression="zlib"))
show(
    "compressed is read",
    lambda: (put("v" * 20, result_compression="zlib"), own().AsyncResult("I").get(timeout=5))[1],
)
show(
    "exceptions",
    lambda: [
        json.loads(own().backend.encode(own().backend.prepare_exception(exc)))
        for exc in (
            KeyError("a"),
            OSError(2, "x", "f"),
            ValueError(),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "r"),
            workload.Odd({1}, object),
        )
    ],
)


def announced():
    redis("FLUSHDB")
    listener = Redis(URL)
    listener("PSUBSCRIBE", "*")
    store = own().backend
    store.store_result("I", 1, states.STARTED)
    store.store_result("I", 5, states.SUCCESS)
    heard = [listener.read(2) for _ in range(2)]
    return [(channel.decode(), plain(payload)) for _, _, channel, payload in heard]


show("announced", announced)
show(
    "success stays", lambda: (put(), own().backend.store_result("I", "w", states.STARTED), stored("I")[1])[2]
)
show(
    "failure may change",
    lambda: (
        put(ValueError("x"), "FAILURE"),
        own().backend.store_result("I", "w", states.SUCCESS),
        json.loads(redis("GET", "celery-task-meta-I"))["status"],
    )[2],
)


def grouped(question, **settings):
    redis("FLUSHDB")
    own_app = own(**settings)
    result = GroupResult("G", [own_app.AsyncResult("a"), own_app.AsyncResult("b")], app=own_app)
    return question(own_app, result)


show("group", lambda: grouped(lambda app, r: (r.save(), everything(redis))[1]))
show(
    "group that does not expire",
    lambda: grouped(lambda app, r: (r.save(), everything(redis))[1], result_expires=None),
)
show(
    "group restored",
    lambda: grouped(
        lambda app, r: (
            r.save(),
            app.GroupResult.restore("G"),
            r.delete(),
            app.GroupResult.restore("G"),
            redis("KEYS", "*"),
        )[1:]
    ),
)
show("forgotten", lambda: (put(), own().AsyncResult("I").forget(), redis("KEYS", "*"))[2])
show(
    "joined",
    lambda: grouped(
        lambda app, r: (
            [app.backend.store_result(i, i * 2, "SUCCESS") for i in "ab"],
            r.get(timeout=5),
            r.join_native(timeout=5),
        )[1:]
    ),
)
show(
    "keys by hand",
    lambda: (
        lambda b: [
            key.decode() if isinstance(key, bytes) else key
            for key in (
                b.get_key_for_task("I"),
                b.get_key_for_group("G"),
                b.get_key_for_group("G", ".j"),
                b.get_key_for_chord("G"),
            )
        ]
    )(own().backend),
)
show(
    "as_uri",
    lambda: [
        own(backend=uri).backend.as_uri()
        for uri in ("redis://", "redis://:pw@localhost:7777/3", "redis://u:pw@localhost:7777/3")
    ],
)


# By a worker
numbers = itertools.count()


def worked(sig, **options):
    task_id = f"I{next(numbers)}"
    sig.apply_async(task_id=task_id, **options)
    settle()
    with contextlib.suppress(AssertionError):
        # The main process stores what has expired; that may come after what the pool stores.
        return wait_for(lambda: stored(task_id), 0.3)
    return None


def sent_badly():
    app.send_task("workload.add", (1, 2, 3), task_id="bad")
    settle()
    return stored("bad")


def chord_sent(sig):
    """Keys of a chord as soon as it is sent: no worker is there."""
    redis("FLUSHDB")
    result = sig.apply_async()
    names = Names()
    names(result.id)
    found = [line for line in everything(redis, names, (*PRIVATE, "^celery$")) if not line.startswith("list")]
    return tree(result), found


SIGS = [workload.add.s(1, 1), workload.add.s(2, 2)]
show("chord sent", lambda: chord_sent(chord(SIGS, workload.xsum.s())))
show(
    "chord of chain sent",
    lambda: chord_sent(
        chord([workload.add.s(1, 1) | workload.add.s(1), workload.add.s(2, 2)], workload.xsum.s())
    ),
)
show(
    "chord of chain with group sent",
    lambda: chord_sent(
        chord(
            [workload.add.s(1, 1) | group(workload.add.s(1), workload.add.s(2)), workload.add.s(2, 2)],
            workload.xsum.s(),
        )
    ),
)
show(
    "chord of chord sent",
    lambda: chord_sent(chord([chord(SIGS, workload.xsum.s()), workload.add.s(2, 2)], workload.xsum.s())),
)
show("group sent", lambda: chord_sent(group(SIGS)))
show("chain sent", lambda: chord_sent(SIGS[0] | SIGS[1]))
redis("FLUSHDB")


def chord_half(prefix="half"):
    """Keys when one of two has ended, and when all have."""
    names = Names()
    for key in redis("KEYS", "celery-*"):
        redis("DEL", key)
    sig = chord([workload.waits_for.s(f"{prefix}{n}") for n in range(2)], workload.noop.si())
    result = sig.apply_async(countdown=0)
    open(f"{prefix}1", "w").close()
    wait_for(lambda: redis("KEYS", "*.j"))
    half = chord_keys(names, result)
    open(f"{prefix}0", "w").close()
    result.get(timeout=10)
    settle()
    return half, chord_keys(names, result)


def chord_keys(names, result):
    names(result.parent.id)
    for member in result.parent.results:
        names(member.id)
    return everything(redis, names, (*PRIVATE, "^celery$", "celery-task-meta"))


with worker(concurrency=2):
    show("chord keys", chord_half)
with worker(USED_EXTENDED=""):
    show("worker success", lambda: worked(workload.add.s(2, 2)))
    show("worker failure", lambda: worked(workload.fail.s(1)))
    show("worker retry that ends", lambda: worked(workload.retries.s(1)))
    show("worker gives up", lambda: worked(workload.gives_up.s()))
    show("worker ignored", lambda: worked(workload.ignores.s()))
    show("worker rejected", lambda: worked(workload.rejects.s()))
    show("worker rejected late", lambda: worked(workload.rejects_late.s()))
    show("worker silent", lambda: worked(workload.silent.s()))
    show("worker ignore_result of the call", lambda: worked(workload.add.s(1), ignore_result=True))
    show("worker result although the task ignores", lambda: worked(workload.silent.s(3), ignore_result=False))
    show("worker custom state", lambda: worked(workload.progress.s()))
    show("worker expired", lambda: worked(workload.add.s(1), expires=-1))
    show("worker unserialisable", lambda: worked(workload.returns.s("set")))
    show("worker bytes", lambda: worked(workload.returns.s("bytes")))
    show("worker none", lambda: worked(workload.returns.s("none")))
    show("worker nested", lambda: worked(workload.returns.s("nested")))
    show("worker odd exception", lambda: worked(workload.raises_odd.s()))
    show("worker chained exception", lambda: worked(workload.raises_from.s()))
    show("worker unknown task", lambda: worked(app.signature("unknown.task")))
    show("worker bad arguments", lambda: sent_badly())
    show("worker children", lambda: worked(workload.starts.s()))
    show(
        "worker parent and group",
        lambda: worked(workload.add.s(1), parent_id="P", root_id="R", group_id="G", group_index=1),
    )
    show("worker stamps", lambda: worked(workload.add.s(1).set(stamped_headers=["s"], s="v")))
with worker(USED_EXTENDED="1"):
    show("extended success", lambda: worked(workload.add.s(2, y=3)))
    show("extended failure", lambda: worked(workload.fail.s(1)))
    show("extended retries", lambda: worked(workload.retries.s(1)))
    show("extended rejected", lambda: worked(workload.rejects.s()))
    show("extended expired", lambda: worked(workload.add.s(1), expires=-1))
    show("extended stamps", lambda: worked(workload.add.s(1).set(stamped_headers=["s"], s="v")))
    show("extended parent", lambda: worked(workload.add.s(1), parent_id="P", root_id="R", group_id="G"))
    show("extended unknown task", lambda: worked(app.signature("unknown.task", (1,))))
    show(
        "extended attributes",
        lambda: (
            lambda r: (r.get(timeout=9), r.name, r.args, r.kwargs, r.retries, r.queue, r.worker is not None)
        )(workload.add.delay(2, y=3)),
    )
