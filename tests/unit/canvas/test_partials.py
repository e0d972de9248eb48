"""Arguments that a copy of a workflow was given before it is called."""

from __future__ import annotations

import json

import pytest

from celery import Celery, chord, signature


@pytest.mark.parametrize("travels", [False, True], ids=["here", "as JSON"])
def test_keyword_arguments_of_a_chord_reach_its_header(travels):
    app = Celery("t", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="echo")
    def echo(*args, **kwargs):
        return [list(args), kwargs]

    copy = chord([echo.s(1, y=2)], echo.s(), kwargs={"x": 5}).clone((7,), {"z": 8})
    if travels:
        copy = signature(json.loads(json.dumps(copy)), app=app)
    assert copy.apply().get() == [[[[[7, 1], {"x": 5, "y": 2, "z": 8}]]], {}]
    assert copy.apply(kwargs={"z": 9}).get() == [[[[[7, 1], {"x": 5, "y": 2, "z": 9}]]], {}]
