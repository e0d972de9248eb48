"""The publish retry policy inside one deadline."""

from __future__ import annotations

import asyncio
import time

import pytest

from celery import exceptions
from celery.brokers.base import BrokerRefused, BrokerUnavailable, Outgoing, Unroutable
from celery.brokers.publishing import NEVER, RetryPolicy, apublish, mask, publish
from celery.message.headers import LazyObject


class Scripted:
    """A publisher whose attempts end as told: an error to raise, or the outcome of each message."""

    def __init__(self, *script):
        self.script = list(script)
        self.batches = []

    def publish(self, batch, *, deadline):
        self.batches.append([outgoing.body for outgoing in batch])
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def apublish(self, batch, *, deadline):
        return self.publish(batch, deadline=deadline)

    def close(self):
        pass


def batch(*bodies):
    return [Outgoing(body, LazyObject(value={}), LazyObject(value={})) for body in bodies]


@pytest.fixture(params=["called", "awaited"])
def send(request):
    """`publish` and `apublish` by one name."""

    def run(*args, **kwargs):
        if request.param == "called":
            return publish(*args, **kwargs)
        return asyncio.run(apublish(*args, **kwargs))

    return run


DOWN = BrokerUnavailable("redis://host: connection refused")
FAST = RetryPolicy(interval_step=0.0)


def test_accepted_at_once(send):
    publisher = Scripted([None, None])
    assert send(publisher, batch(b"a", b"b")) == [None, None]
    assert publisher.batches == [[b"a", b"b"]]


def test_retries_until_it_works(send):
    publisher = Scripted(DOWN, DOWN, [None])
    assert send(publisher, batch(b"a"), FAST) == [None]
    assert len(publisher.batches) == 3


def test_gives_up_as_the_policy_says(send):
    publisher = Scripted(*[DOWN] * 9)
    with pytest.raises(
        exceptions.OperationalError, match=r"connection refused.*after 4 attempts; task_publish_retry_policy"
    ):
        send(publisher, batch(b"a"), FAST)
    assert len(publisher.batches) == 4


def test_one_attempt_without_a_policy(send):
    publisher = Scripted(DOWN)
    with pytest.raises(exceptions.OperationalError):
        send(publisher, batch(b"a"))


def test_gives_up_at_the_deadline(send):
    publisher = Scripted(*[DOWN] * 1000)
    policy = RetryPolicy(max_retries=None, interval_start=0.05)
    with pytest.raises(exceptions.OperationalError, match="task_publish_timeout is over"):
        send(publisher, batch(b"a"), policy, time.monotonic() + 0.2)
    assert len(publisher.batches) > 1


def test_a_refusal_is_final_and_names_the_broker(send):
    publisher = Scripted(BrokerRefused("wrong password"))
    with pytest.raises(
        exceptions.OperationalError, match=r"Cannot publish: redis://me:\*\*@host/1: wrong password"
    ):
        send(publisher, batch(b"a"), FAST, url="redis://me:secret@host/1")


def test_only_what_was_not_accepted_is_sent_again(send):
    refused = Unroutable("no queue")
    publisher = Scripted([None, DOWN, refused, DOWN], [None, DOWN], [None])
    assert send(publisher, batch(b"a", b"b", b"c", b"d"), FAST) == [None, None, refused, None]
    assert publisher.batches == [[b"a", b"b", b"c", b"d"], [b"b", b"d"], [b"d"]]


def test_unroutable_is_an_outcome(send):
    refused = Unroutable("no queue")
    assert send(Scripted([refused]), batch(b"a"), FAST) == [refused]


def test_errback_and_further_errors(send):
    seen = []
    policy = RetryPolicy(
        interval_step=0.001, retry_errors=(OSError,), errback=lambda error, pause: seen.append(pause)
    )
    error = OSError("odd")
    assert send(Scripted(error, error, error, [None]), batch(b"a"), policy) == [None]
    assert seen == [0.0, 0.001, 0.002]
    with pytest.raises(OSError, match="odd"):
        send(Scripted(error), batch(b"a"), FAST)


def test_stock_policies_are_read():
    stock = {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2}
    assert RetryPolicy.read(stock) == RetryPolicy() == RetryPolicy.read(None)
    assert list(RetryPolicy.read(stock).pauses()) == pytest.approx([0, 0.2, 0.4])
    assert list(RetryPolicy.read({"max_retries": 7, "interval_start": 0.5}).pauses())[-1] == 1
    assert RetryPolicy.read({"max_retries": None}).max_retries is None
    assert list(NEVER.pauses()) == []
    assert RetryPolicy.read({"retry_errors": [OSError]}).retry_errors == (OSError,)
    with pytest.raises(TypeError, match="unknown key 'max_retry'"):
        RetryPolicy.read({"max_retry": 1})


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://host/1", "redis://host/1"),
        ("redis://:secret@host:6379/1", "redis://:**@host:6379/1"),
        ("amqp://me:p%40ss@host//", "amqp://me:**@host//"),
        ("sqlite:////srv/store.db", "sqlite:////srv/store.db"),
    ],
)
def test_passwords_are_masked(url, masked):
    assert mask(url) == masked
