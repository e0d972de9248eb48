"""Workers that follow one another: who joins, who leaves, and who does something for all."""

from __future__ import annotations

import pytest
from tests.support import wait_until

from celery import Celery
from celery.contrib.testing.worker import start_worker


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def app(request, tmp_path):
    urls = {"redis": "redis_url", "rabbitmq": "amqp_url"}
    named = urls.get(request.param)
    url = request.getfixturevalue(named) if named else f"memory://{tmp_path.name}"
    made = Celery("gossip", broker=url, backend="cache+memory://", set_as_current=False)

    @made.task(name="add")
    def add(x, y):
        return x + y

    yield made
    made.close()


def worker(app, name, **options):
    return start_worker(
        app,
        pool="threads",
        concurrency=1,
        perform_ping_check=False,
        hostname=name,
        heartbeat_interval=0.3,
        **options,
    )


def test_neighbours_join_and_leave(app):
    news = []
    with worker(app, "w1@h") as first:
        gossip = first.consumer.gossip
        gossip.on.node_join.add(lambda node: news.append(("join", node.hostname)))
        gossip.on.node_leave.add(lambda node: news.append(("leave", node.hostname)))
        wait_until(lambda: gossip.state is not None)
        with worker(app, "w2@h"):
            wait_until(lambda: ("join", "w2@h") in news)
            assert [node.hostname for node in gossip.state.alive_workers()] == ["w2@h"]
        wait_until(lambda: ("leave", "w2@h") in news)
    assert ("join", "w1@h") not in news


def test_one_is_elected(app, caplog):
    done = []
    with worker(app, "w1@h") as first, worker(app, "w2@h") as second:
        for one in (first, second):
            one.consumer.gossip.election_handlers["chores"] = lambda action, one=one: done.append(
                (one.hostname, action)
            )
            one.consumer.gossip.follow()
        wait_until(
            lambda: all(
                one.consumer.gossip.state is not None and list(one.consumer.gossip.state.alive_workers())
                for one in (first, second)
            )
        )
        app.control.election("e1", "chores", {"what": "sweep"})
        wait_until(lambda: done)
        app.control.election("e2", "task", app.signature("add", (20, 22), task_id="elected"))
        assert app.AsyncResult("elected").get(timeout=20) == 42
    assert [action for _, action in done] == [{"what": "sweep"}]


def test_a_worker_may_keep_to_itself(app):
    with worker(app, "w1@h", without_gossip=True) as running:
        running.consumer.gossip.follow()
        app.tasks["add"].delay(1, 1).get(timeout=20)
        assert running.consumer.gossip.state is None
