"""Random workflows: the same values, the same order, the same calls and errbacks as in the reference."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from celery import Celery
from celery.canvas import graphs
from tests.canvas.running import Runner, worker_beside
from tests.canvas.trees import Chain, Chord, Group, Task, Tree, trees
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.rabbitmq import RabbitServer

pytestmark = [
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),
    # That is the worker beside.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
    pytest.mark.timeout(180),
]

TARGETS = ("eager", "memory", "sqlite", "redis", "rabbitmq+redis", "rabbitmq+database")
#: With `fleet = 'celeriac'`, where nothing travels in messages that can be stored.
STORED = ("memory, stored", "sqlite, stored", "redis, stored", "rabbitmq+database, stored")
#: How many in `make soak`, which has less time now and then.
THOUSANDS = int(os.environ.get("EXAMPLES", "3000"))
MANY = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)

#: A group in a group, one member each, after a chord: both are opened, the inner one by what is in the chord.
ONE_OF_ONE = Group((Group((Task("2", "retry"),)),))
AFTER_A_CHORD = Chain((Chord((Task("0"),), Task("1", immutable=True)), ONE_OF_ONE))
AFTER_CHORDS = Chain((Chord((Task("0"),), Chord((Task("3"),), Task("1"))), Group((ONE_OF_ONE,))))
#: The result of its only member.
ONE_MEMBER = Group((Chain((Task("0"), Group((Task("1"), Task("2"))))),))
AFTER_A_TASK = Chain((Task("0"), Task("1"), ONE_OF_ONE))


@pytest.fixture(scope="module", params=TARGETS + STORED)
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """An app with the tasks of the trees, and a worker."""
    node = request.getfixturevalue("rabbitmq_server") if request.param.startswith("rabbitmq") else None
    target, _, stored = request.param.partition(", ")
    folder = tmp_path_factory.mktemp("canvas")
    few = 0 if stored else graphs.FEW
    with mock.patch.object(graphs, "FEW", few), place(target, folder, node) as app:
        if stored:
            app.conf.fleet = "celeriac"
        made = Runner(app)
        if app.conf.task_always_eager:
            yield made
        else:
            with worker_beside(app):
                yield made
        made.check_again()
        app.close()  # or its connections are left to the garbage collector, in the middle of another test


@contextlib.contextmanager
def place(target: str, folder: Path, node: RabbitServer | None) -> Iterator[Celery]:
    """An app whose messages and results are somewhere."""
    if target == "eager":
        yield Celery("eager", broker="memory://", backend="cache+memory://", task_always_eager=True)
    elif target == "memory":
        yield Celery("memory", broker="memory://", backend="cache+memory://")
    elif target == "sqlite":
        yield Celery("sqlite", broker=f"sqlite:///{folder}/store.db", backend=f"sqlite:///{folder}/store.db")
    elif target == "rabbitmq+database":
        # Of a mixed fleet a task would look at the members of chords once a second.
        backend = f"db+sqlite:///{folder}/results.db"
        yield Celery(target, broker=node and node.vhost(), backend=backend, fleet="celeriac")
    else:
        with RedisServer(folder) as server:
            yield Celery(target, broker=node.vhost() if node else server.url, backend=server.url)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@given(tree=trees(most=20))
@settings(MANY, max_examples=THOUSANDS, phases=(Phase.generate,))  # each failing attempt waits long
def test_thousands_as_the_reference(runner: Runner, tree: Tree) -> None:
    runner.check(tree)


@example(tree=AFTER_A_CHORD)
@example(tree=AFTER_CHORDS)
@example(tree=AFTER_A_TASK)
@example(tree=ONE_MEMBER)
@given(tree=trees())
@MANY
def test_as_the_reference(runner: Runner, tree: Tree) -> None:
    runner.check(tree)
