"""Results as messages: threads, forks, event loops, many at once, and lost connections."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(120)

TASKS = """
import os, time
from celery import Celery

app = Celery("tasks", broker=os.environ["BROKER"], backend="rpc://")

@app.task
def add(x, y, seconds=0):
    time.sleep(seconds)
    return x + y

@app.task(bind=True)
def reporting(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    return "reported"

@app.task
def fail():
    raise ValueError("boom", 7)

@app.task
def parent():
    return add.delay(1, 1).id
"""


@pytest.fixture
def rpc(project, amqp_url):
    project.write("tasks.py", TASKS)
    project.env["BROKER"] = amqp_url
    return project


def test_threads_forks_loops_and_many(rpc):
    with rpc.worker():
        said = rpc.python(
            """
            import asyncio, os, threading
            from tasks import *
            assert add.delay(1, 2).get(timeout=20) == 3
            results = app.send_many(add, [(n, n) for n in range(1000)])
            assert [r.get(timeout=30) for r in results] == [2 * n for n in range(1000)]
            wrong = []
            def work():
                for n in range(10):
                    if add.delay(n, 1).get(timeout=30) != n + 1:
                        wrong.append(n)
            threads = [threading.Thread(target=work) for _ in range(20)]
            [t.start() for t in threads]; [t.join() for t in threads]
            assert not wrong
            children = []
            for number in range(4):
                pid = os.fork()
                if not pid:
                    code = 1
                    try:
                        code = not all(add.delay(n, number).get(timeout=30) == n + number for n in range(5))
                    finally:
                        os._exit(code)
                children.append(pid)
            assert all(add.delay(n, 9).get(timeout=30) == n + 9 for n in range(10))
            frozen, chained = add.s(4, 5), add.s(1, 1) | add.s(2)
            frozen.freeze(), chained.freeze()
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    code = (frozen.delay().get(timeout=30), chained.delay().get(timeout=30)) != (9, 4)
                finally:
                    os._exit(code)
            children.append(pid)
            assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
            async def main():
                calls = [await add.adelay(n, 5) for n in range(50)]
                return [await call.aget(timeout=30) for call in calls]
            assert asyncio.run(main()) == [n + 5 for n in range(50)]
            print("all right")
            """
        )
    assert "all right" in said


def test_workflows(rpc):
    with rpc.worker():
        said = rpc.python(
            """
            from celery import chain, group
            from tasks import *
            print(group(add.s(n, n) for n in range(3))().get(timeout=20))
            result = chain(add.s(1, 1), add.s(2), add.s(3))()
            print(result.get(timeout=20), result.parent.get(timeout=20), result.parent.parent.get(timeout=20))
            """
        )
    assert said.splitlines() == ["[0, 2, 4]", "7 4 2"]


def test_states_and_failures(rpc):
    with rpc.worker():
        said = rpc.python(
            """
            from tasks import *
            seen = []
            print(reporting.delay().get(timeout=20, on_message=lambda m: seen.append(m["status"])), seen[-1])
            try:
                fail.delay().get(timeout=20)
            except ValueError as error:
                print(error.args)
            result = add.delay(1, 2)
            assert result.get(timeout=20) == 3 and result.state == "SUCCESS"
            assert app.AsyncResult(result.id).state == "SUCCESS"
            print(app.AsyncResult("unheard of").state, len(parent.delay().get(timeout=20)))
            result.forget()
            """
        )
    assert said.split("\n")[:3] == ["reported SUCCESS", "('boom', 7)", "PENDING 36"]


def test_chords_are_refused_at_the_call(rpc):
    said = rpc.python(
        """
        from celery import chord
        from tasks import *
        try:
            chord([add.s(1, 1)])(add.s(1))
        except NotImplementedError as error:
            print(error)
        """
    )
    assert 'The "rpc" result backend does not support chords!' in said


def test_nobody_asked_and_nobody_is_there_any_more(rpc):
    """A caller that is gone leaves no queue; its results are dropped, and the worker goes on."""
    with rpc.worker() as worker:
        rpc.python("from tasks import *; add.delay(1, 1, seconds=1)")
        worker.wait_for("succeeded in")
        assert rpc.python("from tasks import *; print(add.delay(2, 2).get(timeout=20))").strip() == "4"


CUT = """
import sys
sys.path.insert(0, {root!r})
from tests.servers.proxy import Proxy
from tasks import *
with Proxy({port}) as proxy:
    app.conf.broker_url = {url!r}.replace("{port}", str(proxy.port))
    results = [add.delay(n, n, seconds=0.5) for n in range(8)]
    for n, result in enumerate(results):
        assert result.get(timeout=30) == 2 * n
        proxy.cut(reset=bool(n % 2))
print("all there")
"""


def test_connections_are_cut_while_results_come_in(rpc, amqp_url, rabbitmq_server, request):
    code = CUT.format(root=str(request.config.rootpath), port=rabbitmq_server.port, url=amqp_url)
    with rpc.worker():
        assert "all there" in rpc.python(code)
