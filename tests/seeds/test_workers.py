"""Seed documents, 'Workers', 'Routing' and the shop: worker options, queues, limits, signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support import wait_until

if TYPE_CHECKING:
    from tests.support import Project

TASKS = """
    import os, time
    from celery import Celery
    from celery.exceptions import SoftTimeLimitExceeded
    app = Celery('tasks')

    @app.task
    def add(x, y): return x + y

    @app.task
    def pid(): return os.getpid()

    @app.task
    def sleeps(seconds): time.sleep(seconds); return seconds

    @app.task
    def mytask():
        try:
            time.sleep(30)
        except SoftTimeLimitExceeded:
            return 'cleaned up in a hurry'

    @app.task
    def stubborn():
        while True:
            try:
                time.sleep(30)
            except SoftTimeLimitExceeded:
                pass
"""


@pytest.fixture(autouse=True)
def tasks(project: Project) -> None:
    project.write("tasks.py", TASKS)


@pytest.mark.parametrize("template", ["worker1@%h", "worker1@%n"])
def test_node_names(project: Project, template: str) -> None:  # 3-C1
    host = socket.gethostname()
    expected = template.replace("%h", host).replace("%n", host.partition(".")[0])
    with project.worker("-n", template, "-P", "solo") as worker:
        worker.wait_for(rf"{re.escape(expected)} ready\.")


def test_file_names(project: Project) -> None:  # 3-C9
    with project.worker("-n", "worker1@example.com", "-c2", "-f", "%n%I.log", ready=False):
        main = project.path / "worker1.log"
        wait_until(lambda: main.exists() and "ready." in main.read_text())
        project.python("from tasks import add; add.delay(2, 2).get(timeout=20)")
        wait_until(lambda: any("succeeded" in log.read_text() for log in project.path.glob("worker1-*.log")))


def test_queues(project: Project) -> None:  # 3-C18, R1, K15
    with project.worker("-Q", "foo,bar") as worker:
        assert re.search(r"\bfoo\b.*key=foo", worker.output)
        assert (
            project.python(
                "from tasks import add; print(add.apply_async((1, 2), queue='bar').get(timeout=10))"
            )
            == "3\n"
        )


def test_soft_and_hard_limits(project: Project) -> None:  # 3-C13, 0-36
    with project.worker("--soft-time-limit", "0.5", "--time-limit", "1.5") as worker:
        printed = project.python("""
            from tasks import add, mytask, stubborn
            print(mytask.delay().get(timeout=20))
            print(repr(stubborn.delay().get(timeout=20, propagate=False)))
            print(add.delay(1, 2).get(timeout=20))
            """).splitlines()
        worker.wait_for(r"Soft time limit \(0\.5s\) exceeded for tasks\.mytask\[")
        worker.wait_for(r"Hard time limit \(1\.5s\) exceeded for tasks\.stubborn\[")
    assert printed == ["cleaned up in a hurry", "TimeLimitExceeded(1.5)", "3"]


def test_recycling(project: Project) -> None:  # 3-C16
    with project.worker("--max-tasks-per-child=2", "-c", "1"):
        pids = project.python(
            "from tasks import pid; print(*[pid.delay().get(timeout=20) for _ in range(6)])"
        ).split()
    assert len(set(pids)) == 3
    assert pids[0] == pids[1] != pids[2]


def test_detached_by_user(project: Project) -> None:  # 3-C5
    log, pidfile = project.path / "w.log", project.path / "w.pid"
    project.celery(
        "-A", "tasks", "worker", "--detach", "-l", "INFO", "-c1", f"--logfile={log}", f"--pidfile={pidfile}"
    )
    wait_until(lambda: log.exists() and "ready." in log.read_text())
    pid = int(pidfile.read_text())
    try:
        assert project.python("from tasks import add; print(add.delay(1, 2).get(timeout=10))").strip() == "3"
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not pidfile.exists())


def test_signals(project: Project) -> None:  # 3-C8
    with project.worker() as worker:
        worker.send(signal.SIGUSR1)
        worker.wait_for(r"MainThread")
        worker.send(signal.SIGQUIT)
        assert worker.wait() == 0
        assert "Cold shutdown" in worker.output


def test_root_and_pickle(project: Project) -> None:  # 3-C44
    if os.geteuid() != 0:
        pytest.skip("needs root")
    project.write("tasks.py", TASKS + "\n    app.conf.accept_content = ['json', 'pickle']\n")
    del project.env["C_FORCE_ROOT"]
    refused = project.celery("-A", "tasks", "worker", "-P", "solo", check=False)
    assert refused.returncode == 1
    assert "C_FORCE_ROOT" in refused.stdout + refused.stderr
    with project.worker("-P", "solo", C_FORCE_ROOT="1"):
        pass


@pytest.mark.parametrize("option", [("-O", "fair"), ("-Ofair",)])
def test_fair(project: Project, option: tuple[str, ...]) -> None:  # 3-C46, 1-3
    with project.worker(*option):
        assert (
            project.python("""
            import time
            from tasks import add, sleeps
            long = sleeps.delay(5)
            print(sum(r.get(timeout=4) for r in [add.delay(i, i) for i in range(20)]), long.ready())
            """).strip()
            == "380 False"
        )


@pytest.mark.parametrize("pool", ["threads", "solo", "asyncio", "prefork"])
def test_pools(project: Project, pool: str) -> None:  # 0-21, 0-25
    with project.worker("-P", pool):
        assert project.python("from tasks import add; print(add.delay(1, 2).get(timeout=10))").strip() == "3"


def test_purge(project: Project) -> None:  # 3-C33
    project.python("from tasks import add; [add.delay(1, 2) for _ in range(3)]")
    assert "3 messages" in project.celery("-A", "tasks", "purge", stdin="y\n").stdout
    project.python("from tasks import add; add.delay(1, 2)")
    assert "1 message" in project.celery("-A", "tasks", "purge", "-f").stdout
    assert project.celery("-A", "tasks", "purge", "-f").returncode == 0


def test_shell(project: Project) -> None:  # 3-C35
    printed = project.celery(
        "-A", "tasks", "shell", "--python", stdin="print(app.main, celery is app, add.name)\n"
    ).stdout
    assert "tasks True tasks.add" in printed


def test_other_broker(project: Project) -> None:  # 3-A15, 0-28
    url = f"sqlite:///{project.path}/other.db"
    for args, env in (
        (("-b", url), {}),
        ((), {"CELERY_BROKER_URL": url}),
    ):
        with project.worker(*args, **env) as worker:
            assert "other.db" in worker.output


def test_dry_run(project: Project) -> None:  # 0-27
    assert project.celery("-A", "tasks", "worker", "--dry-run").returncode == 0
    broken = project.celery(
        "-A", "tasks", "-b", f"sqlite:///{project.path}", "worker", "--dry-run", check=False
    )
    assert broken.returncode == 1


def test_own_module_starts_a_worker(project: Project) -> None:  # 3-B4
    project.write(
        "own.py", TASKS + "\n    if __name__ == '__main__':\n        app.worker_main(['worker', '--help'])\n"
    )
    assert "--concurrency" in project.run(sys.executable, "own.py").stdout


def test_routes(project: Project) -> None:  # 3-R1, R2, R3, 0-35, 0-37
    assert (
        project.python("""
        import re
        from celery import Celery
        app = Celery('routes', broker='memory://')
        app.conf.task_default_queue = 'default'
        app.conf.task_routes = ([('feed.tasks.*', {'queue': 'feeds'}), ('web.tasks.*', {'queue': 'web'}),
                                 (re.compile(r'(video|image)\\.tasks\\..*'), {'queue': 'media'})],)
        for name in ('feed.tasks.import_feed', 'web.tasks.a', 'image.tasks.b', 'other'):
            app.send_task(name)
        app.send_task('other', queue='video')

        @app.task(queue='priority_high')
        def mine(): pass

        mine.delay()
        broker = app.broker_for_write()
        print([broker.size(q) for q in ('feeds', 'web', 'media', 'default', 'video', 'priority_high')])
        """).strip()
        == "[1, 1, 1, 1, 1, 1]"
    )


def test_topic_routing(project: Project) -> None:  # 3-R4, R5, R8, R9
    assert (
        project.python("""
        from celery import Celery
        from kombu import Exchange, Queue, binding
        app = Celery('routes', broker='memory://')
        media = Exchange('media', type='direct')
        app.conf.update(
            task_default_queue='default', task_default_exchange='tasks', task_default_exchange_type='topic',
            task_default_routing_key='task.default',
            task_queues=(Queue('default', Exchange('tasks', type='topic'), routing_key='task.#'),
                         Queue('feed_tasks', Exchange('tasks', type='topic'), routing_key='feed.#'),
                         Queue('image_tasks', exchange=Exchange('mediatasks', type='direct'), routing_key='image.compress'),
                         Queue('media', [binding(media, routing_key='media.video'), binding(media, routing_key='media.image')])),
            task_routes={'feeds.tasks.import_feed': {'queue': 'feed_tasks', 'routing_key': 'feed.import'}})
        app.send_task('feeds.tasks.import_feed', ['http://cnn.com/rss'])
        app.send_task('anything')
        app.send_task('images', exchange='mediatasks', routing_key='image.compress')
        app.send_task('images', exchange='media', routing_key='media.video')
        app.send_task('images', exchange='media', routing_key='media.image')
        broker = app.broker_for_write()
        print([broker.size(q) for q in ('default', 'feed_tasks', 'image_tasks', 'media')])
        """).strip()
        == "[1, 1, 1, 2]"
    )


def test_routers(project: Project) -> None:  # 3-R10
    project.write(
        "routers.py",
        """
        def route_task(name, args, kwargs, options, task=None, **kw):
            if name == 'myapp.tasks.compress_video':
                return {'exchange': 'video', 'exchange_type': 'topic', 'routing_key': 'video.compress'}
        """,
    )
    for routes in ("(routers.route_task,)", "('routers.route_task',)", "'routers.route_task'"):
        assert (
            project.python(f"""
            import routers
            from celery import Celery
            from kombu import Exchange, Queue
            app = Celery('routes', broker='memory://')
            app.conf.task_queues = [Queue('video', Exchange('video', type='topic'), routing_key='video.#')]
            app.conf.task_routes = {routes}
            app.send_task('myapp.tasks.compress_video')
            print(app.broker_for_write().size('video'))
            """).strip()
            == "1"
        )


def test_one_at_a_time(project: Project) -> None:  # 3-Q9
    project.write(
        "tasks.py", TASKS + "\n    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)\n"
    )
    project.python("from tasks import sleeps; [sleeps.delay(1) for _ in range(8)]")
    with project.worker("-c", "2") as worker:
        worker.wait_for(r"received")
        left = int(project.python("from tasks import app; print(app.broker_for_read().size('celery'))"))
        assert left >= 4
        wait_until(lambda: worker.output.count("succeeded") == 8)


def test_refused_content(project: Project) -> None:  # 3-Z1
    with project.worker() as worker:
        printed = project.python("""
            from tasks import add
            print(repr(add.apply_async((1, 2), serializer='pickle').get(timeout=10, propagate=False)))
            """)
        assert printed.startswith(
            "InvalidTaskError('body cannot be decoded: Refusing to deserialize untrusted content of type pickle"
        )
        worker.wait_for(r"(?i)pickle")
        assert project.python("from tasks import add; print(add.delay(1, 2).get(timeout=10))").strip() == "3"


def test_unknown_task(project: Project) -> None:  # Q16
    with project.worker() as worker:
        printed = project.python("""
            from tasks import app
            print(type(app.send_task('nobody.knows').get(timeout=10, propagate=False)).__name__)
            """)
        worker.wait_for(r"Received unregistered task of type 'nobody\.knows'")
    assert printed.strip() == "NotRegistered"


def test_upgrade_under_load(project: Project) -> None:  # 0-40
    project.write(
        "tasks.py",
        TASKS
        + """
    @app.task(acks_late=True)
    def note(n):
        with open('ledger.txt', 'a') as ledger:
            ledger.write(f'{n} ')
        time.sleep(0.01)
    """,
    )
    project.python("from tasks import note; [note.delay(n) for n in range(400)]")
    ledger = project.path / "ledger.txt"
    with project.worker("-n", "old@%h") as old:
        wait_until(lambda: ledger.exists() and len(ledger.read_text().split()) > 50)
        with project.worker("-n", "new@%h"):
            assert old.stop() == 0
            wait_until(lambda: len(ledger.read_text().split()) >= 400)
    assert sorted(map(int, ledger.read_text().split())) == list(range(400))


def test_killed_child_runs_again(project: Project) -> None:  # 1-4, Q4
    project.write(
        "tasks.py",
        TASKS
        + """
    @app.task(acks_late=True, reject_on_worker_lost=True)
    def dies_once(path):
        if not os.path.exists(path):
            open(path, 'w').close()
            os.kill(os.getpid(), 9)
        return 'survived'

    @app.task
    def dies(): os.kill(os.getpid(), 9)
    """,
    )
    with project.worker():
        printed = project.python(f"""
            from tasks import dies, dies_once
            print(dies_once.delay({str(project.path / "flag")!r}).get(timeout=20))
            print(type(dies.delay().get(timeout=20, propagate=False)).__name__)
            """).split()
    assert printed == ["survived", "WorkerLostError"]


def test_failures_are_rejected(project: Project) -> None:  # 1-4, T20
    project.write(
        "tasks.py",
        TASKS
        + """
    @app.task(reject_on_failure=True)
    def fails(): raise ValueError('for the shelf')
    """,
    )
    with project.worker():
        printed = project.python("""
            from tasks import fails
            print(type(fails.delay().get(timeout=20, propagate=False)).__name__)
            """)
        assert printed.strip() == "ValueError"
        wait_until(lambda: "tasks.fails" in project.celery("-A", "tasks", "dlq", "list").stdout)


def test_signals_in_the_worker(project: Project) -> None:  # 0-42
    project.write(
        "tasks.py",
        TASKS
        + """
    from celery import signals

    def note(name):
        def receiver(**kwargs): print('SIGNAL', name)
        getattr(signals, name).connect(receiver, weak=False)

    for name in ('task_prerun', 'task_postrun', 'task_success', 'task_failure', 'worker_ready', 'worker_init',
                 'worker_shutdown', 'worker_process_init', 'task_received', 'celeryd_init', 'celeryd_after_setup'):
        note(name)

    @app.task
    def fails(): raise ValueError()
    """,
    )
    with project.worker() as worker:
        project.python("""
            from tasks import add, fails
            add.delay(1, 1).get(timeout=10)
            fails.delay().get(timeout=10, propagate=False)
            """)
        for name in ("task_prerun", "task_postrun", "task_success", "task_failure", "worker_ready", "worker_init",
                     "worker_process_init", "task_received", "celeryd_init", "celeryd_after_setup"):  # fmt: skip
            worker.wait_for(rf"SIGNAL {name}\b")
        worker.stop()
        assert "SIGNAL worker_shutdown" in worker.output


def test_the_shop(project: Project) -> None:  # 1-1, 1-2
    project.write(
        "tasks.py",
        """
        from celery import Celery
        app = Celery("harbor")

        class TransientPaymentError(Exception): pass

        @app.task(bind=True, max_retries=3, default_retry_delay=0.1)
        def charge_and_fulfill(self, order_id: str):
            try:
                raise TransientPaymentError(order_id)
            except TransientPaymentError as exc:
                raise self.retry(exc=exc)
        """,
    )
    with project.worker("-Q", "payments"):
        printed = project.python("""
            from tasks import charge_and_fulfill
            result = charge_and_fulfill.apply_async(args=["ord_9f2a"], queue="payments", countdown=1, expires=3600, priority=5)
            print(repr(result.get(timeout=20, propagate=False)), result.state)
            """).strip()
    assert printed == "TransientPaymentError('ord_9f2a') FAILURE"


def test_rate_limit(project: Project) -> None:  # 3-T17, A11
    project.write(
        "tasks.py",
        TASKS
        + """
    @app.task(rate_limit='100/m')
    def limited():
        with open('starts.txt', 'a') as starts:
            starts.write(f'{time.time()} ')
    """,
    )
    with project.worker():
        project.python("from tasks import limited; [limited.delay() for _ in range(3)]")
        starts = project.path / "starts.txt"
        wait_until(lambda: starts.exists() and len(starts.read_text().split()) == 3)
    at = sorted(map(float, starts.read_text().split()))
    # The worker spaces what it lets go by 0.6 s; a start comes some milliseconds after that.
    assert at[1] - at[0] >= 0.5
    assert at[2] - at[1] >= 0.5
