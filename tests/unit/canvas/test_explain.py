"""`Signature.explain()`."""

from __future__ import annotations

from celery import Celery, chord, group

app = Celery("explained", broker="memory://", set_as_current=False)


@app.task(name="add", shared=False)
def add(x, y=0):
    return x + y


@app.task(name="total", shared=False)
def total(values):
    return sum(values)


def test_in_the_order_in_which_they_run():
    flow = add.s(1, 1) | group(add.s(1), add.si(2).set(queue="slow")) | total.s().on_error(add.s(9))
    assert flow.explain().splitlines() == [
        "one after another (2 steps)",
        "1. add(1, 1)",
        "2. side by side (2), then, with the list of their values:",
        "   - add(1)",
        "   - add(2), takes no value, queue='slow'",
        "   = total()",
        "        if it fails: add(9)",
    ]


def test_a_chord_of_chains():
    lines = chord([add.s(1, 1) | add.s(2)], total.s()).explain().splitlines()
    assert lines == [
        "side by side (1), then, with the list of their values:",
        "- one after another (2 steps)",
        "  1. add(1, 1)",
        "  2. add(2)",
        "= total()",
    ]


def test_explaining_changes_nothing():
    flow = add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()
    before = dict(flow)
    flow.explain()
    assert dict(flow) == before
