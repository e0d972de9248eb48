"""The long guide and its companions: workflows, web programs, commands, in the files that they print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Project

    Calls = Callable[[str], list[str]]

TASKS = """
    import threading, time
    from celery import Celery, chain, chord, group
    from celery.result import AsyncResult, GroupResult

    app = Celery('tasks')
    tries = {}

    @app.task(name='workflow.A')
    def taskA(x): return x + 1
    @app.task(name='workflow.B')
    def taskB(x): return x * 10
    @app.task(name='workflow.C')
    def taskC(x):
        print(f'Final result: {x}')
        return x
    @app.task
    def fetch_and_thumbnail(url): return f'thumb_of_{url}'
    @app.task
    def make_index(thumbs):
        for thumb in thumbs: print(f' - {thumb}')
        return len(thumbs)
    @app.task
    def final_task(results): return results
    @app.task
    def validate(order_id): return order_id
    @app.task
    def charge(order_id): return [order_id, 'paid']
    @app.task
    def ship(order): return [*order, 'shipped']
    @app.task
    def send_email(user): return f'to {user}'
    @app.task
    def finalize(mails):
        print('FINALIZE', len(mails))
        return len(mails)
    @app.task(bind=True, max_retries=3)
    def fetch_url(self, url):
        try:
            if self.request.retries < 2: raise ConnectionError(url)
            return url
        except ConnectionError as exc:
            raise self.retry(exc=exc, countdown=0)
    @app.task
    def process_data(data): return sum(data)
"""


@pytest.fixture(scope="module")
def setup(module_project: Project) -> Iterator[tuple[Project, WorkerProcess]]:
    module_project.write("tasks.py", TASKS)
    with module_project.worker() as worker:
        yield module_project, worker


@pytest.fixture
def calls(setup: tuple[Project, WorkerProcess]) -> Calls:
    """Run a script that has everything of `tasks` and returns its printed lines."""
    return lambda code: setup[0].python("from tasks import *\n" + code).splitlines()


def test_chain_of_three(setup: tuple[Project, WorkerProcess], calls: Calls) -> None:  # 0-12, 0-41
    assert calls("""
workflow = chain(taskA.s(5), taskB.s(), taskC.s())
result = workflow()
print(result.get(timeout=20))
print(fetch_url.delay('http://example.com').get(timeout=20))
""") == ["60", "http://example.com"]
    setup[1].wait_for("Final result: 60")


def test_chord_of_thumbnails(setup: tuple[Project, WorkerProcess], calls: Calls) -> None:  # 0-13
    assert calls("""
urls = ['a.png', 'b.png', 'c.png']
print(chord([fetch_and_thumbnail.s(url) for url in urls])(make_index.s()).get(timeout=20))
""") == ["3"]
    setup[1].wait_for(r"(?s) - thumb_of_a\.png.* - thumb_of_b\.png.* - thumb_of_c\.png")


def test_groups_saved_and_restored(calls: Calls) -> None:  # 0-30, 0-44
    assert calls("""
jobs = group(taskA.s(1), taskA.s(2), taskB.s(3))
result = jobs.apply_async()
print(result.get(timeout=20))
print(chord(group(taskA.s(1), taskB.s(2)))(final_task.s()).get(timeout=20))
result.save()
again = GroupResult.restore(result.id, app=app)
print(again.get(timeout=20), [r.id for r in again.results] == [r.id for r in result.results])
""") == ["[2, 3, 30]", "[2, 20]", "[2, 3, 30] True"]


def test_one_liners_of_the_shop(setup: tuple[Project, WorkerProcess], calls: Calls) -> None:  # 1-6
    assert calls("""
print((validate.s('ord_9f2a') | charge.s() | ship.s())().get(timeout=20))
print(group(send_email.s(id) for id in [1, 2])().get(timeout=20))
print(chord(group(send_email.s(id) for id in [1, 2, 3]), finalize.s())().get(timeout=20))
""") == ["['ord_9f2a', 'paid', 'shipped']", "['to 1', 'to 2']", "3"]
    setup[1].wait_for("FINALIZE 3")
    assert setup[1].output.count("FINALIZE 3") == 1


FLASK = """
    from flask import Flask, jsonify, request
    from tasks import app as celery_app, process_data
    from celery.result import AsyncResult
    web = Flask(__name__)

    @web.route('/submit', methods=['POST'])
    def submit():
        task = process_data.delay(request.get_json())
        return jsonify({'task_id': task.id}), 202

    @web.route('/status/<task_id>')
    def status(task_id):
        res = AsyncResult(task_id, app=celery_app)
        return jsonify({'state': res.state, 'result': res.result if res.ready() else None})
