"""A producer in a process of its own that goes on until told to stop, and notes every call that returned."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project

PRODUCER = """
import os, sys, time
from celery.exceptions import OperationalError
from tasks import *

name, seconds, pause = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
fd = os.open("accepted.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
errors = os.open("refused.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while not os.path.exists("stop"):
    began = time.monotonic()
    try:
        result = globals()[name].delay(seconds)
    except OperationalError as error:
        took = time.monotonic() - began
        os.write(errors, f"{took:.2f} {error}\\n".replace("\\n", " ").encode() + b"\\n")
    else:
        os.write(fd, result.id.encode() + b"\\n")
    time.sleep(pause)
"""


class Producer:
    """What a producer has noted."""

    def __init__(self, project: Project, process: subprocess.Popen[bytes]) -> None:
        self.project = project
        self.process = process

    def _lines(self, name: str) -> list[str]:
        path = self.project.path / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def accepted(self) -> list[str]:
        """Ids of the calls that returned."""
        return self._lines("accepted.txt")

    @property
    def refused(self) -> list[str]:
        """Seconds and error of the calls that raised."""
        return self._lines("refused.txt")

    def wait_for_more(self, count: int = 20, timeout: float = 30) -> None:
        """Wait until so many more have been accepted."""
        before = len(self.accepted)
        wait_until(
            lambda: len(self.accepted) >= before + count, timeout, lambda: "\n".join(self.refused[-3:])
        )

    def stop(self) -> None:
        """Have it end after the call in progress."""
        (self.project.path / "stop").touch()
        assert self.process.wait(30) == 0


@contextlib.contextmanager
def producing(
    project: Project, name: str = "late", seconds: float = 0.0, pause: float = 0.005, **env: str
) -> Iterator[Producer]:
    """Send `name` again and again."""
    project.write("produce.py", PRODUCER)
    process = subprocess.Popen(
        [sys.executable, "produce.py", name, str(seconds), str(pause)],
        cwd=project.path,
        env=project.env | env,
    )
    try:
        yield Producer(project, process)
    finally:
        process.kill()
        process.wait()
