"""An independent account of what ran: one line for every beginning and end of a task's body.

Lines go to a file opened for appending, one `write` each, so that they are whole whatever dies.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Project

#: A user's module whose tasks keep the ledger, and misbehave on request.
TASKS = """
import ctypes, json, os, signal, time
from pathlib import Path

from celery import Celery

app = Celery("tasks")
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
KEPT = []
LEDGER = str(Path(__file__).with_name("ledger.txt"))


def note(kind, task):
    line = f"{kind} {task.request.id} {os.getpid()} {time.time()}\\n".encode()
    fd = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line)
    os.close(fd)


def body(task, seconds=0.0, how=None):
    # `seconds` may be a path, too: then it goes on when that exists.
    note("begin", task)
    if isinstance(seconds, str):
        while not os.path.exists(seconds):
            time.sleep(0.01)
    elif seconds:
        time.sleep(seconds)
    die(how)
    note("end", task)
    return task.request.id


def die(how):
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        os.abort()
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "memory":
        raise MemoryError("out of memory")
    elif how == "systemexit":
        raise SystemExit(7)
    elif how == "interrupt":
        raise KeyboardInterrupt


@app.task(bind=True)
def early(self, seconds=0.0, how=None):
    return body(self, seconds, how)


@app.task(bind=True, acks_late=True)
def late(self, seconds=0.0, how=None):
    return body(self, seconds, how)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def stubborn(self, seconds=0.0, how=None):
    return body(self, seconds, how)


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def once_deadly(self, mark):
    # Dies the first time it runs anywhere.
    note("begin", self)
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        note("end", self)
        return "lived"
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True)
def hungry(self, megabytes):
    note("begin", self)
    KEPT.append(b"x" * (megabytes * 1024 * 1024))
    note("end", self)
    return len(KEPT)
"""


class Ledger:
    """Reads the account."""

    def __init__(self, project: Project) -> None:
        self.path: Path = project.path / "ledger.txt"

    def lines(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        return [line.split() for line in self.path.read_text().splitlines() if line.count(" ") == 3]

    def _count(self, kind: str) -> Counter[str]:
        return Counter(line[1] for line in self.lines() if line[0] == kind)

    @property
    def begun(self) -> Counter[str]:
        """How often each id began to run."""
        return self._count("begin")

    @property
    def ended(self) -> Counter[str]:
        """How often each id ran to its end."""
        return self._count("end")

    @property
    def running(self) -> Counter[str]:
        """Ids that have begun more often than ended."""
        return self.begun - self.ended

    def pid_of(self, task_id: str) -> int:
        """The process in which an id began last."""
        return next(int(line[2]) for line in reversed(self.lines()) if line[1] == task_id)

    def wait_for(self, ids: list[str], timeout: float = 40) -> None:
        """Wait until every id has run to its end."""
        wanted = set(ids)
        wait_until(
            lambda: wanted <= set(self.ended),
            timeout,
            lambda: f"{len(wanted - set(self.ended))} never ended, as {min(wanted - set(self.ended))}",
        )


def send(project: Project, code: str, **env: str) -> list[str]:
    """Run sending code in a process of its own; it prints ids."""
    return project.python("from tasks import *\n" + code, **env).split()