"""


def test_submit_and_poll(setup: tuple[Project, WorkerProcess]) -> None:  # 0-6, with Flask
    pytest.importorskip("flask")
    setup[0].write("web.py", FLASK)
    found = setup[0].python("""
        import time
        from web import web
        client = web.test_client()
        answer = client.post('/submit', json=[20, 22])
        print(answer.status_code)
        deadline = time.monotonic() + 20
        while (body := client.get('/status/' + answer.json['task_id']).json)['state'] != 'SUCCESS':
            assert time.monotonic() < deadline
            time.sleep(0.01)
        print(body)
        """)
    assert found.splitlines() == ["202", "{'result': 42, 'state': 'SUCCESS'}"]


def test_flask_beside_celery(project: Project) -> None:  # 0-24, 2-6
    pytest.importorskip("flask")
    project.write(
        "app.py",
        """
        from flask import Flask, current_app
        from celery import Celery
        app = Flask(__name__)
        app.config['GREETING'] = 'hello'
        celery = Celery(app.name)
        celery.conf.update(app.config)

        class ContextTask(celery.Task):
            def __call__(self, *args, **kwargs):
                with app.app_context():
                    return self.run(*args, **kwargs)

        celery.Task = ContextTask

        @celery.task
        def add(x, y): return [x + y, current_app.config['GREETING']]
        """,
    )
    with project.worker(app="app") as worker:
        assert ". app.add" in worker.output
        assert (
            project.python("from app import add; print(add.delay(4, 4).get(timeout=20))") == "[8, 'hello']\n"
        )


def test_commands(setup: tuple[Project, WorkerProcess]) -> None:  # 0-19, 1-7
    project = setup[0]
    for what in ("active", "scheduled", "reserved"):
        assert "- empty -" in project.celery("-A", "tasks", "inspect", what).stdout
    assert "1 node online." in project.celery("-A", "tasks", "status").stdout
    assert '"prefetch_count"' in project.celery("-A", "tasks", "inspect", "stats").stdout
    node = setup[1].wait_for(r"(celery@\S+) ready\.")[1]
    assert "pong" in project.celery("-A", "tasks", "inspect", "ping").stdout
    assert "pong" in project.celery("-A", "tasks", "inspect", "ping", "-d", node).stdout
    nobody = project.celery("-A", "tasks", "inspect", "ping", "-d", "celery@nobody", "-t", "0.2", check=False)
    assert nobody.returncode == 69


def test_cancelling(project: Project) -> None:  # 0-32
    project.write(
        "tasks.py",
        """
        import time
        from celery import Celery
        app = Celery('tasks')

        @app.task
        def sleeps(seconds): time.sleep(seconds)
        """,
    )
    with project.worker() as worker:
        found = project.python("""
            from celery.exceptions import TaskRevokedError
            from tasks import app, sleeps
            later, running = sleeps.apply_async((0,), countdown=30), sleeps.delay(60)
            from celery.result import AsyncResult
            import time
            while not any(sum((app.control.inspect(timeout=0.5).active() or {}).values(), [])): time.sleep(0.01)
            app.control.revoke(later.id)
            running.revoke(terminate=True)
            try: running.get(timeout=30)
            except TaskRevokedError: print(running.state)
            """)
        assert found == "REVOKED\n"
        # Nobody answers to that: the command says so, as Celery's does.
        assert project.celery("-A", "tasks", "control", "shutdown", check=False).returncode == 69
        assert worker.wait() == 0
        assert "Task tasks.sleeps" in worker.output


SHOP = """
    from celery import Celery
    from celery.schedules import crontab
    import tasks
    app = Celery('my_project')

    @app.task
    def add(x, y): return x + y

    @app.task
    def my_complex_task(): pass

    app.conf.beat_schedule = {
        'add-every-30-seconds': {'task': 'tasks.add', 'schedule': 0.5, 'args': (16, 16)},
        'my_complex_task-every-day-at-12': {
            'task': 'tasks.my_complex_task', 'schedule': crontab(hour=12, minute=0),
        },
    }
"""


def test_beat_and_summary_of_the_root_file(project: Project) -> None:  # 2-2, 2-3
    project.write("tasks.py", "def nothing(): ...\n")
    project.write("celery.py", SHOP)
    program = str(Path(sys.executable).with_name("celery"))
    running = []
    for command in (["worker", "-c", "1"], ["beat"]):
        log = project.path / f"{command[0]}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [program, "-A", "celery:app", *command, "--loglevel=info"],
                cwd=project.path, env=project.env, stdout=out, stderr=out,
            )  # fmt: skip
        running.append(WorkerProcess(process, log))
    worker, beat = running
    try:
        worker.wait_for(r"ready\.")
        beat.wait_for(r"Scheduler: Sending due task add-every-30-seconds \(tasks\.add\)")
        worker.wait_for(r"Received unregistered task of type 'tasks\.add'")
        said = project.run(program, "-A", "celery:app", "inspect").stdout
        assert "celery@" in said
        for word in ("active", "reserved", "scheduled", "queues"):
            assert word in said.lower()
    finally:
        beat.stop()
        worker.stop()
