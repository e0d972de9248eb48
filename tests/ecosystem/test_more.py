"""Packages for which `make test` has no time: tracers, locks, progress, Flask's pattern."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sides import Side

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]
PACKAGES = "more"


def lines(out: str) -> dict:
    """What a program has said: a JSON value for each subject; the last one counts."""
    return {
        subject: json.loads(value)
        for subject, found, value in (line.partition(": ") for line in out.splitlines())
        if found
    }


def test_singleton_once_and_progress(side: Side, broker):
    queued = lines(side.run("locks_tasks", **broker))
    ids = queued.pop("ids")
    assert queued == {
        "single": [True, False],
        "unique": True,
        "once": [True, None, "REJECTED", None],
        "strict": True,
        "group": 2,
    }
    with side.worker("locks_tasks", **broker):
        seen = lines(side.run("locks_tasks", IDS=json.dumps(ids), **broker))
    last = {"current": 4, "total": 4, "percent": 100.0, "pending": False, "description": "counting"}
    done = {"current": 100, "total": 100, "percent": 100, "pending": False}
    assert seen == {
        "ran": 1,
        "breaks": ["ValueError('broken')"] * 2,
        "unlocked": [7, 7, 7, 7],
        "last step": last,
        "progress": {"state": "SUCCESS", "complete": True, "success": True, "progress": done, "result": last},
        "group progress": {
            "complete": True,
            "success": True,
            "progress": {"current": 200, "total": 200, "percent": 100.0},
        },
    }


def test_datadog(side: Side, broker, tmp_path):
    env = broker | {
        "NOTES": str(tmp_path / "notes"),
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    }
    with side.worker("ddtrace_tasks", **env):
        out = side.run("ddtrace_tasks", **env)
    assert out.splitlines()[:2] == ["[5, 'at last', ValueError('broken')]", "3"]
    spans = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    names = {span["id"]: span["name"] for span in spans}
    found = Counter(
        (span["name"], span["resource"].removeprefix("ddtrace_tasks."), names.get(span["parent"]))
        for span in spans
        if span["name"] != "kombu.publish"  # Celery's only: with us there is none
    )
    assert found == {
        ("shop", "shop", None): 1,
        ("celery.apply", "add", "shop"): 2,
        ("celery.apply", "again", "shop"): 1,
        ("celery.apply", "fail", "shop"): 1,
        ("celery.apply", "add", "celery.run"): 1,
        ("celery.apply", "again", "celery.run"): 1,
        ("celery.run", "add", None): 3,
        ("celery.run", "again", None): 2,
        ("celery.run", "fail", None): 1,
    }
    ended = Counter(span["tags"]["celery.state"] for span in spans if span["name"] == "celery.run")
    assert ended == {"SUCCESS": 4, "RETRY": 1, "FAILURE": 1}
    assert [span["tags"]["error.type"] for span in spans if span["error"]] == ["builtins.ValueError"]


def test_elastic(side: Side, broker, tmp_path):
    env = broker | {"NOTES": str(tmp_path / "notes")}
    with side.worker("elastic_tasks", **env):
        out = side.run("elastic_tasks", **env)
    assert "[5, 'at last', ValueError('broken')]" in out
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    transactions = [event for kind, event in notes if kind == "transaction"]
    assert Counter((one["name"], one["result"]) for one in transactions) == {
        ("shop", "OK"): 1,
        ("elastic_tasks.add", "SUCCESS"): 1,
        ("elastic_tasks.again", "RETRY"): 1,
        ("elastic_tasks.again", "SUCCESS"): 1,
        ("elastic_tasks.fail", "FAILURE"): 1,
    }
    assert len({one["trace_id"] for one in transactions}) == 1
    errors = [event for kind, event in notes if kind == "error"]
    assert [(one["exception"]["type"], one["culprit"]) for one in errors] == [
        ("ValueError", "elastic_tasks.fail")
    ]


def test_new_relic(side: Side, broker, tmp_path):
    env = broker | {
        "NEW_RELIC_LICENSE_KEY": "0" * 40,
        "NEW_RELIC_DEVELOPER_MODE": "true",
        "NEW_RELIC_APP_NAME": "shop",
        "NEW_RELIC_LOG": str(tmp_path / "agent.log"),
        "NEW_RELIC_STARTUP_TIMEOUT": "10",
    }
    admin = ("newrelic-admin", "run-program")
    with side.worker("newrelic_tasks", before=admin, **env):
        out = side.command(*admin, str(side.bin / "python"), "-m", "newrelic_tasks", **env)
    plain, bound, calling = (
        [f"newrelic_tasks.{name}", "Celery", True] for name in ("plain", "bound", "calling")
    )
    assert out.strip() == f"{[plain, bound, calling]} {plain}"


def test_flask(side: Side, broker):
    with side.worker("flask_tasks", **broker):
        out = side.run("flask_main", **broker)
    assert out.splitlines() == ["{'successful': True, 'value': 'hello Ann'}", "hello Bob"]
