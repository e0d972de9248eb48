"""Send tasks with one application and say how long it took; run with the contender's own Python.

python produce.py APP_MODULE COUNT MARKS_FOLDER [COUNTDOWN | many | nap | threads]

`many` sends all with one call where the contender has one; `nap` sends tasks that sleep 50 ms;
`threads` has twenty threads send them.
"""

import importlib
import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

THREADS = 20


def one_by_one(app, count):
    for _ in range(count):
        app.call_noop()


def naps(app, count):
    for _ in range(count):
        app.call_nap(0.05)


def by_threads(app, count):
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: one_by_one(app, count // THREADS), range(THREADS)))


SENDERS = {
    "": one_by_one,
    "many": lambda app, count: app.call_many(count),
    "nap": naps,
    "threads": by_threads,
}


def main() -> None:
    module, count, marks = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    app = importlib.import_module(module)
    how = "".join(sys.argv[4:])
    if how and how not in SENDERS:
        for _ in range(count):
            app.call_later(float(how))
        return
    app.call_mark(f"{marks}/first")
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    SENDERS[how](app, count)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    app.call_mark(f"{marks}/last")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main()
