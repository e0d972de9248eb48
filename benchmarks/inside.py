"""A worker in the process that publishes to `memory://`: what worker and pool cost, with no store between them.

    python inside.py TASK COUNT FOLDER

Prints JSON: tasks a second, and CPU microseconds a task of this process (the core) and of its children. Messages
are made before the worker starts. Run with the contender's own Python; `celery_app` is the application.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from processes import cpu_seconds, tree

from celery import signals


def main() -> None:
    task, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    import celery_app

    app = celery_app.app
    celery_app.call_mark(f"{folder}/first")
    for _ in range(count):
        app.tasks[task].delay()
    celery_app.call_mark(f"{folder}/last")

    def watch() -> None:
        family = tree(os.getpid())
        before = [cpu_seconds(pid) for pid in family]
        while not (folder / "last").exists():
            time.sleep(0.02)
        after = [cpu_seconds(pid) for pid in family]
        seconds = float((folder / "last").read_text()) - float((folder / "first").read_text())
        core, *children = ((b - a) / count * 1e6 for a, b in zip(before, after, strict=True))
        figures = {"tasks/s": count / seconds, "core us": core, "children us": sum(children)}
        print(json.dumps(figures), file=sys.__stdout__, flush=True)  # `sys.stdout` goes to the log
        os.kill(os.getpid(), signal.SIGTERM)

    # Kept, for receivers are held weakly.
    ready = signals.worker_ready.connect(
        lambda **_: threading.Thread(target=watch, daemon=True).start(), weak=False
    )
    del ready
    worker = app.Worker(pool="prefork", concurrency=2, loglevel="WARNING", quiet=True)
    worker.start()


if __name__ == "__main__":
    main()
