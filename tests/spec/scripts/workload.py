"""The app of a worker whose workflows are watched, and the worker."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from celery import Celery, Task, chord, current_task, group, states
from celery.exceptions import Ignore, Reject

app = Celery("w", broker=os.environ["USED_BROKER"], backend=os.environ["USED_BACKEND"])
app.conf.task_track_started = False
app.conf.task_default_queue = os.environ.get("USED_QUEUE", "celery")
if os.environ.get("USED_QUORUM"):
    app.conf.task_default_queue_type = "quorum"
    app.conf.task_default_exchange_type = "topic"
app.conf.accept_content = ["json", "pickle", "yaml"]
app.conf.result_extended = bool(os.environ.get("USED_EXTENDED"))
NOTES = Path("notes")


def note(*what):
    with NOTES.open("a") as notes:
        notes.write(" ".join(map(str, what)) + "\n")


class Noted(Task):
    """Notes each run."""

    def before_start(self, task_id, args, kwargs):
        words = [*map(repr, args), *(f"{key}={value!r}" for key, value in sorted(kwargs.items()))]
        note(f"{self.name.partition('.')[2]}({', '.join(words)})")


app.Task = Noted


@app.task
def add(x, y=2):
    return x + y


@app.task
def mul(x, y):
    return x * y


@app.task
def xsum(numbers):
    return sum(numbers)


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def nested_sum(numbers):
    return sum(n if isinstance(n, int) else nested_sum.run(n) for n in numbers)


@app.task
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.task
def noop():
    return None


@app.task
def fail(*args):
    raise ValueError("bad", *args)


@app.task
def cb(*args):
    note("cb", *map(_kind, args))


def _kind(value):
    if isinstance(value, str) and value.startswith("Traceback"):
        return "traceback"
    return repr(value) if isinstance(value, (int, str, list, tuple, dict)) else type(value).__name__


@app.task
def on_error(request, exc, traceback):
    note("new errback", repr(exc), request.task, "Traceback" in str(traceback))


@app.task
def on_error_fails(request, exc, traceback):
    raise KeyError("errback")


@app.task
def old_on_error(task_id):
    note("old errback")


@app.task(bind=True)
def bound_on_error(self, task_id):
    note("bound errback", self.request.parent_id == task_id, self.request.root_id is not None)


@app.task(bind=True)
def context(self, *args):
    request = self.request
    return {
        "root": request.root_id == request.id,
        "parent": request.parent_id is not None,
        "group": request.group is not None,
        "index": request.group_index,
        "chord": bool(request.chord),
        "chain": len(request.chain or ()),
        "callbacks": len(request.callbacks or ()),
        "errbacks": len(request.errbacks or ()),
        "nesting": request.replaced_task_nesting,
        "retries": request.retries,
        "stamps": request.stamps,
    }


@app.task(bind=True)
def replaced(self, kind, *args):
    raise self.replace(
        {
            "task": lambda: add.s(1, 2),
            "partial": lambda: add.s(*args),
            "chain": lambda: add.s(1, 2) | mul.s(10),
            "group": lambda: group(add.s(1, 1), add.s(2, 2)),
            "group of one": lambda: group(add.s(1, 1)),
            "group of chains": lambda: group(add.s(1, 1) | mul.s(2), add.s(2, 2)),
            "chord": lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()),
            "again": lambda: replaced.s("chain"),
            "empty group": lambda: group(),
            "fails": lambda: fail.s(),
            "context": lambda: context.s(),
            "map": lambda: xsum.map([[1], [2, 3]]),
        }[kind]()
    )


@app.task(bind=True)
def adds_to_chord(self):
    self.add_to_chord(add.s(100, 100))
    return 1


@app.task(bind=True, max_retries=2)
def retries(self, x):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return x


@app.task(bind=True, max_retries=1)
def gives_up(self):
    raise self.retry(exc=ValueError("never"), countdown=0)


@app.task(bind=True, max_retries=2)
def retries_elsewhere(self, x, k=0):
    other = {"args": ("more",), "kwargs": {"k": 9}} if x == "other" else {}
    raise self.retry(countdown=50, queue="elsewhere", exc=KeyError("again"), **other)


@app.task(bind=True)
def replaces_elsewhere(self, kind):
    sigs = [add.s(n, n).set(queue="elsewhere") for n in range(2)]
    raise self.replace(
        {
            "task": lambda: sigs[1],
            "chain": lambda: sigs[1] | mul.s(10),
            "group": lambda: group(sigs),
            "chord": lambda: chord(sigs, xsum.s()),
        }[kind]()
    )


@app.task
def calls_elsewhere():
    add.apply_async((3,), queue="elsewhere")
    app.send_task("workload.add", (4,), queue="elsewhere")
    (add.s(5, 5).set(queue="elsewhere") | add.s(6)).delay()
    group(add.s(7).set(queue="elsewhere")).delay()
    chord([add.s(8).set(queue="elsewhere")], xsum.s()).delay()


@app.task
def ignores():
    raise Ignore


@app.task
def rejects():
    raise Reject("no", requeue=False)


@app.task(acks_late=True)
def rejects_late():
    raise Reject("no", requeue=False)


@app.task(ignore_result=True)
def silent(x=0):
    return x


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    raise Ignore


@app.task(bind=True)
def revoked_by_itself(self):
    self.update_state(state=states.REVOKED)
    raise Ignore


@app.task(bind=True)
def starts(self, *args):
    add.delay(5, 5)
    group(add.s(6, 6), add.s(7, 7)).delay()
    add.apply_async((8, 8), add_to_parent=False)
    return [len(self.request.children), current_task.request.id == self.request.id]


@app.task(trail=False)
def starts_untrailed():
    add.delay(5, 5)


@app.task(bind=True)
def waits_for(self, name):
    while not Path(name).exists():
        time.sleep(0.01)
    return name


class Odd(Exception):
    """Cannot be written in JSON, nor pickled."""

    def __init__(self, *args):
        super().__init__(*args)
        self.open = open


@app.task
def raises_odd():
    raise Odd({1, 2}, object)


@app.task
def raises_long():
    raise KeyError("k" * 50)


@app.task
def raises_from():
    try:
        raise KeyError("first")
    except KeyError as exc:
        raise RuntimeError("second") from exc


@app.task
def returns(what):
    return {"set": {1}, "bytes": b"\xff", "none": None, "nested": {"a": [1, {"b": None}]}}[what]


@contextlib.contextmanager
def worker(*options, level="INFO", concurrency=1, **env):
    """A worker of it in this folder; gives its log file."""
    log = Path(f"worker{time.monotonic_ns()}.log")
    python = os.environ.get("USED_WORKER", sys.executable)
    command = [
        python,
        "-m",
        "celery",
        "-A",
        "workload",
        "worker",
        "-l",
        level,
        "-c",
        str(concurrency),
        *options,
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "C_FORCE_ROOT": "1", **env},
        )
    try:
        wait_for(lambda: re.search(r"ready\.", log.read_text()), 30, lambda: log.read_text())
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition, timeout=10, message=lambda: "never"):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(message())
        time.sleep(0.01)
    return found


def settle(rounds=3):
    """Wait until a worker that runs one task at a time has run all that was sent, and what that sent."""
    for _ in range(rounds):
        noop.delay().get(timeout=10)


def noted():
    """What was noted since the last time, but for tasks of no interest."""
    lines = NOTES.read_text().splitlines() if NOTES.exists() else []
    NOTES.write_text("")
    return [
        line
        for line in lines
        if not line.startswith(("noop(", "cb(", "total(", "accumulate(", "map(", "starmap("))
    ]
