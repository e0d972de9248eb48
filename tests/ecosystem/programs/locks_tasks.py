"""celery-singleton, celery-once and celery-progress: tasks that are there once, and that say how far they are."""

import json
import os

from celery_once import AlreadyQueued, QueueOnce
from celery_progress.backend import GroupProgress, Progress, ProgressRecorder
from celery_singleton import Singleton, clear_locks
from celery_singleton.exceptions import DuplicateTaskError

from celery import Celery, group

app = Celery("locks_tasks", broker=os.environ["BROKER"], backend=os.environ["BACKEND"])
app.conf.singleton_backend_url = os.environ["BACKEND"]
app.conf.ONCE = {
    "backend": "celery_once.backends.Redis",
    "settings": {"url": os.environ["BACKEND"], "default_timeout": 60},
}


@app.task(base=Singleton)
def single(x):
    return x


@app.task(base=Singleton, unique_on=["x"], raise_on_duplicate=True)
def unique(x, y):
    return x + y


@app.task(base=Singleton)
def breaks():
    raise ValueError("broken")


@app.task(base=QueueOnce, once={"graceful": True})
def once(x):
    return x


@app.task(base=QueueOnce)
def strict(x):
    return x


@app.task(bind=True)
def steps(self, count):
    recorder = ProgressRecorder(self)
    for number in range(count):
        recorder.set_progress(number + 1, count, description="counting")
    return self.AsyncResult(self.request.id).info


def show(subject, value):
    print(f"{subject}: {json.dumps(value, default=str, sort_keys=True)}")


def queue():
    """Before there is a worker."""
    clear_locks(app)
    first, second = single.delay(1), single.delay(1)
    show("single", [first.id == second.id, single.delay(2).id == first.id])
    unique.delay(1, y=2)
    try:
        unique.delay(1, y=3)
    except DuplicateTaskError as exc:
        show("unique", "Attempted to queue a duplicate" in str(exc))
    one = once.delay(1)
    again = once.delay(1)
    show("once", [bool(one.id), again.id, again.state, again.result])
    strict.delay(1)
    try:
        strict.delay(1)
    except AlreadyQueued as exc:
        show("strict", 0 < exc.countdown <= 60)
    many = group(single.s(5), single.s(5)).delay()
    show("group", len({result.id for result in many}))
    print("ids:", json.dumps([first.id, one.id]))


def main():
    """With one."""
    for result in map(app.AsyncResult, json.loads(os.environ["IDS"])):
        show("ran", result.get(timeout=20))
    show("breaks", [repr(breaks.delay().get(timeout=20, propagate=False)) for _ in range(2)])
    show(
        "unlocked",
        [single.delay(7).get(timeout=20) for _ in range(2)]
        + [once.delay(7).get(timeout=20) for _ in range(2)],
    )
    result = steps.delay(4)
    show("last step", result.get(timeout=20))
    show("progress", Progress(result).get_info())
    many = group(steps.s(2), steps.s(3)).delay()
    many.get(timeout=20)
    show("group progress", GroupProgress(many).get_info())


if __name__ == "__main__":
    main() if "IDS" in os.environ else queue()
