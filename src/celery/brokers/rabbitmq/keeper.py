"""Sends heartbeats from outside, for pools whose tasks share the worker's process.

A task may hold the interpreter's lock for a minute: then no thread of the worker can send one, and the broker would end the
connection. This runs as a small process of its own that shares the worker's socket, and writes a heartbeat
when the worker has written nothing for a while. Each of the two writes whole frames, so they cannot garble one another. It is
no proof of life by itself: a worker that is stopped, gone, or has written nothing for `SILENCE` seconds is not kept.

Run by path with nothing but the standard library, so that it starts in milliseconds:
`python -I -S keeper.py SOCKET SHARED WORKER_PID SECONDS`, the first two being inherited descriptors.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import socket
import struct
import subprocess
import sys
import time

#: Seconds without a word from the worker after which it is taken for hung.
SILENCE = 300.0

_HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
#: What the two share: when the worker wrote last, and whether it is in the middle of a frame.
_shared = struct.Struct("=d?")


def main(descriptor: int, shared: int, worker: int, beat: float) -> None:
    """Keep the connection until the worker ends.

    Args:
        descriptor: of the socket.
        shared: of the file with what the worker says about itself.
        beat: seconds between heartbeats.
    """
    sock = socket.socket(fileno=descriptor)
    memory = mmap.mmap(shared, mmap.PAGESIZE, prot=mmap.PROT_READ)
    while os.getppid() == worker:
        if select.select([0], [], [], beat * 0.2)[0]:
            return  # the worker has closed its end
        wrote, midway = _shared.unpack_from(memory)
        silent = time.monotonic() - wrote
        if beat * 0.55 < silent < SILENCE and not midway and not _is_stopped(worker):
            with contextlib.suppress(BlockingIOError):
                try:
                    sock.send(_HEARTBEAT, socket.MSG_DONTWAIT)
                except OSError:
                    return


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
        descriptor: of the socket.
        beat: seconds between heartbeats.
    """

    def __init__(self, descriptor: int, beat: float) -> None:
        import tempfile  # noqa: PLC0415 - most workers, and the process made below, have no use for it

        with tempfile.TemporaryFile() as file:
            file.truncate(mmap.PAGESIZE)
            self._memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)
            self.wrote(time.monotonic(), midway=False)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", __file__),
                    *(str(descriptor), str(file.fileno()), str(os.getpid()), str(beat)),
                ],
                stdin=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                pass_fds=(descriptor, file.fileno()),
            )

    def wrote(self, now: float, *, midway: bool) -> None:
        """Say when the worker wrote last, and whether the rest of a frame still waits in it."""
        _shared.pack_into(self._memory, 0, now, midway)

    @property
    def pid(self) -> int:
        """Of the keeper's process."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._memory.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
