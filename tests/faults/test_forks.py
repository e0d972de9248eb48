"""Promise 15: forks after the first publish, whatever becomes of the parent; and forks in tasks."""

from __future__ import annotations

import sys

import pytest

SENDER = """
import os, sqlite3, subprocess, sys
from celery import Celery

app = Celery("x", broker="sqlite:///store.db")
VISIT = "import sqlite3; c = sqlite3.connect('store.db'); c.execute('SELECT count(*) FROM message').fetchone(); c.close()"


def visit():
    # Another process looks at the file and leaves, as the last one that SQLite believes to be there.
    subprocess.run([sys.executable, "-c", VISIT], check=True)


app.send_task("before")
sender = os.getpid()
for _ in range({forks}):
    if os.fork():
        os._exit(0)  # without closing anything, as daemons do
while os.getppid() == sender:
    pass
visit()
app.send_task("first")
visit()
app.send_task("second")
visit()
connection = sqlite3.connect("store.db")
print(connection.execute("SELECT count(*) FROM message").fetchone()[0], flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("forks", [1, 2])
def test_a_daemon_loses_nothing_when_others_come_and_go(project, forks):
    project.write("send.py", SENDER.replace("{forks}", str(forks)))
    # `run` returns when the last process has closed its end of the pipe.
    assert project.run(sys.executable, "send.py").stdout.strip() == "3"


TASKS = """
import os, sys
from celery import Celery

app = Celery("tasks")


@app.task
def fork(how):
    pid = os.fork()
    if pid == 0:
        if how == "exit":
            sys.exit(3)
        if how == "raise":
            raise ValueError("in the child")
        return "child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@app.task
def add(x, y):
    return x + y
"""


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "asyncio"])
def test_a_process_that_a_task_forked_ends_when_it_leaves_the_body(project, pool):
    project.write("tasks.py", TASKS)
    with project.worker("-P", pool, "-c", "1"):
        said = project.python("""
            from tasks import add, fork
            for how in ("exit", "raise", "return"):
                print(fork.delay(how).get(timeout=30))
            print(add.delay(2, 2).get(timeout=30))
        """)
    assert said.split() == ["3", "1", "0", "4"]
