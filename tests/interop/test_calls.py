"""Every way to call a task: by either Celery, run by either, as the real one does among its own."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import NAMES, SHARED
from tests.interop.sides import Side
from tests.servers.redis import RedisServer

PAIRS = list(itertools.product(NAMES, NAMES))
#: What is not the same on purpose, or by chance; see docs/differences.md.
EXCEPTIONS = {("failures", "awkward")}


@pytest.fixture(params=["redis", "rabbitmq"])
def fleet(request, tmp_path, stock_celery):
    """Both sides, each with a worker on a queue of its own; results are in Redis."""
    with RedisServer(tmp_path / "redis") as server:
        broker = server.url
        if request.param == "rabbitmq":
            broker = request.getfixturevalue("rabbitmq_server").vhost()
        env = {"BROKER": broker, "RESULTS": server.url, "PYTHONPATH": str(SHARED)}
        pythons = {"ours": Path(sys.executable), "stock": stock_celery.python}
        sides = {name: Side(name, pythons[name], tmp_path, env) for name in NAMES}
        conf = {name: json.dumps({"task_default_queue": f"queue-of-{name}"}) for name in NAMES}
        with (
            sides["ours"].worker("-n", "ours@%h", CONF=conf["ours"]),
            sides["stock"].worker("-n", "stock@%h", CONF=conf["stock"]),
        ):
            yield sides


@pytest.mark.timeout(300)
def test_calls(fleet):
    """All cases of `shared/calls.py`, by all pairs of caller and worker."""
    answers = {
        (caller, runner): fleet[caller].json(f"import calls; calls.main('queue-of-{runner}')", timeout=120)
        for caller, runner in PAIRS
    }
    expected = answers["stock", "stock"]
    different = [
        f"{caller} called, {runner} ran, {case} {key}: {found!r} instead of {wanted!r}"
        for (caller, runner), cases in answers.items()
        for case in expected
        for key, found, wanted in _differences(cases[case], _named(expected[case], runner))
        if (case, key) not in EXCEPTIONS
    ]
    assert not different, "\n".join(different)


def _differences(found, expected):
    if not isinstance(expected, dict):
        found, expected = {"": found}, {"": expected}
    return [(key, found.get(key), expected[key]) for key in expected if found.get(key) != expected[key]]


def _named(value, runner):
    """What the real Celery says of itself, as if it was said by `runner`."""
    return json.loads(json.dumps(value).replace('"stock"', f'"{runner}"'))
