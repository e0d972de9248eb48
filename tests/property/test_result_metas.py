"""A success is written by a template, and says what the long way says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from celery.app.context import Context
from celery.backends import encoding
from celery.message import serializers

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | _text
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)


@given(_text.filter(bool), _values, st.none() | _text, st.none() | _text)
def test_a_success_by_template(task_id: str, result: Any, group: str | None, parent: str | None) -> None:
    request = Context(id=task_id, group=group, parent_id=parent)
    long = encoding.result_meta(
        result, "SUCCESS", None, request, done="2026-01-02T03:04:05+00:00", children=[], extended=False
    )
    long["task_id"] = task_id
    short = encoding.success_as_json(task_id, result, request, "2026-01-02T03:04:05+00:00")
    assert short.encode() == serializers.dumps(long, "json")[2]
    assert list(json.loads(short)) == list(long)


@given(st.integers(0, 4_000_000_000_000_000))
def test_the_time_as_isoformat_writes_it(micros: int) -> None:
    now = micros / 1e6
    said = datetime.fromisoformat(encoding.done_now(now))
    assert abs((said - datetime.fromtimestamp(now, UTC)).total_seconds()) < 2e-6
    assert said.isoformat() == encoding.done_now(now)
