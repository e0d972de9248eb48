"""django-celery-results: both of its stores, chords that it counts by itself, its tables, as with Celery."""

from __future__ import annotations

import json

import pytest

from .sides import Side

pytestmark = pytest.mark.timeout(400)

#: What a user sees with either store.
SEEN = {
    "add": "5",
    "again": "'at last'",
    "fail": ["builtins.ValueError: broken", "FAILURE", True],
    "chain": "4",
    "group": "[0, 2, 4, 6, 8]",
    "restored": ["[0, 2, 4, 6, 8]", 5, 5],
    "chord": "20",
    "nested": "13",
    "marked": True,
    "forgotten": "PENDING",
}
ROWS = {
    "row": ["SUCCESS", "results_site.books.tasks.marked", '"()"', '"{}"', "application/json", 3],
    "extended": [None, "('broken',)", "{}", True, None, "20"],
    "cleaned": 0,
}


def run(side: Side, store: str, broker: str) -> dict:
    env = {
        "DJANGO_SETTINGS_MODULE": "results_site.settings",
        "DATABASE": str(side.folder / "db.sqlite3"),
        "BROKER": broker,
        "STORE": store,
    }
    side.run("django", "migrate", "-v0", **env)
    side.run("django", "createcachetable", **env)
    with side.worker("results_site", **env):
        out = side.run("results_main", **env)
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in out.splitlines())}


def check(side: Side, seen: dict) -> None:
    assert {name: seen[name] for name in SEEN} == SEEN
    # A chord that failed: always ChordError here, what the member raised with Celery.
    assert seen["broken chord"] == (
        "celery.exceptions.ChordError" if side.name == "celeriac" else "builtins.ValueError"
    )


def test_results_in_the_database(side: Side, redis_url):
    seen = run(side, "django-db", redis_url)
    check(side, seen)
    assert {name: seen[name] for name in ROWS} == ROWS
    state, result, args, worker, started = seen["failed row"]
    assert (state, args, worker, started) == ("FAILURE", "\"('broken',)\"", True, True)
    assert json.loads(result) == {
        "exc_type": "ValueError",
        "exc_message": ["broken"],
        "exc_module": "builtins",
    }
    groups, counters = seen["counts"]
    assert groups >= 1
    assert counters == 0


@pytest.mark.soak
def test_results_in_the_cache(side: Side, redis_url):
    check(side, run(side, "django-cache", redis_url))


@pytest.mark.soak
def test_with_the_embedded_broker(tmp_path):
    side = Side("celeriac", "usual", tmp_path)
    check(side, run(side, "django-db", f"sqlite:///{tmp_path}/store.db"))
