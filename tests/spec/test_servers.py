"""Workflows, results and messages on real servers: what a user sees is what Celery 5.7.0 shows, or better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.spec.probes import ask, right_answers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.rabbitmq import RabbitServer
    from tests.servers.redis import RedisServer
    from tests.support import Project

#: A whole script is one test.
pytestmark = pytest.mark.timeout(120)


def wrong(
    project: Project, name: str, *args: str, except_for: tuple[str, ...] = ()
) -> dict[str, tuple[str, str]]:
    """Label -> right answer and ours, where they differ."""
    right, ours = right_answers(name), ask(project, name, *args)
    labels = {*right, *ours} - set(except_for)
    return {
        label: (right.get(label, "nothing"), ours.get(label, "nothing"))
        for label in sorted(labels)
        if right.get(label) != ours.get(label)
    }


def test_messages_in_redis(project: Project, redis_server: RedisServer) -> None:
    assert wrong(project, "redis_sent", redis_server.database(3)) == {}


def test_results_in_redis(project: Project, redis_server: RedisServer) -> None:
    assert wrong(project, "redis_results", redis_server.database(4)) == {}


def test_messages_of_a_worker(project: Project, redis_server: RedisServer) -> None:
    assert wrong(project, "worker_sent", redis_server.database(6)) == {}


def test_messages_in_rabbitmq(
    project: Project, rabbitmq_server: RabbitServer, amqp_url: str, tmp_path: Path
) -> None:
    ctl = rabbitmq_server.write_ctl(tmp_path / "ctl")
    assert wrong(project, "rabbitmq_sent", amqp_url, str(ctl)) == {}


def test_replies_of_a_worker(
    project: Project, rabbitmq_server: RabbitServer, amqp_url: str, tmp_path: Path
) -> None:
    ctl = rabbitmq_server.write_ctl(tmp_path / "ctl")
    assert wrong(project, "rpc_results", amqp_url, str(ctl)) == {}


@pytest.mark.parametrize("broker", ["embedded", "redis", "rabbitmq"])
@pytest.mark.parametrize("name", ["ran", "worker_log"])
def test_worker(project: Project, name: str, broker: str, request: pytest.FixtureRequest) -> None:
    """What becomes of workflows, and what the log says."""
    if broker == "embedded":
        urls = ["sqlite:///store.db"] * 2
    else:
        store = request.getfixturevalue("redis_server").database(5)
        urls = [store if broker == "redis" else request.getfixturevalue("amqp_url"), store]
    # The log begins with the addresses; what has expired, RabbitMQ drops itself.
    other = {"redis": (), "embedded": ("start", "banner"), "rabbitmq": ("start", "banner", "expired")}
    assert wrong(project, name, *urls, except_for=other[broker]) == {}
