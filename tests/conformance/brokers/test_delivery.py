"""What every broker does with a message: order, windows, settlements, due times."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from tests.support import cut_short

from celery.brokers.base import BrokerUnavailable, Unroutable
from celery.brokers.topology import Binding, Exchange, Queue

from .tools import in_order, needs, outgoing, send, sized


def test_a_message_comes_as_it_was_sent(site, broker, queue, work):
    urgency = 3 if site.priorities else 0

    async def test(hire):
        send(broker, "hello", priority=urgency)
        worker = await hire(queue)
        (delivery,) = await worker.take(1)
        assert delivery.body == b"hello"
        assert delivery.headers.value == {"id": "hello"}
        assert delivery.properties.value["correlation_id"] == "hello"
        assert (delivery.queue, delivery.exchange, delivery.routing_key) == ("work", "", "work")
        assert (delivery.priority or 0, delivery.deliveries, delivery.redelivered, delivery.due) == (
            urgency,
            1,
            False,
            None,
        )
        worker.consumer.ack(delivery)
        await worker.consumer.flush()
        await sized(broker, "work", 0)

    work(test)


def test_first_in_first_out(broker, queue, work):
    async def test(hire):
        for number in range(5):
            send(broker, number)
        send(broker, *range(5, 50))
        worker = await hire(queue)
        await worker.take(50)
        assert in_order(broker, worker.seen.bodies) == in_order(broker, map(str, range(50)))

    work(test)


def test_priorities(site, broker, queue, work):
    if not site.priorities:
        pytest.skip("these queues have no priorities")

    async def test(hire):
        for priority in (0, 9, 5, 9, 0, 12, -3):
            send(broker, f"{priority}", priority=priority)
        worker = await hire(queue)
        await worker.take(7)
        expected = ["9", "9", "12", "5", "0", "0", "-3"]
        if not broker.capabilities.highest_priority_first:
            expected = ["0", "0", "-3", "5", "9", "9", "12"]
        assert worker.seen.bodies == expected

    work(test)


def test_nothing_flows_before_allow_and_never_more_than_the_window(broker, queue, work):
    async def test(hire):
        send(broker, *range(10))
        worker = await hire(queue)
        await worker.consumer.flush()
        assert worker.seen.deliveries == []
        await worker.take(3)
        await worker.consumer.flush()
        assert len(worker.seen.deliveries) == 3
        worker.consumer.ack(worker.seen.deliveries[0])
        await worker.seen.count(4)
        await worker.consumer.flush()
        assert len(worker.seen.deliveries) == 4
        if broker.capabilities.ordered:
            assert worker.seen.bodies == ["0", "1", "2", "3"]
        worker.consumer.allow(0)
        for delivery in list(worker.seen.deliveries[1:]):
            worker.consumer.ack(delivery)
        await worker.consumer.flush()
        assert len(worker.seen.deliveries) == 4
        await sized(broker, "work", 6)

    work(test)


def test_the_last_of_a_wide_window_is_filled_too(broker, queue, work):
    """The rest may be tasks that run for hours."""

    async def test(hire):
        worker = await hire(queue)
        send(broker, *range(95))
        await worker.take(95)
        worker.consumer.allow(100)
        await worker.consumer.flush()
        send(broker, *range(95, 100))
        await worker.seen.count(100)

    work(test)


def test_idle_consumer_is_woken(broker, queue, work):
    async def test(hire):
        worker = await hire(queue)
        worker.consumer.allow(10)
        await worker.consumer.flush()
        for number in range(20):
            send(broker, number)
            worker.consumer.ack((await worker.seen.count(number + 1))[-1])

    work(test)


def test_every_idle_consumer_gets_its_share_of_a_batch(broker, queue, work):
    async def test(hire):
        workers = [await hire(queue) for _ in range(4)]
        for worker in workers:
            worker.consumer.allow(2)
            await worker.consumer.flush()
        send(broker, *range(8))
        for worker in workers:
            await worker.seen.count(2)

    work(test)


def test_requeue(site, broker, queue, work):
    if not site.keeps_place:
        pytest.skip("what is given back has another place in these queues")

    async def test(hire):
        send(broker, "a", "b", "c")
        worker = await hire(queue)
        (first,) = await worker.take(1)
        worker.consumer.requeue(first)
        again = (await worker.seen.count(2))[1]
        assert (again.body, again.deliveries, again.redelivered) == (b"a", 2, True)
        worker.consumer.requeue(again, front=False)
        for index, expected in ((2, b"b"), (3, b"c")):
            delivery = (await worker.seen.count(index + 1))[index]
            assert delivery.body == expected
            worker.consumer.ack(delivery)
        again = (await worker.seen.count(5))[4]
        assert (again.body, again.deliveries) == (b"a", 3)
        worker.consumer.requeue(again, count=False)
        again = (await worker.seen.count(6))[5]
        assert (again.body, again.deliveries) == (b"a", 3)
        worker.consumer.ack(again)
        await worker.consumer.flush()
        await sized(broker, "work", 0)

    work(test)


def test_deliveries_are_counted(broker, queue, work):
    async def test(hire):
        send(broker, "a")
        worker = await hire(queue)
        (delivery,) = await worker.take(1)
        # Uncounted, counted, and published anew by drivers whose broker counts otherwise.
        for index, (front, count, expected) in enumerate(
            [
                (True, True, 2),
                (True, False, 2),
                (False, True, 3),
                (False, False, 3),
                (True, True, 4),
                (True, True, 5),
            ]
        ):
            worker.consumer.requeue(delivery, front=front, count=count)
            delivery = (await worker.seen.count(index + 2))[index + 1]
            assert (delivery.body, delivery.deliveries, delivery.redelivered) == (b"a", expected, True)
            assert delivery.headers.value["id"] == "a"
            assert (delivery.exchange, delivery.routing_key) == ("", "work")

    work(test)


def test_requeued_message_wakes_another_worker(broker, queue, work):
    async def test(hire):
        one, two = await hire(queue), await hire(queue)
        send(broker, "a")
        (delivery,) = await one.take(1)
        two.consumer.allow(1)
        await two.consumer.flush()
        one.consumer.allow(0)
        one.consumer.requeue(delivery)
        assert (await two.seen.count(1))[0].deliveries == 2

    work(test)


def test_due_message_waits_for_its_time(broker, queue, work):
    if not broker.capabilities.due:
        pytest.skip("its workers park")

    async def test(hire):
        worker = await hire(queue)
        worker.consumer.allow(10)
        await worker.consumer.flush()
        due = time.time() + 0.4
        send(broker, "later", due=due)
        send(broker, "past", due=time.time() - 5)
        send(broker, "now")
        await worker.seen.count(3)
        assert worker.seen.bodies == ["past", "now", "later"]
        assert time.time() >= due
        assert worker.seen.deliveries[2].due == pytest.approx(due)

    work(test)


def test_an_earlier_due_time_comes_first(broker, queue, work):
    if not broker.capabilities.due:
        pytest.skip("its workers park")

    async def test(hire):
        worker = await hire(queue)
        worker.consumer.allow(10)
        now = time.time()
        send(broker, "second", due=now + 0.6)
        await worker.consumer.flush()
        send(broker, "first", due=now + 0.3)
        send(broker, "third", due=now + 3600)
        await worker.seen.count(2)
        assert worker.seen.bodies == ["first", "second"]
        await sized(broker, "work", 1)

    work(test)


def test_park(broker, queue, work):
    async def test(hire):
        send(broker, "a")
        worker = await hire(queue)
        (delivery,) = await worker.take(1)
        due = time.time() + 0.3
        worker.consumer.park(delivery, due)
        await worker.consumer.flush()
        await sized(broker, "work", (1 if broker.capabilities.counts_parked else 0))
        again = (await worker.seen.count(2))[1]
        assert time.time() >= due
        assert again.deliveries == 1

    work(test)


def test_a_parked_message_that_was_announced_says_so(broker, queue, work):
    if broker.capabilities.due:
        pytest.skip("its messages are parked before a worker sees them")

    async def test(hire):
        send(broker, "a", "b")
        worker = await hire(queue)
        first, second = await worker.take(2)
        assert not first.announced
        assert not second.announced
        first.announced = True
        for delivery in (first, second):
            worker.consumer.park(delivery, time.time() + 1.2)
        again = (await worker.seen.count(4))[2:]
        assert {delivery.body: delivery.announced for delivery in again} == {
            first.body: True,
            second.body: False,
        }
        assert not any(delivery.redelivered for delivery in again)

    work(test)


def test_bury_and_revive(broker, queue, work):
    async def test(hire):
        send(broker, "bad", priority=4)
        worker = await hire(queue)
        (delivery,) = await worker.take(1)
        worker.consumer.bury(delivery, "cannot be read")
        await worker.consumer.flush()
        (letter,) = broker.dead("work")
        assert (letter.queue, letter.reason, letter.body) == ("work", "cannot be read", b"bad")
        assert letter.headers == {"id": "bad"}
        assert broker.dead("other") == []
        await sized(broker, "work", 0)
        assert broker.revive([letter.id, 10**9]) == 1
        assert broker.dead() == []
        again = (await worker.seen.count(2))[1]
        assert (again.body, again.priority, again.deliveries) == (b"bad", 4, 1)

    work(test)


def test_dead_letters_can_be_thrown_away(broker, queue, work):
    async def test(hire):
        send(broker, "a", "b", "kept")
        worker = await hire(queue)
        first, second, third = await worker.take(3)
        worker.consumer.bury(first, "one")
        worker.consumer.bury(second, "two")
        worker.consumer.requeue(third)
        await worker.consumer.flush()
        assert broker.purge_dead("other") == 0
        assert broker.purge_dead("work") == 2
        assert broker.purge_dead("work") == 0
        assert broker.dead("work") == []
        (again,) = (await worker.seen.count(4))[3:]
        worker.consumer.bury(again, "three")
        await worker.consumer.flush()
        (letter,) = broker.dead("work")
        assert broker.purge_dead() == 1
        assert broker.revive([letter.id]) == 0
        assert broker.dead() == []

    work(test)


def test_begun_deliveries_leave_the_window_and_are_not_given_back(broker, queue, work):
    async def test(hire):
        send(broker, "a", "b", "c")
        worker = await hire(queue)
        first = await worker.take(1)
        assert await worker.consumer.begin(first) == first
        await worker.seen.count(2)
        worker.consumer.ack(first[0])
        await worker.consumer.flush()
        await worker.consumer.stop()
        await sized(broker, "work", 2)

    work(test)


def test_stop_gives_back_what_was_not_begun(broker, queue, work):
    async def test(hire):
        send(broker, "a", "b")
        one = await hire(queue)
        await one.take(2)
        await one.consumer.stop()
        two = await hire(queue)
        await two.take(2)
        assert in_order(broker, two.seen.bodies) == ["a", "b"]
        assert [delivery.deliveries for delivery in two.seen.deliveries] == [2, 2]

    work(test)


def test_subscribe_and_unsubscribe(broker, queue, work):
    async def test(hire):
        other = Queue("other")
        worker = await hire(queue)
        worker.consumer.allow(10)
        await worker.consumer.subscribe(other)
        send(broker, "a", queue="other")
        await worker.seen.count(1)
        assert worker.seen.deliveries[0].queue == "other"
        await worker.consumer.unsubscribe("other")
        send(broker, "b", queue="other")
        send(broker, "c")
        await worker.seen.count(2)
        await worker.consumer.flush()
        assert worker.seen.bodies == ["a", "c"]
        await sized(broker, "other", 1)

    work(test)


def test_each_queue_gets_its_turn(broker, queue, work):
    async def test(hire):
        other = Queue("other")
        broker.declare([other])
        send(broker, *range(100))
        send(broker, "rare", queue="other")
        worker = await hire(queue, other)
        await worker.take(10)
        assert "rare" in worker.seen.bodies

    work(test)


def test_size_and_purge(broker, queue, work):
    async def test(hire):
        send(broker, *range(5))
        if broker.capabilities.due:
            send(broker, "later", due=time.time() + 3600)
        else:
            send(broker, "one more")
        worker = await hire(queue)
        await worker.take(2)
        await sized(broker, "work", 4)
        assert broker.purge("work") == 4
        await sized(broker, "work", 0)
        assert broker.size("unheard of") == 0
        assert broker.purge("unheard of") == 0
        for delivery in worker.seen.deliveries:
            worker.consumer.requeue(delivery)
        worker.consumer.allow(0)
        await worker.consumer.flush()
        await sized(broker, "work", 2)

    work(test)


def test_delete(broker, queue):
    send(broker, 1, 2)
    assert broker.delete("work") == 2
    assert broker.delete("work") == 0
    if not broker.capabilities.names_queues:
        return
    (outcome,) = broker.publisher().publish([outgoing(3)], deadline=time.monotonic() + 5)
    assert isinstance(outcome, Unroutable)


def test_a_queue_that_is_deleted_under_a_worker(site, queue, work):
    if not site.broker.capabilities.names_queues:
        pytest.skip("a queue of this broker comes into being with its first message")

    async def test(hire):
        broker = site.broker
        send(broker, "a", "b")
        worker = await hire(queue)
        held = await worker.take(2)
        site.again().delete("work")
        worker.consumer.requeue(held[0])
        worker.consumer.allow(10)
        await worker.consumer.flush()
        await sized(broker, "work", 0)
        send(broker, "c", declare=[queue])
        await worker.seen.count(3)
        assert worker.seen.bodies == ["a", "b", "c"]
        worker.consumer.ack(held[1])
        await worker.consumer.flush()

    work(test)


def test_outcome_of_each_message(broker, queue):
    batch = [
        outgoing(1),
        outgoing(2, queue="nowhere"),
        outgoing(3, queue="nowhere", mandatory=False),
        outgoing(4),
    ]
    outcomes = broker.publisher().publish(batch, deadline=time.monotonic() + 5)
    if broker.capabilities.names_queues:
        assert [type(outcome) for outcome in outcomes] == [type(None), Unroutable, type(None), type(None)]
        assert "nowhere" in str(outcomes[1])
    assert broker.size("work") == 2


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # sockets of calls that were cut short
def test_a_publish_that_is_cut_short_leaves_the_next_one_alone(site, broker, queue):
    """By a soft time limit in the task that sends: its process goes on and sends more."""
    if site.url.startswith("sqla+"):
        pytest.skip("SQLAlchemy does not stand that")

    def call():
        with contextlib.suppress(BrokerUnavailable):
            send(broker, "cut")

    assert cut_short(600, call, 2e-5 if site.url.startswith("memory:") else 4e-4)
    send(broker, "last")
    assert broker.size("work") > 0


def test_publishing_declares(broker):
    made = Queue("fresh", Exchange("fresh"), "fresh")
    send(broker, 1, queue="fresh", declare=[made])
    send(broker, 2, exchange="fresh", routing_key="fresh")
    assert broker.size("fresh") == 2


def test_direct_and_topic(broker):
    topic = Exchange("news", "topic")
    two = (Binding(Exchange("direct"), "x"), Binding(topic, "sport.#"))
    broker.declare(
        [
            Queue("all", topic, "#"),
            Queue("sport", topic, "sport.*"),
            Queue("two", topic, "*.local", bindings=two),
        ]
    )
    send(broker, 1, exchange="news", routing_key="sport.local")
    send(broker, 2, exchange="news", routing_key="other")
    send(broker, 3, exchange="news", routing_key="sport.far.away")
    send(broker, 4, exchange="direct", routing_key="x")
    sizes = {name: broker.size(name) for name in ("all", "sport", "two")}
    assert (sizes["all"], sizes["two"]) == (3, 3)
    assert sizes["sport"] == 1 if broker.capabilities.topics else sizes["sport"] >= 1


def test_topic_words(broker):
    needs(broker, "topics")
    broker.declare([Queue("some", Exchange("news", "topic"), "sport.#")])
    for number, key in enumerate(("sport", "sport.local", "sports", "a.sport")):
        send(broker, number, exchange="news", routing_key=key, mandatory=False)
    assert broker.size("some") == 2


def test_fanout(broker):
    needs(broker, "fanout")
    fan = Exchange("fan", "fanout")
    broker.declare([Queue("f1", fan), Queue("f2", fan)])
    send(broker, 5, exchange="fan", routing_key="whatever")
    kept = int(broker.capabilities.keeps_fanout)
    assert (broker.size("f1"), broker.size("f2")) == (kept, kept)


def test_outcome_of_messages_to_an_exchange(broker, queue):
    batch = [
        outgoing(1, exchange="work", routing_key="work"),
        outgoing(2, exchange="work", routing_key="nowhere"),
        outgoing(3, exchange="nothing", routing_key="work"),
        outgoing(4, exchange="nothing", routing_key="work", mandatory=False),
    ]
    outcomes = broker.publisher().publish(batch, deadline=time.monotonic() + 5)
    assert [type(outcome) for outcome in outcomes] == [type(None), Unroutable, Unroutable, type(None)]
    assert "nothing" in str(outcomes[2])
    assert broker.size("work") == 1


def test_a_queue_on_a_fanout_exchange_gets_what_is_sent_while_it_is_consumed(broker, work):
    needs(broker, "fanout")

    async def test(hire):
        fan = Exchange("fan", "fanout")
        one, two = await hire(Queue("f1", fan)), await hire(Queue("f2", fan))
        for worker in (one, two):
            worker.consumer.allow(5)
            await worker.consumer.flush()
        send(broker, "everybody", exchange="fan", routing_key="", declare=[Queue("f1", fan)])
        for worker in (one, two):
            (delivery,) = await worker.seen.count(1)
            assert delivery.body == b"everybody"
            worker.consumer.ack(delivery)
            await worker.consumer.flush()

    work(test)


def test_new_binding_is_seen_by_a_publisher_that_has_sent_before(site):
    needs(site.broker, "bindings")
    exchange = Exchange("news", "topic")
    site.broker.declare([Queue("one", exchange, "a")])
    send(site.broker, 1, exchange="news", routing_key="a")
    site.again().declare([Queue("two", exchange, "*")])
    send(site.broker, 2, exchange="news", routing_key="a")
    assert (site.broker.size("one"), site.broker.size("two")) == (2, 1)


def test_mailboxes_get_everything_from_their_opening_on(broker):
    needs(broker, "fanout")

    async def test():
        exchange = Exchange("control", "fanout")
        one = await broker.mailbox("one", exchange, "", expires=30)
        two = await broker.mailbox("two", exchange, "", expires=30)
        waiting = asyncio.ensure_future(one.receive())
        send(broker, "ping", exchange="control", routing_key="", mandatory=False)
        assert [delivery.body for delivery in await waiting] == [b"ping"]
        send(broker, "pong", exchange="control", routing_key="", mandatory=False)
        assert [delivery.body for delivery in await one.receive()] == [b"pong"]
        got = await two.receive()
        while len(got) < 2:
            got += await two.receive()
        assert [delivery.body for delivery in got] == [b"ping", b"pong"]
        await one.aclose()
        await two.aclose()
        send(broker, "nobody", exchange="control", routing_key="", mandatory=False)

    asyncio.run(test())


def test_mailbox_on_a_topic(broker):
    needs(broker, "fanout")

    async def test():
        box = await broker.mailbox("box", Exchange("events", "topic"), "worker.#", expires=30)
        send(broker, 1, 2, exchange="events", routing_key="task.sent", mandatory=False)
        send(broker, 3, exchange="events", routing_key="worker.online", mandatory=False)
        assert [delivery.body for delivery in await box.receive()] == [b"3"]
        await box.aclose()

    asyncio.run(test())


def test_awaited_publishing(broker, queue):
    async def test():
        publisher = broker.publisher()
        outcomes = await asyncio.gather(
            *(
                publisher.apublish([outgoing(n), outgoing(-n)], deadline=time.monotonic() + 20)
                for n in range(100)
            )
        )
        assert outcomes == [[None, None]] * 100
        await sized(broker, "work", 200)

    asyncio.run(test())
