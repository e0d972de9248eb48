"""Random workflows of ours, run by one worker of ours and one of Celery 5.7.0 together, as the reference says.

Left out is what Celery never ends (docs/differences.md, "Workflows"): a chord in a header that failed, and what
follows something that failed if it is more than single tasks. Told apart by what is stored is one race of its: it stores RETRY
after the next attempt was sent, and so over what that attempt has stored.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings

import celery.exceptions
from celery import Celery
from tests.canvas.running import Runner, outcome_of
from tests.canvas.trees import Account, Task, Tree, evaluate, trees
from tests.interop.conftest import SHARED
from tests.interop.sides import Side
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.rabbitmq import RabbitServer
    from tests.servers.stock import StockCelery

pytestmark = [
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parents[2]
WORKER = ("-P", "threads", "-c", "4")
#: How many in `make soak`.
THOUSANDS = int(os.environ.get("EXAMPLES", "3000"))
#: Seconds after which no more are begun, there and in `make test`: a busy machine runs fewer.
LONG, SHORT = 2400, 60
MANY = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),  # each failing attempt waits long
    suppress_health_check=list(HealthCheck),
)


class FleetLog:
    """What both workers have written down. As `tests.canvas.running.Log`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def call(self, label: str, args: Any) -> None:
        raise AssertionError("no task runs here")

    error = call

    def of(self, run: str) -> tuple[Counter[str], Counter[str]]:
        calls = self._client.lrange(f"calls {run}", 0, -1)
        errors = self._client.lrange(f"errors {run}", 0, -1)
        return Counter(repr(tuple(json.loads(call))) for call in calls), Counter(map(bytes.decode, errors))

    def wait_for(self, run: str, calls: int, errors: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (
            self._client.llen(f"calls {run}") < calls or self._client.llen(f"errors {run}") < errors
        ) and time.monotonic() < deadline:
            time.sleep(0.01)

    def sides(self) -> dict[str, int]:
        """How many calls each of the two has run."""
        return {side.decode(): int(count) for side, count in self._client.hgetall("sides").items()}


class FleetRunner(Runner):
    """Runs trees, and sees what Celery has overwritten."""

    began = 0.0

    def check_unless_late(self, tree: Tree, seconds: float) -> None:
        """Run a tree that ends in Celery, too, if there is time."""
        if not self.runs:
            self.began = time.monotonic()
        if time.monotonic() < self.began + seconds and ends_in_celery(tree):
            self.check(tree)

    def _outcome(self, result: Any, expected: Any) -> Any:
        for _ in range(10):
            try:
                return outcome_of(result, 3)
            except celery.exceptions.TimeoutError:
                if all(one.ready() or by_celery(one) for one in _singles(result)):
                    return expected  # what has run, and how often, is compared still
        raise AssertionError(f"not over: {[(one.id, one.state) for one in _singles(result)]}")


def by_celery(result: Any) -> bool:
    """Whether it says RETRY, and it was Celery that wrote that."""
    return result.state == "RETRY" and ".venvs/stock" in result.traceback


def _singles(result: Any) -> list[Any]:
    members = getattr(result, "results", None)
    return [result] if members is None else [one for member in members for one in _singles(member)]


@pytest.fixture(scope="module", params=["redis", "rabbitmq+redis"])
def runner(
    request: pytest.FixtureRequest, stock_celery: StockCelery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FleetRunner]:
    """A producer of ours, and a worker of either kind."""
    folder = tmp_path_factory.mktemp("fleet")
    node: RabbitServer | None = None
    if request.param == "rabbitmq+redis":
        node = request.getfixturevalue("rabbitmq_server")
    with RedisServer(folder) as server, contextlib.ExitStack() as running:
        broker = node.vhost() if node else server.url
        env = {"BROKER": broker, "RESULTS": server.url, "PYTHONPATH": f"{ROOT}{os.pathsep}{SHARED}"}
        pythons = {"ours": Path(sys.executable), "stock": stock_celery.python}
        for name, python in pythons.items():
            side = Side(name, python, folder, env)
            running.enter_context(side.worker(*WORKER, "-n", f"{name}@h", app="canvas_app"))
        log = FleetLog(redis.Redis.from_url(server.url))
        made = FleetRunner(Celery("fleet", broker=broker, backend=server.url), log=log)
        yield made
        made.check_again()
        by = log.sides()
        print(f"{len(made.runs)} workflows, calls by side: {by}")
        assert min(by["ours"], by["stock"]) > sum(by.values()) / 10, by
        made.app.close()


def ends_in_celery(tree: Tree) -> bool:
    account = Account()
    evaluate(tree, account)
    return not account.inner_failures and all(isinstance(part, Task) for part in account.skipped)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@given(tree=trees(most=20))
@settings(MANY, max_examples=THOUSANDS)
def test_thousands_as_the_reference(runner: FleetRunner, tree: Tree) -> None:
    runner.check_unless_late(tree, LONG)


@given(tree=trees())
@MANY
def test_as_the_reference(runner: FleetRunner, tree: Tree) -> None:
    runner.check_unless_late(tree, SHORT)
