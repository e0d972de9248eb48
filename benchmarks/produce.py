"""Send tasks with one application and say how long it took; run with the contender's own Python.

python produce.py APP_MODULE COUNT MARKS_FOLDER [COUNTDOWN | many | nap]

`many` sends all with one call where the contender has one; `nap` sends tasks that sleep 50 ms.
"""

import importlib
import json
import resource
import sys
import time


def main() -> None:
    module, count, marks = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    app = importlib.import_module(module)
    many, nap = sys.argv[4:] == ["many"], sys.argv[4:] == ["nap"]
    if sys.argv[4:] and not (many or nap):
        for _ in range(count):
            app.call_later(float(sys.argv[4]))
        return
    app.call_mark(f"{marks}/first")
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    if many:
        app.call_many(count)
    elif nap:
        for _ in range(count):
            app.call_nap(0.05)
    else:
        for _ in range(count):
            app.call_noop()
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    app.call_mark(f"{marks}/last")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main()
