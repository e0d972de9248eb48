"""Renews a worker's lease from outside, for pools whose tasks share the worker's process.

A task may hold the interpreter's lock for a minute: then no thread of the worker can renew. This runs as a
small process of its own, next to the worker. It is no proof of life by itself: a worker that is stopped, gone,
or has said nothing for `SILENCE` seconds is not kept.

Run by path with nothing but the standard library, so that it starts in milliseconds: `python -I -S keeper.py WORKER_PID
SECONDS`. Lines of JSON on its standard input say where the server is, how to enter it, and what to renew there.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import time
from typing import Any

#: Seconds without a word from the worker after which it is taken for hung.
SILENCE = 300.0


def main(worker: int, seconds: float) -> None:
    """Keep the lease until the worker ends.

    Args:
        worker: process id of the worker, our parent.
        seconds: how long a lease lasts.
    """
    said: dict[str, Any] | None = None
    heard, renewed, buffer = time.monotonic(), time.monotonic(), b""
    line = Line()
    os.set_blocking(0, False)
    while os.getppid() == worker:
        if select.select([0], [], [], seconds * 0.15)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            heard = renewed = time.monotonic()
            *lines, buffer = (buffer + data).split(b"\n")
            if lines:
                said = json.loads(lines[-1])
            continue
        now = time.monotonic()
        # The worker speaks whenever it has renewed by itself: only its silence needs us.
        if said and now - renewed > seconds * 0.4 and now - heard < SILENCE and not _is_stopped(worker):
            with contextlib.suppress(OSError):  # the next round tries again
                line.renew(said, seconds)
                renewed = now


class Line:
    """The keeper's own connection."""

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._where: Any = None

    def renew(self, said: dict[str, Any], seconds: float) -> None:
        """Run the renewal. `OSError` if it did not work."""
        try:
            if self._sock is None or self._where != said["where"]:
                self.close()
                self._connect(said, seconds)
            self._call(*said["renew"])
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next renewal makes another."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def _connect(self, said: dict[str, Any], seconds: float) -> None:
        where = self._where = said["where"]
        if where["path"]:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(seconds / 3)
            sock.connect(where["path"])
        else:
            sock = socket.create_connection((where["host"], where["port"]), seconds / 3)
        if where["tls"]:
            sock = _context(where["tls"]).wrap_socket(
                sock, server_hostname=where["tls"]["name"] or where["host"]
            )
        self._sock = sock
        for command in said["enter"]:
            self._call(*command)

    def _call(self, *words: Any) -> None:
        assert self._sock is not None
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self._sock.sendall(b"".join(parts))
        reply = b""
        while not reply.endswith(b"\r\n"):  # all replies here are one line
            data = self._sock.recv(4096)
            if not data:
                raise ConnectionResetError
            reply += data
        if reply.startswith(b"-"):
            raise OSError(reply.decode(errors="replace"))


def _context(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = options["check_hostname"]
    context.verify_mode = ssl.VerifyMode(options["verify_mode"])
    authorities = options["ca_certs"], options["ca_path"], options["ca_data"]
    if any(authorities):
        context.load_verify_locations(*(given or None for given in authorities))
    elif context.verify_mode != ssl.CERT_NONE:
        context.load_default_certs()
    if options["certfile"]:
        context.load_cert_chain(options["certfile"], options["keyfile"], options["password"])
    if options["ciphers"]:
        context.set_ciphers(options["ciphers"])
    return context


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
        seconds: how long a lease lasts.
    """

    def __init__(self, seconds: float) -> None:
        self._command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(seconds)]
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self, said: dict[str, Any]) -> None:
        """Say that the worker is well and has just renewed, and how it does so; starts the process if it does not run.

        Args:
            said: `where` (host, port, path, tls), `enter` and `renew` (commands).
        """
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended just now: the next call starts another
            self._process.stdin.write(json.dumps(said).encode() + b"\n")

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
