"""Several URLs for one broker: their order, and who moves on."""

from __future__ import annotations

import itertools
import os

import pytest

from celery.brokers.base import BrokerOptions, BrokerRefused
from celery.brokers.failover import Failover, shuffled, split_urls
from celery.brokers.publishing import mask
from celery.brokers.registry import DRIVERS, _Driver, open_broker
from celery.exceptions import ImproperlyConfigured

URLS = ("x://a", "x://b", "x://c")


def order(failover: Failover, count: int) -> list[str]:
    return [failover.current] + [failover.failed(failover.current) for _ in range(count - 1)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("redis://a", ["redis://a"]),
        (" redis://a ; redis://b;", ["redis://a", "redis://b"]),
        ("amqp://a;b:99/v", ["amqp://a", "amqp://b:99/v"]),
        ("a;b", ["a", "b"]),
        ("", [""]),
    ],
)
def test_lists_in_one_string(text, parts):
    assert list(split_urls(text)) == parts


def test_round_robin():
    assert order(Failover(URLS), 5) == ["x://a", "x://b", "x://c", "x://a", "x://b"]
    assert order(Failover(URLS[:1]), 3) == ["x://a"] * 3


def test_second_failure_at_the_same_place_moves_nothing():
    failover = Failover(URLS)
    assert failover.failed("x://a") == "x://b"
    assert failover.failed("x://a") == "x://b"
    assert failover.current == "x://b"


def test_shuffle_goes_through_all_and_never_stays():
    for _ in range(20):
        seen = list(itertools.islice(shuffled(URLS), 30))
        assert all(sorted(seen[at : at + 3]) == sorted(URLS) for at in range(0, 30, 3))
        assert all(one != two for one, two in itertools.pairwise(seen))
    assert order(Failover(URLS[:1], "shuffle"), 3) == ["x://a"] * 3


def test_own_strategy_begins_again_when_it_ends():
    assert order(Failover(URLS, reversed), 4) == ["x://c", "x://b", "x://a", "x://c"]


@pytest.mark.parametrize("strategy", ["at random", 7, lambda urls: iter(())])
def test_strategies_that_are_none(strategy):
    with pytest.raises(ImproperlyConfigured, match="broker_failover_strategy"):
        Failover(URLS, strategy)


def test_driver_is_told_all_urls(monkeypatch):
    made = []
    monkeypatch.setitem(DRIVERS, "x", _Driver(__name__, "Fake"))
    monkeypatch.setitem(globals(), "Fake", lambda url, options: made.append((url, options)))
    open_broker(list(URLS))
    open_broker("x://a;b", BrokerOptions(connect_timeout=1.0))
    open_broker("x://a")
    assert [url for url, _ in made] == ["x://a;x://b;x://c", "x://a;x://b", "x://a"]
    assert [told.urls for _, told in made] == [URLS, ("x://a", "x://b"), ("x://a",)]
    assert made[1][1].connect_timeout == 1.0


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (["sqlite:///a", "sqlite:///b"], "sqlite:// has no failover"),
        (["memory://", "memory://x"], "memory:// has no failover"),
        (["x://a", "sqlite:///b"], "Failover from x:// to sqlite:// is not possible"),
    ],
)
def test_lists_that_cannot_be(urls, said, monkeypatch):
    monkeypatch.setitem(DRIVERS, "x", _Driver(__name__, "Fake"))
    with pytest.raises(BrokerRefused, match=said):
        open_broker(urls)


def test_passwords_are_masked_in_every_url():
    assert mask("x://u:p@a;x://:q@b") == "x://u:**@a;x://:**@b"


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_while_another_thread_moves_on():
    failover = Failover(URLS)
    with failover._lock:
        child = os.fork()
        if not child:
            os._exit(0 if failover.failed("x://a") == "x://a" and failover.failed("x://a") == "x://b" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
