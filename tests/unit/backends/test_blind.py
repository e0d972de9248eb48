"""Who replaces a pickled result does not load the user's classes for it."""

from __future__ import annotations

import collections
import datetime
import pickle
import uuid

import pytest

from celery import Celery
from celery.backends.blind import unpickled


class Loud:
    """Says when it is made again."""

    made = 0

    def __init__(self, value=None):
        self.value = value

    def __setstate__(self, state):
        type(self).made += 1


class Listed(list):
    pass


class Mapped(dict):
    pass


OBJECTS = [
    Loud(1),
    {Loud(2): [Loud(3)]},
    Listed([1, Loud()]),
    Mapped(a=Loud()),
    collections.OrderedDict(a=1),
    collections.Counter("aab"),
    collections.defaultdict(list, a=[1]),
    {1, frozenset({2})},
    ValueError("no", Loud()),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    uuid.uuid4(),
    print,
    Loud,
    bytearray(b"x"),
    range(3),
    1j,
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
def test_objects_are_left_out(value, protocol):
    Loud.made = 0
    data = pickle.dumps({"status": "RETRY", "result": value, "n": [1, "a"]}, protocol)
    found = unpickled(data)
    assert (found["status"], found["n"]) == ("RETRY", [1, "a"])
    assert Loud.made == 0


@pytest.mark.parametrize("store", ["redis", "sqlite"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_pickled_retry_is_replaced_and_a_success_is_not(store, compression, tmp_path, request):
    url = request.getfixturevalue("redis_url") if store == "redis" else f"sqlite:///{tmp_path}/store.db"
    app = Celery("pickled", backend=url)
    app.conf.update(
        result_serializer="pickle", accept_content=["pickle", "json"], result_compression=compression
    )
    backend, task_id = app.backend, str(uuid.uuid4())
    Loud.made = 0
    backend.store_result(task_id, Loud(1), "RETRY")
    backend.store_result(task_id, Loud(2), "SUCCESS")
    backend.store_result(task_id, Loud(3), "FAILURE")
    assert Loud.made == 0
    assert backend.get_state(task_id) == "SUCCESS"
    app.close()
