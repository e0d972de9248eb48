"""The servers of the tests do what the tests rely on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap

from tests.servers.process import accepts
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisSentinels
from tests.support import wait_until


def test_redis_is_killed_and_comes_back(private_redis):
    private_redis.cli("SET", "a", "1")
    private_redis.restart(kill=True)
    assert private_redis.cli("GET", "a") == "1"
    assert private_redis.url == f"redis://127.0.0.1:{private_redis.port}/0"


def test_redis_url_is_an_empty_database(redis_url, redis_server):
    assert redis_server.cli("DBSIZE") == "0"


def test_sentinels_fail_over(tmp_path):
    with RedisSentinels(tmp_path) as sentinels:
        first = sentinels.master()
        first.kill()
        wait_until(lambda: sentinels.master() is not first, 30)


def test_cluster_has_three_masters(tmp_path):
    with RedisCluster(tmp_path) as cluster:
        assert "cluster_known_nodes:3" in cluster.nodes[1].cli("cluster", "info")


def test_rabbitmq_has_a_vhost_for_each_test(rabbitmq_server, amqp_url):
    assert amqp_url.rpartition("/")[2] in rabbitmq_server.ctl("list_vhosts")


def test_server_dies_with_whoever_started_it(tmp_path):
    code = f"""
        from pathlib import Path
        from tests.servers.redis import RedisServer
        server = RedisServer(Path({str(tmp_path)!r}))
        server.start()
        print(server.port, server.pid, flush=True)
        input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        port, _ = map(int, owner.stdout.readline().split())
        assert accepts(port)
        os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: not accepts(port))


def _echo(client: socket.socket, word: bytes) -> bytes:
    client.sendall(word)
    return client.recv(100)


def test_proxy_stalls_cuts_and_resets(private_redis):
    with Proxy(private_redis.port) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            assert _echo(client, b"PING\r\n") == b"+PONG\r\n"
            proxy.stall()
            client.settimeout(0.2)
            client.sendall(b"PING\r\n")
            try:
                client.recv(10)
                raise AssertionError("it came through")
            except TimeoutError:
                proxy.flow()
            client.settimeout(5)
            assert client.recv(10) == b"+PONG\r\n"
            proxy.reset_after(3)
            client.sendall(b"PING\r\n")
            try:
                got = b""
                while more := client.recv(10):
                    got += more
            except ConnectionResetError:
                pass
            assert got in (b"", b"+PO")
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            assert _echo(client, b"PING\r\n") == b"+PONG\r\n"
            proxy.cut()
            assert client.recv(10) == b""


def test_stock_celery_is_the_real_one(stock_celery, tmp_path):
    assert stock_celery.run(tmp_path, "import celery; print(celery.__version__)") == "5.7.0\n"
    assert "celeriac" not in stock_celery.run(tmp_path, "import celery; print(dir(celery))")
