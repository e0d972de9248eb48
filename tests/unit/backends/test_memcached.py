"""What is particular to memcached."""

from __future__ import annotations

import os
import threading
import time

import pytest
from tests.servers.databases import MemcachedServer

from celery import Celery
from celery.backends.memcached import _expiry
from celery.exceptions import BackendGetMetaError, BackendStoreError


@pytest.fixture
def make_app(memcached_server):
    def make(scheme="cache+memcached", servers=None, **conf):
        url = f"{scheme}://{servers or memcached_server.address}/"
        return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)

    return make


@pytest.mark.parametrize("name", ["memcached", "memcache", "pylibmc", "pymemcache", "python-memcached"])
def test_all_names_stand_for_the_same(make_app, name, memcached_server):
    backend = make_app(f"cache+{name}").backend
    backend.mark_as_done(name, 5)
    assert make_app().backend.get_result(name) == 5
    assert backend.as_uri() == f"{name}://{memcached_server.address}/"


def test_several_servers(make_app, memcached_server, tmp_path):
    with MemcachedServer(tmp_path) as other:
        app = make_app(servers=f"{memcached_server.address};{other.address}")
        for n in range(40):
            app.backend.mark_as_done(f"several{n}", n)
        metas = app.backend.get_task_metas([f"several{n}" for n in range(40)])
        assert [meta["result"] for meta in metas.values()] == list(range(40))
        alone = make_app().backend.get_task_metas([f"several{n}" for n in range(40)])
        assert 0 < sum(meta["status"] == "SUCCESS" for meta in alone.values()) < 40


def test_counters(make_app):
    backend = make_app().backend
    key = backend.get_key_for_chord(os.urandom(4).hex())
    assert [backend.incr(key) for _ in range(3)] == [1, 2, 3]
    counts = []

    def count():
        counts.extend(backend.incr(key) for _ in range(50))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(4, 204))
    backend.expire(key, 100)
    backend.delete(key)
    assert backend.incr(key) == 1


def test_results_vanish(make_app):
    app = make_app(result_expires=1)
    app.backend.mark_as_done("brief", 1)
    deadline = time.monotonic() + 30
    while app.backend.get_state("brief") != "PENDING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    app.backend.cleanup()


def test_lives_of_more_than_a_month_are_points_in_time():
    assert _expiry(None) == _expiry(0) == 0
    assert _expiry(86400.5) == 86400
    assert abs(_expiry(90 * 86400) - time.time() - 90 * 86400) < 10


def test_what_memcached_does_not_take(make_app):
    backend = make_app().backend
    with pytest.raises(BackendStoreError, match="more than memcached takes"):
        backend.mark_as_done("big", os.urandom(1_500_000).hex())
    assert backend.get_state("big") == "PENDING"


def test_options_of_other_libraries(make_app):
    with pytest.warns(UserWarning, match="'behaviors'"):
        make_app(cache_backend_options={"behaviors": {"cas": True}, "timeout": 3}).backend.mark_as_done(
            "o", 1
        )


def test_a_server_that_is_away(make_app, tmp_path):
    with MemcachedServer(tmp_path) as server:
        app = make_app(servers=server.address, result_backend_base_sleep_between_retries_ms=50)
        backend = app.backend
        backend.mark_as_done("before", 1)
        server.stop()
        with pytest.raises(BackendGetMetaError):
            backend.get_task_meta("before")
        tried = threading.Event()
        backend.on_backend_retryable_error = lambda exc: tried.set()
        storing = threading.Thread(target=backend.mark_as_done, args=("during", 2))
        storing.start()
        assert tried.wait(30)
        server.start()
        storing.join()
        assert backend.get_result("during") == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_has_its_own_connection(make_app):
    app = make_app()
    app.backend.mark_as_done("fork", 1)
    client = app.backend.client
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if app.backend.get_result("fork") == 1 and app.backend.client is not client else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert app.backend.get_result("fork") == 1
