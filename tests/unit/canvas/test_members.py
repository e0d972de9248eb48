"""Members of a group that are sent together: each goes out as it says, however much they are alike."""

from __future__ import annotations

import itertools

import pytest
from tests.unit.app.test_sending import sent

from celery import Celery, group

SAME = [{}, {}, {}]
UNLIKE = [
    {},
    {"queue": "slow"},
    {},
    {"priority": 5},
    {"ignore_result": True},
    {"headers": {"a": 1}},
    {"headers": {"a": 2}},
    {"shadow": "x"},
    {"expires": 60},
    {"time_limit": 9},
    {"task_id": "mine"},
    {},
]
#: By these a member of a group differs from a call of its own.
OF_GROUP = ("id", "root_id", "group", "group_index", "expires")
_numbers = itertools.count()


@pytest.mark.parametrize("options", [SAME, UNLIKE], ids=["same", "unlike"])
def test_each_is_sent_as_if_alone(options):
    url = f"memory://members-{next(_numbers)}"
    app = Celery("t", broker=url, backend="cache+memory://", set_as_current=False)

    @app.task(name="add")
    def add(x, y):
        return x + y

    def messages():
        found = []
        for queue in ("celery", "slow"):
            for delivery in sent(app, queue):
                headers = dict(delivery.headers.value)
                mine = [headers.pop(name) for name in OF_GROUP]
                found.append((queue, delivery.body, delivery.priority, headers, mine))
        return sorted(found, key=lambda one: one[1])

    app.send_task("x", queue="slow")  # it is there
    sent(app, "slow")
    result = group(add.s(n, n).set(**given) for n, given in enumerate(options)).apply_async()
    together = messages()
    for n, given in enumerate(options):
        add.apply_async((n, n), **given)
    apart = messages()
    assert [one[:4] for one in together] == [one[:4] for one in apart]
    ids = {n: one.id for n, one in enumerate(result.results)}
    assert {one[4][3]: one[4][0] for one in together} == ids
    assert {one[4][2] for one in together} == {result.id}
    assert [one[4][4] is None for one in together] == [one[4][4] is None for one in apart]
    app.close()
