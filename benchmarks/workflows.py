"""Send a workflow and say what that took; run with the contender's own Python.

python workflows.py APP_MODULE SHAPE SIZE [wait]

Shapes: `chain` and `group` of SIZE tasks, `chord` of SIZE members, `chords`: SIZE chords of 100, one after another. Prints JSON:
seconds and CPU seconds of the sending, MB by which the process grew at its peak; with `wait` seconds until the result is there.
"""

import importlib
import json
import resource
import sys
import time

from celery import chain, chord, group

WIDTH = 100


def shape(app, name, size):
    task = app.stored
    if name == "chain":
        return chain(*[task.si() for _ in range(size)])
    if name == "group":
        return group(task.si() for _ in range(size))
    if name == "chord":
        return chord([task.si() for _ in range(size)], task.si())
    return chain(*[chord([task.si() for _ in range(WIDTH)], task.si()) for _ in range(size)])


def main() -> None:
    app = importlib.import_module(sys.argv[1])
    workflow = shape(app, sys.argv[2], int(sys.argv[3]))
    if "wait" in sys.argv:
        app.stored.delay().get(timeout=60)  # the worker is there
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    result = workflow.apply_async()
    figures = {"send s": time.perf_counter() - began}
    after = resource.getrusage(resource.RUSAGE_SELF)
    figures["send CPU s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures["peak MB"] = (after.ru_maxrss - before.ru_maxrss) / 1024
    if "wait" in sys.argv:
        result.get(timeout=120)
        figures["result s"] = time.perf_counter() - began
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
