"""Random workflows whose failing tasks fail once: resumed until all is well, they come to what they would have come to."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from celery.canvas import graphs
from tests.canvas.running import Log, outcome_of, shown, worker_beside
from tests.canvas.tasks import add_tasks
from tests.canvas.test_random import place
from tests.canvas.trees import Account, Boom, Chain, Group, Task, Tree, evaluate, mix, trees, written
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

pytestmark = [
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies"),
    pytest.mark.timeout(180),
]


class Resumer:
    """An app with the tasks of the trees; those that fail do so the first time."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.log = Log()
        self._numbers = itertools.count()
        self._tried: set[str] = set()
        add_tasks(app, self.log)
        app.tasks.unregister("tree.fail")
        app.task(name="tree.fail", shared=False)(self._fail)

    def _fail(self, *args: Any) -> int:
        *given, label = args
        self.log.call(label, given)
        if label not in self._tried:
            self._tried.add(label)
            raise Boom(label)
        return mix(label.rpartition(":")[2], given)

    def check(self, tree: Tree) -> None:
        """Run a tree and resume it; tasks that failed have run twice, all others once."""
        run, account, failing = f"{next(self._numbers)}", Account(), labels_of_failing(tree)
        expected = shown(evaluate(healed(tree), account))
        result = written(tree, self.app, f"{run}:").apply_async()
        for _ in failing:
            if outcome_of(result, 30) == expected:
                break
            result.resume()
        assert outcome_of(result, 30) == expected
        calls = Counter(repr((label, list(args))) for label, args in account.calls)
        calls.update(repr((label, list(args))) for label, args in account.calls if label in failing)
        wait_until(lambda: self.log.of(run)[0] >= calls)
        assert self.log.of(run)[0] == calls


def healed(tree: Tree) -> Tree:
    """With steps in place of tasks that fail."""
    if isinstance(tree, Task):
        inner = None if tree.inner is None else healed(tree.inner)
        return replace(tree, kind="step" if tree.kind == "fail" else tree.kind, inner=inner)
    if isinstance(tree, Chain):
        return replace(tree, steps=tuple(map(healed, tree.steps)))
    if isinstance(tree, Group):
        return replace(tree, members=tuple(map(healed, tree.members)))
    return replace(tree, header=tuple(map(healed, tree.header)), body=healed(tree.body))


def labels_of_failing(tree: Tree) -> set[str]:
    if isinstance(tree, Task):
        inner = set() if tree.inner is None else labels_of_failing(tree.inner)
        return inner | {tree.label} if tree.kind == "fail" else inner
    if isinstance(tree, Chain):
        parts = tree.steps
    else:
        parts = tree.members if isinstance(tree, Group) else (*tree.header, tree.body)
    return {label for part in parts for label in labels_of_failing(part)}


@pytest.fixture(scope="module", params=["memory", "redis, stored", "sqlite, stored"])
def resumer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumer]:
    target, _, stored = request.param.partition(", ")
    few = 0 if stored else graphs.FEW
    with (
        mock.patch.object(graphs, "FEW", few),
        place(target, tmp_path_factory.mktemp("resumed"), None) as app,
    ):
        app.conf.fleet = "celeriac" if stored else "mixed"
        made = Resumer(app)
        with worker_beside(app):
            yield made
        app.close()


@given(tree=trees(fail=0.25))
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
def test_they_go_on(resumer: Resumer, tree: Tree) -> None:
    assume(
        labels_of_failing(tree) and not isinstance(tree, Task)
    )  # one that is part of nothing is not resumed
    resumer.check(tree)
