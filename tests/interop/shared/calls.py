"""Calling tasks in every way, and telling what came of it: run by both sides against the workers of both."""

import json
import time
import uuid

import tasks
from stored import described
from tasks import app

from celery import chain, chord, group

SERIALIZERS = ("json", "pickle", "yaml", "msgpack")
COMPRESSIONS = (None, "gzip", "bzip2", "lzma", "brotli")
LONG = 30


def attempt(result):
    """What became of a call."""
    try:
        value = described(result.get(timeout=LONG))
    except Exception as exc:
        value = described(exc)
    return [result.state, value]


def until_ready(result):
    """The state of a result whose parents may have failed before it does."""
    deadline = time.monotonic() + LONG
    while not result.ready() and time.monotonic() < deadline:
        time.sleep(0.01)
    return result.state


def notes(key, count, seconds=LONG):
    """Wait for so many notes of tasks, and return them."""
    deadline = time.monotonic() + seconds
    while app.backend.client.llen(key) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return [json.loads(note) for note in app.backend.client.lrange(key, 0, -1)]


def encodings(queue):
    arguments = (1, "ü\U0001f511", None, [1, {"a": 2}]), {"k": 2.5}
    return {
        f"{serializer}/{compression}": attempt(
            tasks.echo.apply_async(*arguments, queue=queue, serializer=serializer, compression=compression)
        )
        for serializer in SERIALIZERS
        for compression in COMPRESSIONS
    }


def requests(queue):
    """What the worker sees of a request; ids by what they are equal to."""
    found = {}
    for name, options in {
        "plain": {},
        "limits": {"time_limit": 20, "soft_time_limit": 10},
        "shadow": {"shadow": "other"},
        "old protocol": {},
        **{f"priority {n}": {"priority": n} for n in range(10)},
    }.items():
        _use_protocol(1 if name == "old protocol" else 2)
        result = tasks.context.apply_async(queue=queue, **options)
        _use_protocol(2)
        seen = result.get(timeout=LONG)
        ids = {result.id: "own", None: None}
        if name == "old protocol":  # its messages have no root
            seen["root_id"] = None
        found[name] = seen | {key: ids.get(seen[key], "other") for key in ("id", "root_id", "parent_id")}
    return found


def _use_protocol(version):
    app.conf.task_protocol = version
    app.__dict__.pop("amqp", None)  # the real Celery remembers there what it has read


def failures(queue):
    return {kind: attempt(tasks.fail.apply_async((kind,), queue=queue)) for kind in tasks.RAISED}


def states(queue):
    rejected = tasks.rejected.apply_async(queue=queue)
    ignored = tasks.ignored.apply_async(queue=queue)
    found = {
        "retried": attempt(tasks.retried.apply_async((2,), queue=queue)),
        "retries exhausted": attempt(tasks.retried.apply_async((9,), queue=queue))[0],
        "reporting": attempt(tasks.reporting.apply_async(queue=queue)),
        "expires later": attempt(tasks.add.apply_async((1, 1), queue=queue, expires=60)),
        "expired": attempt(tasks.add.apply_async((1, 1), queue=queue, countdown=1, expires=0.2)),
    }
    # They leave nothing behind them, so something after them on the same queue says that they are over.
    for _ in range(3):
        tasks.add.apply_async((1, 1), queue=queue).get(timeout=LONG)
    return found | {"rejected": rejected.state, "ignored": ignored.state}


def due(queue):
    """Seconds that a call with a countdown took, rounded down: not before its time."""
    began = time.time()
    results = [tasks.clock.apply_async(queue=queue, countdown=n) for n in (1.0, 1.5)]
    results.append(tasks.clock.apply_async(queue=queue, eta=_eta(2.0)))
    ends = [result.get(timeout=LONG) - began for result in results]
    return [wanted <= took < wanted + 10 for wanted, took in zip((1.0, 1.5, 2.0), ends, strict=True)]


def _eta(seconds):
    from datetime import datetime, timedelta, timezone

    return datetime.now(timezone.utc) + timedelta(seconds=seconds)  # noqa: UP017


def links(queue):
    key = uuid.uuid4().hex
    linked = tasks.note.si(key, "linked").set(queue=queue)
    tasks.add.apply_async((1, 1), queue=queue, link=[linked])
    tasks.add.apply_async((2, 3), queue=queue, link=tasks.kept.s(key).set(queue=queue))
    found = {"link": sorted((args for _, args in notes(f"note:{key}", 2)), key=repr)}
    app.backend.client.delete("errbacks")
    first = tasks.fail.apply_async(
        ("builtin",), queue=queue, link_error=tasks.noted_error.s().set(queue=queue)
    )
    second = tasks.fail.apply_async(
        ("user",), queue=queue, link_error=tasks.noted_failure.s().set(queue=queue)
    )
    ids = {first.id: "first", second.id: "second"}
    found["errbacks"] = sorted(([ids[task_id], exc] for _, task_id, exc in notes("errbacks", 2)), key=repr)
    return found


def ignoring(queue):
    key = uuid.uuid4().hex
    by_task = tasks.forgotten.apply_async((key,), queue=queue)
    by_call = tasks.note.apply_async((key,), queue=queue, ignore_result=True)
    return [len(notes(f"note:{key}", 2)), by_task.state, by_call.state]


def families(queue):
    """Results with children and parents, groups, and workflows."""
    app.conf.task_default_queue = queue
    result = tasks.parent.apply_async(queue=queue)
    ids = result.get(timeout=LONG)
    found = {
        "children": [child.id for child in result.children] == ids,
        "values of children": [child.get(timeout=LONG) for child in result.children],
    }
    members = group(tasks.add.s(n, n).set(queue=queue) for n in range(5)).apply_async()
    members.save()
    restored = type(members).restore(members.id, app=app)
    found["group"] = [members.get(timeout=LONG), restored.get(timeout=LONG)]
    steps = chain(
        tasks.add.s(1, 1).set(queue=queue), tasks.add.s(2).set(queue=queue), tasks.add.s(3).set(queue=queue)
    )
    last = steps.apply_async()
    found["chain"] = [
        last.get(timeout=LONG),
        last.parent.get(timeout=LONG),
        last.parent.parent.get(timeout=LONG),
    ]
    header = [tasks.add.s(n, 1).set(queue=queue) for n in range(10)]
    found["chord"] = chord(header, tasks.total.s().set(queue=queue)).apply_async().get(timeout=LONG)
    bad = chord(
        [header[0], tasks.fail.s("builtin").set(queue=queue)], tasks.total.s().set(queue=queue)
    ).apply_async()
    found["failing chord"] = until_ready(bad)
    mixed = chain(
        tasks.add.s(1, 1).set(queue=queue),
        group(tasks.add.s(n).set(queue=queue) for n in range(3)),
        tasks.total.s().set(queue=queue),
    )
    found["group in a chain"] = mixed.apply_async().get(timeout=LONG)
    return found


CASES = (encodings, requests, failures, states, due, links, ignoring, families)


def main(queue):
    print(json.dumps({case.__name__: case(queue) for case in CASES}, sort_keys=True))
