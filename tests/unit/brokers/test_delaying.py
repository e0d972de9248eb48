"""Which messages native delayed delivery brings to the queues that they are meant for."""

from __future__ import annotations

import pytest

from celery.brokers.delaying import fits
from celery.brokers.topology import Binding, Exchange, Queue

QUORUM = {"x-queue-type": "quorum"}


def queue(name, exchange, key, kind="topic", **options):
    return Queue(name, Exchange(exchange, kind), key, **{"arguments": QUORUM, **options})


@pytest.mark.parametrize(
    ("queues", "exchange", "key"),
    [
        ([queue("a", "x", "a")], "x", "a"),
        ([queue("a", "x", "a.#")], "x", "a.b.c"),
        ([queue("a", "x", "#")], "x", "any"),
        ([queue("a", "x", "a"), queue("b", "x", "b")], "x", "b"),
        ([queue("a", "x", "a"), queue("b", "y", "b", arguments={})], "y", "b"),
        ([queue("a", "x", "a", "fanout"), queue("b", "x", "b", "fanout")], "x", "a"),
        ([queue("a", "x", "a.*"), queue("b", "x", "*.a")], "x", "a.b"),
    ],
)
def test_it_fits(queues, exchange, key):
    assert fits(queues, exchange, key)


@pytest.mark.parametrize(
    ("queues", "exchange", "key"),
    [
        ([queue("a", "x", "a", arguments={})], "x", "a"),  # no quorum queue: stock Celery delays nothing
        ([queue("a", "x", "a", "direct")], "x", "a"),
        ([queue("a", "", "a")], "", "a"),
        ([queue("a", "x", "a")], "x", "other"),  # goes nowhere: the sender is to hear of it
        ([queue("a", "x", "a")], "elsewhere", "a"),
        ([queue("a", "x", "a"), queue("b", "y", "a")], "x", "a"),  # would be in both exchanges
        ([queue("a", "x", "default"), queue("b", "y", "high.default")], "y", "high.default"),
        ([queue("a", "x", "a", "fanout")], "x", "unlike"),
        (
            [queue("a", "x", "a"), queue("b", "z", "z", bindings=(Binding(Exchange("x", "topic"), "a"),))],
            "x",
            "a",
        ),
        (
            [queue("a", "x", "a"), queue("b", "z", "z", bindings=(Binding(Exchange("x", "topic"), "#"),))],
            "x",
            "b",
        ),
    ],
)
def test_it_does_not_fit(queues, exchange, key):
    assert not fits(queues, exchange, key)


def test_all_queues_that_it_reaches_at_once():
    also = queue("b", "z", "z", bindings=(Binding(Exchange("x", "topic"), "#.a"),))
    assert fits([queue("a", "x", "a"), also], "x", "a")
