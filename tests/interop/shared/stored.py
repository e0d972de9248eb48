"""Storing results of every kind, and telling what was read: run by both sides, whose answers are compared."""

import base64
import datetime
import decimal
import json
import os
import uuid
import warnings

import tasks

from celery import result as results
from celery import states
from celery.app.task import Context
from celery.result import AsyncResult

warnings.simplefilter("ignore")

PLAIN = [
    5,
    2.5,
    "text",
    "ümläut \U0001f511",
    None,
    True,
    [1, [2, {"a": None}]],
    {"k": {"n": [1]}},
    "",
    [],
    2**53,
]
RICH = {
    "json": [
        datetime.datetime(2026, 11, 28, 15, 0, tzinfo=datetime.UTC),
        decimal.Decimal("1.50"),
        uuid.UUID(int=7),
        b"bytes",
    ],
    "pickle": [{1, 2}, (1, 2), 2 + 1j, b"\x00\xff"],
    "msgpack": [b"\x00\xff"],
    "yaml": [datetime.date(2026, 11, 28)],
}
KINDS = [
    (serializer, compression)
    for serializer in ("json", "pickle", "yaml", "msgpack")
    for compression in (None, "gzip", "bzip2", "lzma", "brotli")
]
if os.environ.get("COMPRESSED") == "no":  # not every store holds bytes
    KINDS = [("json", None), ("pickle", None)]
GroupResult = getattr(results, "GroupResult", None)
IDS = uuid.UUID("00000000-0000-0000-0000-00000000c0de")


def configure(serializer, compression):
    app = tasks.app
    app.conf.update(result_serializer=serializer, result_compression=compression, result_extended=True)
    url = app.conf.result_backend
    for alias in ("db+", "cache+"):
        url = url.removeprefix(alias)
    return type(app.backend)(app=app, url=url)


def name(*parts):
    """A task id that both sides can tell."""
    return str(uuid.uuid5(IDS, "/".join(map(str, parts))))


def store(writer):
    for serializer, compression in KINDS:
        backend = configure(serializer, compression)
        key = (writer, serializer, compression)
        request = Context(
            {"task": "tasks.add", "args": [1, 2], "kwargs": {"z": 1}, "hostname": "w@h", "retries": 1,
             "group": "g", "parent_id": "p", "delivery_info": {"routing_key": "q"}}
        )  # fmt: skip
        request.children.append(AsyncResult("child", app=tasks.app))
        for number, value in enumerate([*PLAIN, *RICH[serializer]]):
            backend.store_result(name(*key, "value", number), value, states.SUCCESS, request=request)
        for kind, make in tasks.RAISED.items():
            try:
                raise make()
            except Exception as exc:
                backend.store_result(name(*key, kind), exc, states.FAILURE, traceback=f"Traceback of {kind}")
        backend.mark_as_revoked(name(*key, "revoked"), "terminated")
        backend.mark_as_retry(name(*key, "retry"), KeyError("k"), "Retry traceback")
        backend.mark_as_started(name(*key, "started"), pid=1, hostname="w@h")
        backend.store_result(name(*key, "progress"), {"done": 5}, "PROGRESS")
        if GroupResult is None:
            continue
        group = GroupResult(name(*key, "group"), [AsyncResult(i, app=tasks.app) for i in ("a", "b")])
        group.save(backend=backend)


def described(value):
    """What a reader got, as JSON that shows types."""
    if isinstance(value, BaseException):
        kind = type(value)
        return {"raised": f"{kind.__module__}.{kind.__qualname__}", "args": described(list(value.args))}
    if isinstance(value, dict):
        return {str(key): described(item) for key, item in value.items()}
    if isinstance(value, list):
        return [described(item) for item in value]
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if value is None or isinstance(value, (str, int, float)):
        return value
    return {type(value).__name__: repr(value)}


def read(writer):
    """Everything that `writer` stored, as this side reads it."""
    found = {}
    for serializer, compression in KINDS:
        backend = configure(serializer, None)  # what reads need not be told how it was compressed
        key = (writer, serializer, compression)
        ends = [*tasks.RAISED, "revoked", "retry", "started", "progress", "nothing"]
        cases = [("value", n) for n in range(len(PLAIN + RICH[serializer]))] + [(end,) for end in ends]
        for case in cases:
            result = AsyncResult(name(*key, *case), backend=backend, app=tasks.app)
            found["/".join(map(str, (serializer, compression, *case)))] = {
                "state": result.state,
                "info": described(result.info),
                "traceback": result.traceback,
                "children": repr(result.children),
                "name": result.name,
                "args": described(result.args),
                "kwargs": result.kwargs,
                "worker": result.worker,
                "retries": result.retries,
                "queue": result.queue,
                "dated": bool(result.date_done),
            }
        if GroupResult is None:
            continue
        group = GroupResult.restore(name(*key, "group"), backend=backend, app=tasks.app)
        found[f"{serializer}/{compression}/group"] = group and [
            group.id,
            [child.id for child in group.children],
        ]
    return found


def show(value):
    print(json.dumps(value, sort_keys=True))
