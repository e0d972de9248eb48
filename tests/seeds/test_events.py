"""Seed documents, 'Monitoring': the events command, cameras, programs that listen."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.listening import listening
from tests.support import WorkerProcess, wait_until

from celery import Celery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Project

TASKS = """
    import os
    from pprint import pformat
    from celery import Celery
    from celery.events.snapshot import Polaroid

    app = Celery('tasks', broker=os.environ['BROKER'], backend=os.environ['BROKER'])
    app.conf.task_send_sent_event = True

    @app.task
    def add(x, y): return x + y

    @app.task
    def charge(account, card): raise ValueError('declined')

    class DumpCam(Polaroid):
        clear_after = True  # clear after flush (incl, state.event_count).

        def on_shutter(self, state):
            if not state.event_count:
                # No new events since last snapshot.
                return
            print('Workers: {0}'.format(pformat(state.workers, indent=4)))
            print('Tasks: {0}'.format(pformat(state.tasks, indent=4)))
            print('Total: {0.event_count} events, {0.task_count} tasks'.format(state), flush=True)
"""


@pytest.fixture
def broker(project: Project, redis_url: str) -> str:
    project.env["BROKER"] = redis_url
    project.write("tasks.py", TASKS)
    return redis_url


@contextlib.contextmanager
def program(project: Project, *args: str) -> Iterator[WorkerProcess]:
    """A program that listens, until interrupted."""
    log = project.path / f"program-{os.urandom(3).hex()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *args],
            cwd=project.path,
            env=project.env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    running = WorkerProcess(process, log)
    try:
        yield running
        running.send(signal.SIGINT)
        assert running.wait(20) in (0, -signal.SIGINT), running.output
    finally:
        process.kill()
        process.wait()


CALL = "from tasks import add; add.delay(2, 3)"


def test_dump(project: Project, broker: str) -> None:  # 3-C37
    with (
        project.worker("-E", "-n", "w1@h"),
        program(project, "-m", "celery", "-A", "tasks", "events", "--dump") as dump,
    ):
        dump.wait_for("-> evdump: starting capture")
        dump.wait_for(r"^w1@h \[[^]]+\] heartbeat: active=0, clock=")
        project.python(CALL)
        dump.wait_for(r"^gen\d+@\S+ \[[^]]+\] task sent: tasks\.add\(\S+\) args=\(2, 3\) kwargs=\{\} clock=")
        dump.wait_for(r"^w1@h \[[^]]+\] task received: tasks\.add\(\S+\) args=\(2, 3\) kwargs=\{\} clock=")
        dump.wait_for(
            r"^w1@h \[[^]]+\] task succeeded: tasks\.add\(\S+\) args=\(2, 3\) kwargs=\{\} .*result=5"
        )


@pytest.mark.parametrize("by_hand", [False, True])
def test_camera(project: Project, broker: str, by_hand: bool) -> None:  # 3-C38
    script = """
        from tasks import DumpCam, app
        def main(app, freq=1.0):
            state = app.events.State()
            with app.connection() as connection:
                recv = app.events.Receiver(connection, handlers={'*': state.event})
                with DumpCam(state, freq=freq):
                    recv.capture(limit=None, timeout=None)
        main(app, 0.3)
    """
    args = ["-m", "celery", "-A", "tasks", "events", "-c", "tasks.DumpCam", "--frequency=0.3"]
    if by_hand:
        project.write("main.py", script)
        args = ["main.py"]
    with project.worker("-E"), program(project, *args) as camera:
        camera.wait_for("Total: [1-9]")
        project.python(CALL)
        camera.wait_for(r"Total: [1-9]\d* events, 1 tasks")
        assert "Tasks: " in camera.output


def test_table(project: Project, broker: str) -> None:  # 3-C37
    with project.worker("-E", "-n", "w1@h"):
        main, other = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "events"],
            cwd=project.path,
            env=project.env | {"TERM": "xterm", "LINES": "24", "COLUMNS": "100"},
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)
        screen = bytearray()

        def shows(text: bytes) -> bool:
            while select.select([main], [], [], 0.05)[0]:
                screen.extend(os.read(main, 65536))
            return text in bytes(screen)

        try:
            wait_until(lambda: shows(b"w1@h"))
            project.python(CALL)
            wait_until(lambda: shows(b"tasks.add"), message=lambda: repr(bytes(screen)))
            wait_until(lambda: shows(b"SUCCESS"))
            os.write(main, b"j")
            os.write(main, b"i")
            wait_until(lambda: shows(b"routing_key: celery"), message=lambda: repr(bytes(screen)))
            os.write(main, b"xr")
            wait_until(lambda: shows(b"SUCCESS: 5"), message=lambda: repr(bytes(screen)))
            os.write(main, b"x")
            process.send_signal(signal.SIGINT)
            wait_until(
                lambda: shows(b"\x1b[?1049l"), message=lambda: repr(bytes(screen[-3000:]))
            )  # as it was
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            os.close(main)


def test_real_time_processing(project: Project, broker: str) -> None:  # 3-C39
    project.write(
        "monitor.py",
        """
        from tasks import app

        def my_monitor(app):
            state = app.events.State()

            def announce_failed_tasks(event):
                state.event(event)
                # task name is sent only with -received event, and state
                # will keep track of this for us.
                task = state.tasks.get(event['uuid'])
                print('TASK FAILED: %s[%s] %s' % (
                    task.name, task.uuid, task.info(),), flush=True)

            def everything(event):
                state.event(event)
                print('ALIVE', [worker.hostname for worker in state.alive_workers()], flush=True)

            with app.connection() as connection:
                recv = app.events.Receiver(connection, handlers={
                        'task-failed': announce_failed_tasks,
                        '*': everything,
                })
                recv.capture(limit=None, timeout=None, wakeup=True)

        my_monitor(app)
        """,
    )
    with project.worker("-E", "-n", "w1@h"), program(project, "monitor.py") as monitor:
        monitor.wait_for(r"ALIVE \['w1@h'\]")
        project.python(
            "from tasks import charge; charge.apply_async(('me', '1234'), kwargsrepr='{}', argsrepr='(<me>, ****)')"
        )
        monitor.wait_for(r"TASK FAILED: tasks\.charge\[\S+\] .*ValueError\('declined'\)")
        assert re.search(r"'args': '\(<me>, \*\*\*\*\)'", monitor.output)
        assert "1234" not in monitor.output


def test_a_program_that_prints_what_happens(project: Project, broker: str) -> None:  # 0-20, 3-Z4
    app = Celery("tasks", broker=broker, set_as_current=False)
    with listening(app, wakeup=True) as ear:
        with project.worker("-E"):
            ear.wait_for("worker-online")
            project.python(CALL)
            (done,) = ear.wait_for("task-succeeded")
            ear.wait_for("task-sent", done["uuid"])
            ear.wait_for("worker-heartbeat")
        ear.wait_for("worker-offline")
    told: list[Any] = ear.story(done["uuid"])
    told.remove("sent")  # by another program: it may come later
    assert told == ["received", "started", "succeeded"]
    app.close()
