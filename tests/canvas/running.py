"""Running trees on a real worker, or eagerly, and comparing with the reference."""

from __future__ import annotations

import itertools
import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from celery.contrib.testing.worker import start_worker
from celery.result import GroupResult
from tests.canvas.tasks import add_tasks
from tests.canvas.trees import Account, Many, Tree, evaluate, written

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from celery import Celery

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def worker_beside(app: Celery) -> AbstractContextManager[Any]:
    """A quiet worker of four threads in this process, while the block runs."""
    return start_worker(
        app,
        pool="threads",
        concurrency=4,
        perform_ping_check=False,
        loglevel="CRITICAL",
        shutdown_timeout=30,
    )


class Log:
    """What was called, by run."""

    def __init__(self) -> None:
        self._calls: dict[str, list[tuple[str, Any]]] = {}
        self._errors: dict[str, list[str]] = {}
        self._changed = threading.Condition()

    def call(self, label: str, args: Any) -> None:
        run, _, label = label.rpartition(":")
        with self._changed:
            self._calls.setdefault(run, []).append((label, args))
            self._changed.notify_all()

    def error(self, label: str) -> None:
        run, _, label = label.rpartition(":")
        with self._changed:
            self._errors.setdefault(run, []).append(label)
            self._changed.notify_all()

    def of(self, run: str) -> tuple[Counter[str], Counter[str]]:
        calls = Counter(repr(call) for call in self._calls.get(run, ()))
        return calls, Counter(self._errors.get(run, ()))

    def wait_for(self, run: str, calls: int, errors: int, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._calls.get(run, ())) >= calls and len(self._errors.get(run, ())) >= errors,
                seconds,
            )


class Runner:
    """Runs trees by one app.

    Args:
        app: gets the tasks.
        seconds: until a workflow must be over.
        log: where tasks write what was called; default: in this process.
    """

    def __init__(self, app: Celery, seconds: float = 20, log: Any = None) -> None:
        self.app = app
        self.log = log or Log()
        self.runs: list[tuple[str, Tree, Account]] = []
        self._numbers = itertools.count()
        self._seconds = seconds
        add_tasks(app, self.log)

    def check(self, tree: Tree) -> None:
        """Run a tree; its outcome, its calls and its errbacks must be those of the reference."""
        run = f"{next(self._numbers)}"
        account = Account()
        expected = shown(evaluate(tree, account))
        result = written(tree, self.app, f"{run}:").apply_async()
        assert self._outcome(result, expected) == expected
        self.log.wait_for(run, len(account.calls), len(account.errors), self._seconds)
        self.runs.append((run, tree, account))
        self._compare(run, tree, account)

    def check_again(self) -> None:
        """Nothing has happened since that should not have."""
        for run in self.runs:
            self._compare(*run)

    def _outcome(self, result: Any, expected: Any) -> Any:
        return outcome_of(result, self._seconds)

    def _compare(self, run: str, tree: Tree, account: Account) -> None:
        calls, errors = self.log.of(run)
        assert calls == Counter(repr((label, list(args))) for label, args in account.calls), tree
        assert errors == Counter(account.errors), tree


def outcome_of(result: Any, seconds: float) -> Any:
    """What a workflow came to, in the form of `shown`."""
    return _outcome(result, time.monotonic() + seconds)


def _outcome(result: Any, deadline: float) -> Any:
    if isinstance(result, GroupResult):
        return [_outcome(member, deadline) for member in result.results]
    timeout = max(0.01, deadline - time.monotonic())
    return shown(result.get(timeout=timeout, interval=0.01, propagate=False, follow_parents=False))


def shown(outcome: Any) -> Any:
    """An outcome of the reference, or a value, with exceptions as texts without ids."""
    if isinstance(outcome, Many):
        return [shown(member) for member in outcome.members]
    if isinstance(outcome, BaseException):
        return UUID.sub("ID", repr(outcome))
    return outcome
