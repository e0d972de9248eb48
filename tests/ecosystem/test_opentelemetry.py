"""OpenTelemetry: one trace from the program through all its tasks, retries and workflows, as with Celery."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sides import Side

pytestmark = pytest.mark.timeout(400)


def test_a_program_and_its_worker(side: Side, broker, tmp_path):
    env = broker | {"NOTES": str(tmp_path / "notes")}
    with side.worker("otel_tasks", **env):
        out = side.run("otel_tasks", **env)
    assert out.split("\n")[:4] == ["[5, True, ValueError('broken'), 2]", "3", "[2, 4]", "6"]
    spans = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    (shop,) = [span for span in spans if span["name"] == "shop"]
    assert [span for span in spans if span["trace"] != shop["trace"]] == []
    names = {span["id"]: span["name"] for span in spans}
    found = Counter((span["name"].replace("otel_tasks.", ""), names.get(span["parent"])) for span in spans)
    sent = "apply_async/otel_tasks."
    assert found == {
        ("shop", None): 1,
        ("apply_async/add", "shop"): 7,
        ("apply_async/again", "shop"): 1,
        ("apply_async/fail", "shop"): 1,
        ("apply_async/again", "run/otel_tasks.again"): 1,
        ("apply_async/add", "run/otel_tasks.add"): 1,
        ("apply_async/total", "run/otel_tasks.add"): 1,
        ("run/add", f"{sent}add"): 8,
        ("run/again", f"{sent}again"): 2,
        ("run/fail", f"{sent}fail"): 1,
        ("run/total", f"{sent}total"): 1,
    }
    (failed,) = [span for span in spans if span["name"] == "run/otel_tasks.fail"]
    assert (failed["status"], failed["why"]) == ("ERROR", "broken")
    ((event, what),) = failed["events"]
    assert (event, what["exception.type"], what["exception.message"]) == ("exception", "ValueError", "broken")
    reasons = [span["attributes"].get("celery.retry.reason") for span in spans]
    assert Counter(filter(None, reasons)) == {"Retry in 0s: KeyError('once')": 1}
