"""The Redis client against a real server."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisSentinels, RedisServer
from tests.support import cut_short

from celery.brokers.base import BrokerRefused, BrokerUnavailable
from celery.brokers.redis import settings
from celery.brokers.redis.aio import AsyncClient
from celery.brokers.redis.client import Client, _Ticket
from celery.brokers.redis.script import Script
from celery.wire.resp import ErrorReply, pack, pack_all

DOUBLE = Script("return {KEYS[1], ARGV[1] * 2}")


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def client(redis_url):
    made = Client(settings.read(redis_url))
    yield made
    made.close()


def test_commands_pipelines_and_scripts(client):
    assert client.call("SET", "a", b"1", deadline=soon()) == b"OK"
    replies = client.pipeline([("GET", "a"), ("LPUSH", "a", 1), ("INCR", "a")])
    assert replies[::2] == [b"1", 2]
    assert isinstance(replies[1], ErrorReply)
    assert client.run(DOUBLE, ["k"], [21]) == [b"k", 42]
    client.call("SCRIPT", "FLUSH")
    assert client.pipeline([DOUBLE.call(["k"], [1]), ("PING",)]) == [[b"k", 2], b"PONG"]
    with pytest.raises(BrokerRefused, match="WRONGTYPE"):
        client.call("LPUSH", "a", 1)


def test_fifty_threads_share_one_connection(client):
    client.call("DEL", "n")
    failures = []

    def count():
        try:
            for _ in range(50):
                client.pipeline([("INCR", "n"), ("PING",)], deadline=soon(20))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert client.call("GET", "n") == b"2500"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_who_speaks_for_others_goes_on_when_its_own_call_is_made(redis_url):
    """And not when nobody comes any more, which may take as long as the program runs."""

    class Crowded(Client):
        rounds = 0

        def _carry_out(self, batch):
            super()._carry_out(batch)
            self.rounds += 1
            if self.rounds < 50:
                self._turns.waiting.append(_Ticket(pack("PING"), 1, soon()))

    client = Crowded(settings.read(redis_url))
    client._turns.waiting.append(_Ticket(pack("PING"), 1, soon()))
    assert client.call("PING", deadline=soon()) == b"PONG"
    assert client.rounds == 1
    assert len(client._turns.waiting) == 1
    client.close()


def test_a_signal_while_a_command_is_packed():
    """hiredis, given a number, crashes when a signal's handler raises."""

    def call():
        for number in range(20):
            assert pack_all([("EXPIRE", "a", number, 0.5)]).startswith(b"*4")

    assert cut_short(4000, call) > 100


def test_a_forked_child_has_a_connection_of_its_own(client):
    mine = client.call("CLIENT", "ID")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if client.call("CLIENT", "ID") != mine else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert client.call("CLIENT", "ID") == mine


def test_a_connection_that_the_server_closed_is_replaced_before_use(client):
    mine = client.call("CLIENT", "ID")
    other = Client(client.settings)
    other.call("CLIENT", "KILL", "ID", mine)
    other.close()
    client._used_at = 0.0
    assert client.call("PING") == b"PONG"


def test_a_frozen_server(private_redis):
    client = Client(settings.read(private_redis.url))
    client.call("PING")
    private_redis.freeze()
    with pytest.raises(BrokerUnavailable, match="no answer in time"):
        client.call("PING", deadline=soon(0.2))
    private_redis.thaw()
    assert client.call("PING") == b"PONG"
    client.close()


def test_a_restarted_server(private_redis):
    client = Client(settings.read(private_redis.url))
    client.call("PING")
    private_redis.kill()
    with pytest.raises(BrokerUnavailable, match=str(private_redis.port)):
        client.call("PING", deadline=soon(0.5))
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(client.call("PING", deadline=soon(20), again=True))
    )
    thread.start()
    private_redis.start()
    thread.join()
    assert answers == [b"PONG"]
    client.close()


def test_a_reset_in_the_middle_of_a_reply(private_redis):
    with Proxy(private_redis.port) as proxy:
        client = Client(settings.read(f"redis://127.0.0.1:{proxy.port}"))
        client.call("SET", "big", b"x" * 100_000)
        proxy.reset_after(5000)
        with pytest.raises(BrokerUnavailable):
            client.call("GET", "big")
        assert len(client.call("GET", "big", again=True)) == 100_000
        client.close()


def test_passwords(tmp_path):
    with RedisServer(tmp_path, password="se/cret") as server:
        where = f"127.0.0.1:{server.port}"
        client = Client(settings.read(f"redis://:se%2Fcret@{where}"))
        assert client.call("PING") == b"PONG"
        client.close()
        for url, advice in ((f"redis://:mist@{where}", "check user name"), (f"redis://{where}", "password")):
            client = Client(settings.read(url))
            with pytest.raises(BrokerRefused, match=advice) as caught:
                client.call("PING")
            assert "mist" not in str(caught.value)


def test_a_list_of_servers(private_redis):
    client = Client(settings.read(f"redis://127.0.0.1:1/0;{private_redis.url}"))
    assert client.call("PING") == b"PONG"
    client.close()


def test_sentinel(tmp_path):
    with RedisSentinels(tmp_path) as sentinels:
        client = Client(settings.read(sentinels.url, options={"master_name": sentinels.name}))
        assert client.call("SET", "a", 1) == b"OK"
        client.close()
        client = Client(settings.read(sentinels.url, options={"master_name": "nobody"}))
        with pytest.raises(BrokerUnavailable, match="nobody"):
            client.call("PING")


def test_cluster(tmp_path):
    with RedisCluster(tmp_path) as cluster:
        for key in ("a", "b", "c"):
            found = settings.read(cluster.url + "?cluster=1")
            from dataclasses import replace

            client = Client(replace(found, slot_key=key))
            assert client.call("SET", key, key) == b"OK"
            client.close()


def test_asyncio(redis_url):
    config = settings.read(redis_url)

    async def main():
        client = AsyncClient.of(config)
        assert AsyncClient.of(config) is client
        replies = await asyncio.gather(*(client.call("INCR", "n") for _ in range(100)))
        assert sorted(replies) == list(range(1, 101))
        await client.call("SCRIPT", "FLUSH")
        assert await client.run(DOUBLE, ["k"], [2]) == [b"k", 4]
        await client.call("CLIENT", "KILL", "ID", await client.call("CLIENT", "ID"), "SKIPME", "no")
        assert await client.call("GET", "n", again=True) == b"100"

    asyncio.run(main())
    asyncio.run(main_two(config))


def test_a_call_with_little_time_does_not_end_those_with_more(redis_url):
    async def main():
        client = AsyncClient.of(settings.read(redis_url))
        await client.call("PING")
        patient = asyncio.ensure_future(client.call("BLPOP", "nothing", 1, deadline=soon()))
        await asyncio.sleep(0)  # so that it is written first
        with pytest.raises(BrokerUnavailable, match="no answer in time"):
            await client.call("PING", deadline=soon(0.1))
        assert await patient is None
        assert await client.call("PING") == b"PONG"

    asyncio.run(main())


async def main_two(config):
    assert await AsyncClient.of(config).call("PING") == b"PONG"


def test_asyncio_and_a_frozen_server(private_redis):
    async def main():
        client = AsyncClient.of(settings.read(private_redis.url))
        await client.call("PING")
        private_redis.freeze()
        with pytest.raises(BrokerUnavailable, match="no answer in time"):
            await client.call("PING", deadline=soon(0.2))
        private_redis.thaw()
        assert await client.call("PING", again=True) == b"PONG"

    asyncio.run(main())
