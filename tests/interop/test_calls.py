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
EXCEPTIONS = {("failures", "awkward"), ("states", "rejected")}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, stock_celery):
    """Both sides, each with a worker on a queue of its own."""
    folder = tmp_path_factory.mktemp("fleet")
    with RedisServer(folder / "redis") as server:
        env = {"BROKER": server.url, "RESULTS": server.url, "PYTHONPATH": str(SHARED)}
        pythons = {"ours": Path(sys.executable), "stock": stock_celery.python}
        sides = {name: Side(name, pythons[name], folder, env) for name in NAMES}
        conf = {name: json.dumps({"task_default_queue": f"queue-of-{name}"}) for name in NAMES}
        arguments = ("-n", "ours@%h"), ("-n", "stock@%h")
        with (
            sides["ours"].worker(*arguments[0], CONF=conf["ours"]),
            sides["stock"].worker(*arguments[1], CONF=conf["stock"]),
        ):
            yield sides


@pytest.fixture(scope="module")
def answers(fleet):
    """(who called, who ran) -> case -> what came of it; made when first asked for."""
    made = {}

    def get(caller, runner):
        if (caller, runner) not in made:
            code = f"import calls; calls.main('queue-of-{runner}')"
            made[caller, runner] = fleet[caller].json(code, timeout=100)
        return made[caller, runner]

    return get


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "case", ["encodings", "requests", "failures", "states", "due", "links", "ignoring", "families"]
)
@pytest.mark.parametrize(("caller", "runner"), PAIRS)
def test_calls(answers, caller, runner, case):
    expected, found = answers("stock", "stock")[case], answers(caller, runner)[case]
    if not isinstance(expected, dict):
        assert found == expected
        return
    different = {
        key: {"found": found.get(key), "expected": _named(expected[key], runner)}
        for key in expected
        if (case, key) not in EXCEPTIONS and found.get(key) != _named(expected[key], runner)
    }
    assert not different, json.dumps(different, indent=1)


def _named(value, runner):
    """What the real Celery says of itself, as if it was said by `runner`."""
    return json.loads(json.dumps(value).replace('"stock"', f'"{runner}"'))
