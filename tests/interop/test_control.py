"""Remote control in a mixed fleet: each kind of worker answers each kind of program, in the same form."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.interop.sides import Side

pytestmark = pytest.mark.timeout(120)

SHARED = Path(__file__).parent / "shared"
BOTH_WAYS = [("ours", "stock"), ("stock", "ours")]


@pytest.fixture(params=["redis", "rabbitmq"])
def sides(request, stock_celery, tmp_path):
    """`ours` and `stock`, on the same project and a fresh broker."""
    broker = request.getfixturevalue("redis_url" if request.param == "redis" else "amqp_url")
    results = broker if request.param == "redis" else f"db+sqlite:///{tmp_path}/results.db"
    env = {"BROKER": broker, "RESULTS": results, "PYTHONPATH": str(SHARED)}
    return {
        "ours": Side("ours", Path(sys.executable), tmp_path, env),
        "stock": Side("stock", stock_celery.python, tmp_path, env),
    }


ASK = """
import json
from tasks import app, add
control, ask = app.control, app.control.inspect(["w@here"], timeout=10)
later = add.apply_async((1, 2), countdown=300)
import time
until = time.time() + 20
while not (ask.scheduled() or {}).get("w@here") and time.time() < until:
    pass
told = lambda name, **arguments: control.broadcast(name, arguments, ["w@here"], reply=True, timeout=10)
got = {
    name: getattr(ask, name)()
    for name in ("active", "scheduled", "reserved", "revoked", "registered", "stats", "ping", "active_queues", "clock")
}
got["query"] = ask.query_task(later.id)
got["hello"] = ask.hello("x@y", revoked=["from-x"])
got["conf"] = ask.conf()
got["told"] = [
    told("revoke", task_id="nobody"),
    told("revoke", task_id=later.id, terminate=True),
    told("revoke_by_stamped_headers", headers={"mon": "id1"}),
    told("rate_limit", task_name=add.name, rate_limit="200/m"),
    told("rate_limit", task_name="nosuch", rate_limit="200/m"),
    told("rate_limit", task_name=add.name, rate_limit="x"),
    told("time_limit", task_name=add.name, soft=10, hard=20),
    told("pool_grow", n=1),
    told("pool_shrink", n=1),
    told("autoscale", max=3, min=1),
    told("pool_restart"),
    told("add_consumer", queue="more"),
    told("cancel_consumer", queue="more"),
    told("nosuch"),
]
got["matched"] = [
    control.broadcast("ping", reply=True, timeout=1, limit=1, pattern="w@*", matcher="glob"),
    control.broadcast("ping", reply=True, timeout=1, limit=1, pattern="w@h...$", matcher="pcre"),
    control.broadcast("ping", reply=True, timeout=0.5, pattern="v@*", matcher="glob"),
]
got["revoked"] = ask.revoked()
got["state"] = [later.id, later.state]
print(json.dumps(got))
"""


def shape(value):
    """Of a value: its keys, and the types of what is in it."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value]
    return type(value).__name__


@pytest.mark.parametrize(("caller", "worker"), BOTH_WAYS)
def test_questions_and_commands(sides, caller, worker):
    with sides[worker].worker("-n", "w@here"):
        got = sides[caller].json(ASK)
    assert got["ping"] == {"w@here": {"ok": "pong"}}
    assert got["active"] == got["reserved"] == {"w@here": []}
    (row,) = got["scheduled"]["w@here"]
    task_id = got["state"][0]
    assert row["request"]["id"] == task_id
    assert row["request"]["args"] == [1, 2]
    assert "tasks.add" in got["registered"]["w@here"]
    assert got["query"]["w@here"][task_id][0] == "scheduled"
    assert got["hello"]["w@here"]["revoked"] == ["from-x"]
    assert [queue["name"] for queue in got["active_queues"]["w@here"]] == ["celery"]
    assert "guest:guest" not in got["conf"]["w@here"]["broker_url"]
    answers = [reply[0]["w@here"] for reply in got["told"]]
    assert answers[:5] == [
        {"ok": "tasks {'nobody'} flagged as revoked"},
        {"ok": f"terminate: {task_id}"},
        {"ok": "headers {'mon': 'id1'} flagged as revoked, but not terminated"},
        {"ok": "new rate limit set successfully"},
        {"error": "unknown task"},
    ]
    assert answers[5]["error"].startswith("Invalid rate limit string: ValueError(")
    assert answers[6:] == [
        {"ok": "time limits set successfully"},
        {"ok": "pool will grow"},
        {"ok": "pool will shrink"},
        {"error": "ValueError('Autoscale not enabled')"},
        {"error": "ValueError('Pool restarts not enabled')"},
        {"ok": "add consumer more"},
        {"ok": "no longer consuming from more"},
        {"error": "KeyError('nosuch')"},
    ]
    pong = [{"w@here": {"ok": "pong"}}]
    assert got["matched"] == [pong, pong, []]
    assert {"from-x", "nobody", task_id} <= set(got["revoked"]["w@here"])
    assert got["state"][1] == "REVOKED"


def test_replies_have_the_same_form(sides):
    got = {}
    for worker in ("stock", "ours"):
        with sides[worker].worker("-n", "w@here"):
            got[worker] = sides["stock"].json(ASK)
    for name in ("active_queues", "clock", "hello"):
        assert shape(got["ours"][name]) == shape(got["stock"][name]), name
    # The message that was revoked comes again when Celery's worker ends.
    ours, stock = (got[name]["scheduled"]["w@here"][0] for name in ("ours", "stock"))
    assert shape(ours) == shape(stock)
    ours, stock = (got[name]["stats"]["w@here"] for name in ("ours", "stock"))
    assert set(ours) >= set(stock)
    for part in ("broker", "rusage", "pool"):
        assert set(ours[part]) >= set(stock[part]), part


def test_workers_of_both_kinds_tell_one_another_what_is_revoked(sides):
    with sides["stock"].worker("-n", "stock@here"):
        sides["stock"].run(
            "from tasks import app; app.control.revoke(['a', 'b'], reply=True, timeout=10, destination=['stock@here'])"
        )
        with sides["ours"].worker("-n", "ours@here") as ours:
            ours.wait_for("mingle: sync with 1 nodes")
            told = sides["ours"].json(
                "import json; from tasks import app\n"
                "print(json.dumps(app.control.inspect(['ours@here', 'stock@here'], timeout=10).revoked()))"
            )
            assert sorted(told["ours@here"]) == sorted(told["stock@here"]) == ["a", "b"]
        with sides["ours"].worker("-n", "third@here"), sides["stock"].worker("-n", "fourth@here") as fourth:
            fourth.wait_for("mingle: sync with 2 nodes")


TERMINATE = """
import json
from tasks import *
from celery.exceptions import TaskRevokedError
result = nap.delay(60)
ask = app.control.inspect(["w@here"], timeout=10)
while not (ask.active() or {}).get("w@here"):
    pass
said = app.control.revoke(result.id, terminate=True, destination=["w@here"], reply=True, timeout=10)
try:
    result.get(timeout=20)
except TaskRevokedError as error:
    print(json.dumps([said == [{"w@here": {"ok": "terminate: " + result.id}}], str(error), result.state]))
"""


@pytest.mark.parametrize(("caller", "worker"), BOTH_WAYS)
def test_a_running_task_is_terminated(sides, caller, worker):
    with sides[worker].worker("-n", "w@here"):
        assert sides[caller].json(TERMINATE) == [True, "terminated", "REVOKED"]
