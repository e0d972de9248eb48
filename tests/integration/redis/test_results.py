"""The result backend on every kind of Redis: keys and channels as Celery's, waiting, connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisSentinels, RedisServer
from tests.support import cut_short, wait_until

from celery import Celery
from celery.backends import resume_notes
from celery.backends.redis import RedisBackend, SentinelBackend
from celery.backends.redis import backend as backend_module
from celery.backends.redis.subscription import STALE, Subscription
from celery.brokers.redis import settings
from celery.brokers.redis.locate import locator_of
from celery.exceptions import BackendStoreError, DecodeError, TimeoutError  # noqa: A004 - the public name
from celery.result import AsyncResult


def app_on(url: str, **conf) -> Celery:
    return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)


def channels(server: RedisServer) -> list[str]:
    return server.cli("PUBSUB", "CHANNELS").split()


def subscribers(server: RedisServer) -> int:
    return len(server.cli("CLIENT", "LIST", "TYPE", "pubsub").splitlines())


# -- keys, values, lives


def test_keys_and_values_are_celerys(redis_url, redis_server):
    app = app_on(redis_url)
    app.backend.mark_as_done("t1", {"a": [1, None]})
    stored = json.loads(redis_server.cli("GET", "celery-task-meta-t1"))
    assert list(stored) == ["status", "result", "traceback", "children", "date_done", "task_id"]
    assert stored["status"] == "SUCCESS"
    assert stored["result"] == {"a": [1, None]}
    assert stored["date_done"].endswith("+00:00")
    assert 86390 < int(redis_server.cli("TTL", "celery-task-meta-t1")) <= 86400


def test_what_came_for_an_earlier_wait_is_old(redis_url):
    app, other = app_on(redis_url), app_on(redis_url)
    result = app.AsyncResult("waited-for-twice")
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)
    other.backend.mark_as_failure(result.id, KeyError("old"))  # heard by the subscription, read by nobody
    other.backend.forget(result.id)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.3)
    other.backend.mark_as_done(result.id, "new")
    assert result.get(timeout=30) == "new"


@pytest.mark.parametrize(
    ("conf", "done", "failed"),
    [
        ({"result_expires": 60}, 60, 60),
        ({"result_expires": 60, "result_failure_expires": 7200}, 60, 7200),
        ({"result_expires": 0}, -1, -1),
        ({"result_expires": None}, -1, -1),
    ],
)
def test_lives(redis_url, redis_server, conf, done, failed):
    app = app_on(redis_url)
    app.conf.update(conf)
    app.backend.mark_as_done("t1", 1)
    app.backend.mark_as_failure("t2", KeyError(1))
    app.backend.store_result("t3", None, "PROGRESS")
    app.backend.mark_as_revoked("t4")
    resume_notes.keep(app.backend, "t2", {})
    ids = ("t1", "t2", "t3", "t4", resume_notes.id_of("t2"))
    lives = [int(redis_server.cli("TTL", f"celery-task-meta-{i}")) for i in ids]
    assert lives == [pytest.approx(seconds, abs=5) for seconds in (done, failed, done, done, failed)]


def test_a_member_added_too_late_leaves_nothing_for_ever(redis_url, redis_server):
    app = app_on(redis_url, result_expires=60)
    app.backend.add_to_chord("over", app.AsyncResult("t1"))
    assert int(redis_server.cli("TTL", "celery-taskset-meta-over.t")) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(("prefix", "begins"), [("mine", "mine_"), ("mine:", "mine:"), ("", "")])
def test_prefix(redis_url, redis_server, prefix, begins):
    app = app_on(redis_url, result_backend_transport_options={"global_keyprefix": prefix})
    app.backend.mark_as_done("t1", 1)
    assert redis_server.cli("KEYS", "*") == f"{begins}celery-task-meta-t1"
    assert app.AsyncResult("t1").get(timeout=10) == 1


@pytest.mark.parametrize("serializer", ["json", "pickle", "msgpack", "yaml"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_success_stays_and_all_else_may_be_replaced(redis_url, serializer, compression):
    app = app_on(
        redis_url, result_serializer=serializer, result_compression=compression, accept_content=[serializer]
    )
    backend = app.backend
    seen = []
    for state, value in [
        ("STARTED", 1),
        ("MINE", 2),
        ("FAILURE", KeyError(3)),
        ("SUCCESS", 4),
        ("FAILURE", KeyError(5)),
        ("SUCCESS", 6),
    ]:
        backend.store_result("t1", value, state)
        meta = backend.get_task_meta("t1", cache=False)
        seen.append((meta["status"], str(meta["result"])))
    assert seen == [
        ("STARTED", "1"),
        ("MINE", "2"),
        ("FAILURE", "3"),
        ("SUCCESS", "4"),
        ("SUCCESS", "4"),
        ("SUCCESS", "4"),
    ]


def test_what_cannot_be_read_is_replaced(redis_url, redis_server):
    app = app_on(redis_url)
    redis_server.cli("SET", "celery-task-meta-t1", "no meta")
    app.backend.mark_as_done("t1", 5)
    assert app.AsyncResult("t1").get(timeout=10) == 5


def test_one_bad_value_does_not_stop_the_others(redis_url, redis_server):
    app = app_on(redis_url)
    redis_server.cli("SET", "celery-task-meta-t1", "no meta")
    app.backend.mark_as_done("t2", 5)
    found = dict(app.backend.get_many(["t1", "t2"], timeout=10))
    assert found["t2"]["result"] == 5
    assert found["t1"]["status"] == "FAILURE"


def test_held_results_are_stored_together(redis_url, redis_server):
    app = app_on(redis_url)
    backend = app.backend
    backend.get_task_meta("warm")
    before = redis_server.cli("INFO", "commandstats")
    backend.defer()
    for number in range(450):
        backend.mark_as_done(f"t{number}", number)
    assert redis_server.cli("DBSIZE") == "0"
    backend.flush()
    assert redis_server.cli("DBSIZE") == "450"
    after = redis_server.cli("INFO", "commandstats")
    assert _calls(after, "evalsha") - _calls(before, "evalsha") <= 3
    assert [backend.get_task_meta(f"t{n}")["result"] for n in (0, 449)] == [0, 449]


def _calls(info: str, command: str) -> int:
    lines = [line for line in info.splitlines() if line.startswith(f"cmdstat_{command}:")]
    return int(lines[0].split("calls=")[1].split(",")[0]) if lines else 0


def test_too_long_a_value_is_refused_and_the_others_are_stored(redis_url, monkeypatch):
    monkeypatch.setattr(backend_module, "LONGEST", 1000)
    app = app_on(redis_url)
    with pytest.raises(BackendStoreError, match="bytes long, and Redis takes 1000 at most"):
        app.backend.mark_as_done("t1", "x" * 1000)
    app.backend.mark_as_done("t2", "x" * 500)
    assert app.AsyncResult("t2").get(timeout=10) == "x" * 500


def test_a_lost_hold_fences_the_result(redis_url, redis_server):
    """What a worker says whose message was taken over does not count, and is told to it."""
    from celery.app.context import Context
    from celery.backends.claims import ClaimLost
    from celery.brokers.redis import claims

    app = app_on(redis_url)
    backend = app.backend
    redis_server.cli("HSET", "unacked", "tag1", "message")
    redis_server.cli("SET", "era", "now")

    def store(task_id, field, era="now"):
        claim = claims.beginning(backend.claims, "unacked", "era", era) + field
        backend.mark_as_done(task_id, 1, Context({"id": task_id, "_claim": claim}))

    store("t1", "tag1")
    with pytest.raises(ClaimLost, match="another one has its message"):
        store("t2", "gone")
    store("t3", "gone", era="before the server lost everything")
    keys = redis_server.cli("KEYS", "celery-task-meta-*").split()
    assert sorted(keys) == ["celery-task-meta-t1", "celery-task-meta-t3"]


# -- waiting


def test_nothing_is_left_behind(private_redis):
    """Few subscriptions outlive their waiter, and never for long: ready, timed out, cancelled."""
    app = app_on(private_redis.url, redis_client_name="leaks")
    app.backend.mark_as_done("done", 1)
    assert app.AsyncResult("done").get(timeout=10) == 1
    for number in range(2 * STALE):
        with pytest.raises(TimeoutError):
            app.AsyncResult(f"never-{number}").get(timeout=0.01)
    timer = threading.Timer(0.1, lambda: app.backend.mark_as_done("later", 2))
    timer.start()
    assert app.AsyncResult("later").get(timeout=10) == 2
    timer.join()

    async def cancelled():
        waiting = asyncio.create_task(app.AsyncResult("never").aget())
        await asyncio.sleep(0.1)
        waiting.cancel()

    asyncio.run(cancelled())
    wait_until(lambda: len(channels(private_redis)) < STALE)
    assert private_redis.cli("CLIENT", "LIST").count("name=leaks ") == 2


def test_a_silent_connection_is_given_up_though_more_is_asked_all_the_time(redis_server):
    with Proxy(redis_server.port) as proxy:
        config = settings.read(f"redis://127.0.0.1:{proxy.port}/0")
        subscription = Subscription(config, locator_of(config), lambda key, value: {}, quiet=0.3)
        subscription.want(["first"])
        accepted, numbers = proxy.accepted, itertools.count()
        proxy.forget()

        def ask():
            subscription.want([f"{next(numbers)}"])
            subscription.check()
            return proxy.accepted > accepted

        wait_until(ask)
        subscription.close()


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # sockets of calls that were cut short
def test_waiting_that_is_cut_short_leaves_the_next_one_alone(redis_url):
    """By a soft time limit, or Ctrl-C: what is asked and what is answered still fit, and it can be woken."""
    app = app_on(redis_url)
    for number in range(20):
        app.backend.mark_as_done(f"cut-{number}", number)
    numbers = itertools.count()

    def get():
        with contextlib.suppress(DecodeError):
            number = next(numbers) % 20
            assert app.AsyncResult(f"cut-{number}").get(timeout=5) == number

    assert cut_short(1500, get, 3e-4) > 100
    assert [app.AsyncResult(f"cut-{number}").get(timeout=5) for number in range(20)] == [*range(20)]
    hub = app.backend.hub()
    assert not hub._leading.locked()
    assert not hub._listener._asked
    assert len(hub._listener._selector.get_map()) == 2
    app.close()


def test_a_thousand_wait_on_one_connection(private_redis):
    """200 threads and 800 coroutines; each gets its own, nobody is left subscribed."""
    app = app_on(private_redis.url)
    before = subscribers(private_redis)
    got = {}

    def wait(task_id):
        got[task_id] = AsyncResult(task_id, app=app).get(timeout=50)

    async def wait_for_all(ids):
        return await asyncio.gather(*(AsyncResult(i, app=app).aget(timeout=50) for i in ids))

    ids = [f"t{n}" for n in range(1000)]
    threads = [threading.Thread(target=wait, args=(task_id,)) for task_id in ids[:200]]
    values = []
    threads.append(threading.Thread(target=lambda: values.extend(asyncio.run(wait_for_all(ids[200:])))))
    for thread in threads:
        thread.start()
    wait_until(lambda: len(channels(private_redis)) == 1000)
    assert subscribers(private_redis) - before <= 1
    for number, task_id in enumerate(ids):
        app.backend.mark_as_done(task_id, number)
    for thread in threads:
        thread.join()
    assert got == {task_id: number for number, task_id in enumerate(ids[:200])}
    assert values == list(range(200, 1000))
    wait_until(lambda: len(channels(private_redis)) < STALE)


def test_a_result_larger_than_a_subscriber_may_be_sent(redis_url, redis_server):
    """Redis hangs up on subscribers that have too much to read: the result comes all the same."""
    redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
    try:
        app = app_on(redis_url)
        value = "x" * 3_000_000
        timer = threading.Timer(0.2, lambda: app.backend.mark_as_done("t1", value))
        timer.start()
        assert app.AsyncResult("t1").get(timeout=30) == value
        timer.join()
        app.backend.mark_as_done("t2", value)
        assert app.AsyncResult("t2").get(timeout=30) == value
    finally:
        redis_server.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 32mb 8mb 60")


def test_greenlets_wait(redis_url, tmp_path):
    """Under gevent's monkey patching, results are waited for cooperatively."""
    pytest.importorskip("gevent")
    code = f"""
        from gevent import monkey; monkey.patch_all()
        import gevent
        from celery import Celery
        app = Celery("t", broker="memory://", backend={redis_url!r})
        ids = [f"t{{n}}" for n in range(200)]
        waits = [gevent.spawn(app.AsyncResult(i).get, timeout=30) for i in ids]
        ticks = []
        ticker = gevent.spawn(lambda: [(ticks.append(1), gevent.sleep(0.01)) for _ in range(1000)])
        while len(ticks) < 20:
            gevent.sleep(0.01)
        for number, task_id in enumerate(ids):
            app.backend.mark_as_done(task_id, number)
        gevent.joinall(waits, raise_error=True)
        assert [wait.value for wait in waits] == list(range(200))
        print("all")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout.strip() == "all", done.stderr


# -- every kind of Redis


def _round_trip(app: Celery) -> None:
    app.backend.mark_as_done("t1", [1])
    timer = threading.Timer(0.1, lambda: app.backend.mark_as_done("t2", [2]))
    timer.start()
    assert app.AsyncResult("t1").get(timeout=20) == [1]
    assert app.AsyncResult("t2").get(timeout=20) == [2]
    timer.join()
    assert dict(app.backend.get_many(["t1", "t2"], timeout=20)).keys() == {"t1", "t2"}
    assert app.backend.client.exists(app.backend.get_key_for_task("t1"))
    app.AsyncResult("t1").forget()
    assert app.AsyncResult("t1").state == "PENDING"


def test_password_and_unix_socket(tmp_path):
    with RedisServer(tmp_path / "r", password="s:ecr@t", unix_socket=True) as server:
        quoted = "s%3Aecr%40t"
        _round_trip(app_on(f"redis://:{quoted}@127.0.0.1:{server.port}/3"))
        assert "db3" in server.cli("INFO", "keyspace")
        _round_trip(app_on("redis", redis_port=server.port, redis_password="s:ecr@t", redis_db=4))
        assert "db4" in server.cli("INFO", "keyspace")
        for scheme in ("socket", "redis+socket"):
            _round_trip(app_on(f"{scheme}://:{quoted}@{server.socket_path}?virtual_host=5"))
        assert "db5" in server.cli("INFO", "keyspace")
        app = app_on(f"redis://:wrong@127.0.0.1:{server.port}/3")
        assert "wrong" not in app.backend.as_uri()
        with pytest.raises(Exception, match="WRONGPASS") as caught:
            app.backend.get_state("t1")
        assert ":wrong" not in str(caught.value)


def test_sentinel_survives_a_failover(tmp_path):
    with RedisSentinels(tmp_path, password="pw") as sentinels:
        url = ";".join(f"sentinel://:pw@127.0.0.1:{port}/2" for port in sentinels.ports)
        app = app_on(url, result_backend_transport_options={"master_name": sentinels.name})
        assert isinstance(app.backend, SentinelBackend)
        assert "pw" not in app.backend.as_uri()
        _round_trip(app)
        got = []
        waiting = threading.Thread(target=lambda: got.append(app.AsyncResult("t3").get(timeout=50)))
        waiting.start()
        first = sentinels.master()
        first.kill()
        wait_until(lambda: sentinels.master() is not first, 30)
        app.backend.mark_as_done("t3", 3)
        waiting.join()
        assert got == [3]


def test_cluster(tmp_path):
    with RedisCluster(tmp_path) as cluster:
        _round_trip(app_on(f"redis+cluster://127.0.0.1:{cluster.nodes[1].port}"))


def test_tls(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    with RedisServer(tmp_path / "r", tls=(cert, key, cert)) as server:
        _round_trip(app_on(f"{server.url}?ssl_cert_reqs=required&ssl_ca_certs={cert}"))
        own = {"ssl_cert_reqs": "CERT_REQUIRED", "ssl_ca_certs": str(cert)}
        _round_trip(app_on(server.url, redis_backend_use_ssl=own))
        _round_trip(app_on(f"{server.url}?ssl_cert_reqs=none"))
        with pytest.raises(Exception, match="certificate is not accepted"):
            app_on(f"{server.url}?ssl_cert_reqs=required").backend.get_state("t1")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs must be one of required, optional, none"),
        ("redis://h?ssl_ca_certs=/f", "its scheme is not rediss"),
        ("redis://h/one", "Database is int"),
        ("sentinel://h", "result_backend_transport_options = {'master_name'"),
        ("redis://h:port", "port should be"),
    ],
)
def test_a_url_that_makes_no_sense(url, message):
    with pytest.raises(ValueError, match=message):
        _ = app_on(url).backend


def test_credentials_come_from_a_provider(tmp_path):
    with RedisServer(tmp_path / "r") as server:
        server.cli("ACL", "SETUSER", "me", "on", ">pw", "allkeys", "allchannels", "+@all")

        class Provider:
            asked = 0

            def get_credentials(self):
                Provider.asked += 1
                return "me", "pw"

        app = app_on(server.url, redis_backend_credential_provider=Provider())
        _round_trip(app)
        assert server.cli("CLIENT", "LIST").count("user=me") >= 2
        assert Provider.asked >= 2


def test_connections_have_a_name(redis_url, redis_server):
    app = app_on(redis_url, redis_client_name="mine")
    app.backend.mark_as_done("t1", 1)
    app.AsyncResult("t1").get(timeout=10)
    assert redis_server.cli("CLIENT", "LIST").count("name=mine") == 2


def test_a_pickled_backend_is_the_same(redis_url):
    import pickle

    app = app_on(redis_url, result_expires=60)
    app.set_current()
    again = pickle.loads(pickle.dumps(app.backend))
    assert isinstance(again, RedisBackend)
    assert (again.url, again.expires) == (app.backend.url, 60)


def test_without_the_extra(tmp_path):
    code = """
        import sys
        sys.modules["hiredis"] = None
        from celery import Celery
        try:
            Celery("t", broker="memory://", backend="redis://").backend
        except Exception as exc:
            print(type(exc).__name__, exc)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.startswith("ImproperlyConfigured Results in Redis need the package 'hiredis'"), (
        done.stderr
    )
    assert "pip install 'celeriac[redis]'" in done.stdout
    assert os.linesep.join(done.stdout.splitlines()[1:]) == ""


def test_what_comes_before_in_a_chain_is_asked_for_at_once(redis_url, redis_server):
    app = app_on(redis_url)
    result = AsyncResult("step-0", app=app)
    for number in range(1, 51):
        result = AsyncResult(f"step-{number}", app=app, parent=result)
    app.backend.mark_as_done("step-0", 0)
    app.backend.mark_as_done("step-50", "the end")
    redis_server.cli("CONFIG", "RESETSTAT")
    assert result.get(timeout=30) == "the end"
    assert commands(redis_server).get("get", 0) <= 1
    assert commands(redis_server)["mget"] <= 3

    app.backend.mark_as_failure("step-7", KeyError("seven"))
    late = AsyncResult("late", app=app, parent=result)
    with pytest.raises(KeyError, match="seven"):
        late.get(timeout=30)


def commands(server: RedisServer) -> dict[str, int]:
    """How often each command was carried out since the last `CONFIG RESETSTAT`."""
    lines = [line for line in server.cli("INFO", "commandstats").splitlines() if line.startswith("cmdstat_")]
    pairs = [line.removeprefix("cmdstat_").split(":calls=") for line in lines]
    return {name: int(rest.partition(",")[0]) for name, rest in pairs}
