"""Programs under gevent's monkey patching: they send and wait from many greenlets, as web servers do."""

from __future__ import annotations

import sys

import pytest

TASKS = """
    import os
    import time

    from celery import Celery

    app = Celery("tasks", broker=os.environ.get("BROKER"), backend=os.environ.get("RESULTS"))

    @app.task
    def double(n):
        return 2 * n

    @app.task(ignore_result=False)
    def until(path):
        while not os.path.exists(path):
            time.sleep(0.005)
        return "there"
    """

CLIENT = """
    from gevent import monkey; monkey.patch_all()
    import gevent
    from celery import chord, group
    from tasks import double, until

    # One waits for what another one does: whoever waits must let the others go on.
    waiting = gevent.spawn(lambda: until.delay("it").get(timeout=30))
    gevent.sleep(0)
    gevent.spawn_later(0.1, lambda: open("it", "w").close())
    many = [gevent.spawn(lambda n=n: double.delay(n).get(timeout=30)) for n in range(100)]
    gevent.joinall([waiting, *many], raise_error=True)
    assert waiting.value == "there"
    assert [one.value for one in many] == [2 * n for n in range(100)]
    assert group(double.s(n) for n in range(50))().get(timeout=30) == [2 * n for n in range(50)]
    print("all")
    """


@pytest.mark.parametrize("site", ["embedded", "redis", "rabbitmq-rpc", "rabbitmq-redis", "redis-database"])
def test_they_send_and_wait(project, request, site):
    pytest.importorskip("gevent")
    env = {}
    if site.startswith("redis"):
        env = {"BROKER": request.getfixturevalue("redis_url")}
    elif site.startswith("rabbitmq"):
        env = {"BROKER": request.getfixturevalue("amqp_url")}
    if site.endswith("redis"):
        env["RESULTS"] = request.getfixturevalue("redis_url")
    elif site.endswith("rpc"):
        env["RESULTS"] = "rpc://"
    elif site.endswith("database"):
        env["RESULTS"] = f"db+sqlite:///{project.path}/results.db"
    project.write("tasks.py", TASKS)
    project.write("client.py", CLIENT)
    with project.worker("-P", "threads", "-c", "10", **env):
        done = project.run(sys.executable, "-W", "ignore", "client.py", **env)
    assert done.stdout.strip() == "all", done.stdout + done.stderr
