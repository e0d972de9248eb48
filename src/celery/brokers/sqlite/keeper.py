"""Renews a worker's lease from outside, for pools whose tasks share the worker's process.

A task may hold the interpreter's lock for a minute: then no thread of the worker can renew. This runs as a
small process of its own, next to the worker. It is no proof of life by itself: a worker that is stopped, gone,
or has said nothing for `SILENCE` seconds is not kept.

Run by path with nothing but the standard library, so that it starts in milliseconds:
`python -I -S keeper.py FILE WORKER_PID SECONDS`. Lines on its standard input name the generation to keep.
"""

from __future__ import annotations

import contextlib
import os
import select
import sqlite3
import subprocess
import sys
import time

#: Seconds without a word from the worker after which it is taken for hung.
SILENCE = 300.0


def main(path: str, worker: int, seconds: float) -> None:
    """Keep the lease until the worker ends.

    Args:
        path: the store.
        worker: process id of the worker, our parent.
        seconds: how long a lease lasts.
    """
    connection = sqlite3.connect(path, timeout=seconds / 3, isolation_level=None)
    generation, heard, buffer = 0, time.monotonic(), b""
    os.set_blocking(0, False)
    while os.getppid() == worker:
        if select.select([0], [], [], seconds * 0.15)[0]:
            data = os.read(0, 4096)
            if not data:
                return
            heard = time.monotonic()
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                if line:
                    generation = int(line)
            continue
        if generation and time.monotonic() - heard < SILENCE and not _is_stopped(worker):
            with contextlib.suppress(sqlite3.Error):  # locked or unwritable: the next round tries again
                _renew(connection, generation, seconds)


def _renew(connection: sqlite3.Connection, generation: int, seconds: float) -> None:
    """Extend the lease if the worker has not done so itself for a while."""
    now = time.monotonic()
    row = connection.execute("SELECT lease FROM consumer WHERE id = ?", (generation,)).fetchone()
    if row is None or not 0 <= row[0] < now + seconds * 0.6:
        return
    connection.execute(
        "UPDATE consumer SET lease = ? WHERE id = ? AND lease >= 0", (now + seconds, generation)
    )


def _is_stopped(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except OSError:
        found = subprocess.run(
            ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        state = found.stdout.strip()
    return state[:1] in ("", "T", "t", "Z", "X")


class Keeper:
    """The worker's end.

    Args:
        path: the store.
        seconds: how long a lease lasts.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self._command = [sys.executable, "-I", "-S", __file__, path, str(os.getpid()), str(seconds)]
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self, generation: int) -> None:
        """Say that the worker is well and which generation is its own; starts the process if it does not run."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended just now: the next call starts another
            self._process.stdin.write(b"%d\n" % generation)

    @property
    def pid(self) -> int | None:
        """Of the keeper's process; None before the first `keep`."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
