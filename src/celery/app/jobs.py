"""What the worker's core, its pools and the code that runs a task say to one another about one run."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec


class Job(msgspec.Struct, array_like=True, eq=False, gc=False):
    """One task to run.

    Attributes:
        tag: unique within this worker; reports name the job by it.
        id, name: of the task.
        headers, properties: raw JSON objects of the message (protocol 2 form).
        body: the serialized `[args, kwargs, embed]`, untouched.
        delivery_info: exchange, routing_key, priority, redelivered; it becomes the request's own.
        time_limit, soft_time_limit: seconds, None for no limit; already merged from call, task and setting.
        announce: the core wants `started` for this job (events, inspection, limits).
        ignore_result, group, parent_id, compressed: what the headers say, so that most tasks can be run without decoding
            the rest; `compressed` is about the body.
        claim: of the delivery; the result is stored only while it is good (`celery.backends.claims`).
        share: what it takes of a slot's window, by its task's run times so far, in sixty-fourths; 64 is all of it
            (`celery.concurrency.pace`).
        prompt: its end is to be stored and told at once: whatever dies before that has it run again.
    """

    tag: int
    id: str
    name: str
    headers: bytes
    properties: bytes
    body: bytes
    delivery_info: dict[str, Any]
    time_limit: float | None = None
    soft_time_limit: float | None = None
    announce: bool = False
    ignore_result: bool | None = False
    group: str | None = None
    parent_id: str | None = None
    compressed: bool = False
    claim: str = ""
    share: int = 64
    prompt: bool = False


class Verdict(IntEnum):
    """How one run of a task ended, as far as acknowledgement is concerned."""

    SUCCESS = 0
    FAILURE = 1
    RETRY = 2  # published again under the same id
    IGNORE = 3
    REJECT = 4  # Reject(requeue=False)
    REQUEUE = 5  # Reject(requeue=True)
    INTERNAL = 6  # our bug or an unstorable outcome: nothing is known to be stored
    INVALID = 7  # the body cannot be decoded or is not [args, kwargs, embed]; nothing ran
    UNSTORED = 8  # ran, but its result could not be stored


class Outcome(msgspec.Struct, array_like=True, eq=False, gc=False):
    """What a slot reports when a job has ended.

    Attributes:
        runtime: seconds.
        detail: bounded text for events and logs: repr of the result, or of the exception.
        traceback: text, for failures.
        error: a failure's exception as results store it (JSON), if the task has a request class of its own.
        row: of the task's result, which is still to be stored (`celery.backends.rows`); None: nothing is.
        aside: seconds of `runtime` that are spent only if the task is not known to be brief: then results are stored together.
    """

    verdict: Verdict
    runtime: float
    detail: str = ""
    traceback: str = ""
    error: str = ""
    row: Any = None
    aside: float = 0.0
