"""Call tasks and wait for each one's result; run with the contender's own Python.

    python talk.py APP_MODULE COUNT

Prints JSON: milliseconds of the round trip.
"""

import importlib
import json
import sys
import time


def main() -> None:
    app, count = importlib.import_module(sys.argv[1]), int(sys.argv[2])
    for _ in range(3):
        app.call_echo(0)
    times = []
    for number in range(count):
        began = time.perf_counter()
        assert app.call_echo(number) == number
        times.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.002)  # so that the worker is idle again
    times.sort()
    print(json.dumps({"p50 ms": times[count // 2], "p99 ms": times[min(count - 1, count * 99 // 100)]}))


if __name__ == "__main__":
    main()
