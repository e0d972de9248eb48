"""A server program under test: started on demand, and dead when whoever started it is."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_random = random.SystemRandom()  # others that start servers at this moment must not draw the same numbers


def free_port() -> int:
    """A loopback port on which nobody listens now.

    None of those that the system gives to outgoing connections: one of these can be gone before the server starts.
    """
    while True:
        port = _random.randint(16_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def die_with_parent() -> None:
    """For `preexec_fn`: be killed when the process that started this one ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def accepts(port: int) -> bool:
    """True if somebody listens on this loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Process:
    """One server process, that can be killed, frozen and started again.

    Args:
        command: what to run; it must stay in the foreground.
        folder: for its files; its output goes to `log` in there.
        ready: called until it is true after each start.
        start_timeout: seconds until `ready` must be true.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        folder: Path,
        ready: Callable[[], bool],
        *,
        env: Mapping[str, str] | None = None,
        start_timeout: float = 40,
    ) -> None:
        self.command = [os.fspath(part) for part in command]
        self.folder = folder
        self.log = folder / "server.log"
        self._ready = ready
        self._env = None if env is None else dict(env)
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True) -> None:
        """Start it (again); return when it is ready."""
        assert not self.running, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + self._start_timeout
        while not self._ready():
            assert self.running, f"{self.command[0]} ended:\n{self.log.read_text(errors='replace')[-4000:]}"
            assert time.monotonic() < deadline, (
                f"{self.command[0]} is not ready:\n{self.log.read_text(errors='replace')[-4000:]}"
            )
            time.sleep(0.02)

    def kill(self) -> None:
        """`kill -9`, with all that it started."""
        self._signal_all(signal.SIGKILL)
        self._reap()

    def stop(self, timeout: float = 30) -> None:
        """SIGTERM, and wait for its end."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
            assert self._process is not None
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self.kill()  # what it may have left behind

    def restart(self, *, kill: bool = False, down: float = 0.0) -> None:
        """Stop (or kill) it, and start it again after `down` seconds; return when it answers."""
        self.kill() if kill else self.stop()
        time.sleep(down)
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, signum: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signum)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None
