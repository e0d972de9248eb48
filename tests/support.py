"""What many suites share: a user's project in an empty folder, with its own embedded store."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without anybody's Celery settings."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("CELERY", "BROKER", "C_"))}
    return env | {"C_FORCE_ROOT": "1"} | extra


class WorkerProcess:
    """A `celery worker` (or `celery beat`) as a user starts it; its output goes to `log`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """Wait until the output matches `pattern` (a regular expression)."""
        return wait_until(
            lambda: re.search(pattern, self.output, re.MULTILINE),
            timeout,
            lambda: f"{pattern!r} did not appear in:\n{self.output}",
            alive=lambda: (
                self.process.poll() is None or re.search(pattern, self.output, re.MULTILINE) is not None
            ),
        )

    def send(self, signum: int) -> None:
        self.process.send_signal(signum)

    def wait(self, timeout: float = 30) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(timeout)

    def stop(self, timeout: float = 30) -> int:
        """Warm shutdown; return the exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return self.wait(timeout)


def wait_until(
    condition: Callable[[], object],
    timeout: float = 20,
    message: Callable[[], str] = lambda: "condition never held",
    alive: Callable[[], bool] = lambda: True,
) -> Any:
    """Poll `condition` until it is true and return what it gave."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert alive(), "the process ended: " + message()
        assert time.monotonic() < deadline, message()
        time.sleep(0.01)
    return found


class Project:
    """A folder with a user's files; commands run in it as the user would run them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = clean_environment()
        self._programs = 0

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project (dedented)."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
        return target

    def run(
        self, *command: str, check: bool = True, timeout: float = 50, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
        )
        if check:
            assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def python(self, code: str, *, check: bool = True, timeout: float = 50, **env: str) -> str:
        """Run a script in the project; return what it printed."""
        done = self.run(sys.executable, "-c", textwrap.dedent(code), check=check, timeout=timeout, **env)
        return done.stdout if check else done.stdout + done.stderr

    def celery(
        self, *args: str, check: bool = True, timeout: float = 50, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the `celery` command."""
        return self.run(
            sys.executable, "-m", "celery", *args, check=check, timeout=timeout, stdin=stdin, **env
        )

    @contextlib.contextmanager
    def worker(
        self, *args: str, app: str | None = "tasks", ready: bool = True, **env: str
    ) -> Iterator[WorkerProcess]:
        """Run `celery -A app worker ...`; end it warm, or kill it if that takes too long."""
        command = ["worker", *args]
        if not any(arg.startswith(("-c", "--concurrency")) for arg in args):
            command += ["-c", "2"]
        with self._running(command, app, env) as worker:
            if ready:
                worker.wait_for(r"ready\.")
            yield worker

    @contextlib.contextmanager
    def beat(
        self, *args: str, app: str | None = "tasks", ready: bool = True, **env: str
    ) -> Iterator[WorkerProcess]:
        """Run `celery -A app beat ...`, like a worker."""
        with self._running(["beat", *args], app, env) as beat:
            if ready:
                beat.wait_for(r"beat: Starting\.\.\.")
            yield beat

    @contextlib.contextmanager
    def _running(self, command: list[str], app: str | None, env: dict[str, str]) -> Iterator[WorkerProcess]:
        self._programs += 1
        log = self.path / f"{command[0]}{self._programs}.log"
        if not any(arg.startswith(("-l", "--loglevel")) for arg in command):
            command += ["-l", "INFO"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *(["-A", app] if app else []), *command],
                cwd=self.path,
                env=self.env | env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        program = WorkerProcess(process, log)
        try:
            yield program
        finally:
            try:
                program.stop(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


class Cut(Exception):
    """What `cut_short` raises."""


def cut_short(times: int, call: Callable[[], Any], longest: float = 4e-5) -> int:
    """Call this so often while a signal's handler raises, wherever the interpreter looks for signals, as that of a soft
    time limit does. Return how often that came.

    Args:
        longest: seconds until the signal.
    """

    def cut(signum: int, frame: object) -> None:
        raise Cut

    before, chance, count = signal.signal(signal.SIGALRM, cut), random.Random(7), 0
    try:
        for _ in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, longest))
                try:
                    call()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Cut:
                count += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return count
