"""What only the embedded store does."""

from __future__ import annotations

import os
import sqlite3
import threading
import time

import pytest

from celery import Celery
from celery.backends import resume_notes
from celery.backends import sqlite as module
from celery.brokers.base import BrokerRefused
from celery.exceptions import BackendGetMetaError, BackendStoreError, SoftTimeLimitExceeded


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def make(path):
    def make(**conf):
        return Celery("t", broker="memory://", backend=f"sqlite:///{path}", set_as_current=False, **conf)

    return make


def rows(path):
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT key, expires FROM result").fetchall()
    connection.close()
    return found


def test_results_held_back_are_stored_together(make, path):
    backend = make().backend
    backend.defer()
    for n in range(5):
        backend.mark_as_done(f"t{n}", n)
    other = make().backend
    assert other.get_state("t0") == "PENDING"
    backend.flush()
    assert [other.get_result(f"t{n}") for n in range(5)] == list(range(5))
    backend.mark_as_done("after", 1)
    assert other.get_result("after") == 1
    backend.flush()


def test_progress_is_never_held_back(make):
    backend = make().backend
    backend.defer()
    backend.mark_as_done("before", 1)
    backend.store_result("a", {"done": 50}, "PROGRESS")
    other = make().backend
    assert other.get_task_meta("a")["result"] == {"done": 50}
    assert other.get_result("before") == 1


def test_reads_see_what_was_held_back(make):
    backend = make().backend
    backend.defer()
    backend.mark_as_done("a", 1)
    assert backend.get_result("a") == 1


def test_what_another_thread_holds_back_is_its_own(make):
    backend = make(result_backend_thread_safe=True).backend
    backend.defer()
    backend.mark_as_done("mine", 1)
    thread = threading.Thread(target=lambda: (backend.mark_as_done("theirs", 2), backend.flush()))
    thread.start()
    thread.join()
    other = make().backend
    assert (other.get_state("mine"), other.get_result("theirs")) == ("PENDING", 2)
    backend.flush()
    assert other.get_result("mine") == 1


def test_the_first_success_counts_within_one_flush(make):
    backend = make().backend
    backend.defer()
    backend.mark_as_started("a", pid=1)
    backend.mark_as_done("a", 1)
    backend.mark_as_failure("a", KeyError())
    backend.flush()
    assert backend.get_result("a") == 1


def test_a_locked_store_is_waited_for_until_told_to_give_up(make, path):
    backend = make(result_backend_base_sleep_between_retries_ms=60_000).backend
    backend.mark_as_done("before", 1)
    backend._database.patience = 0.01
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    give_up = threading.Event()
    timer = threading.Timer(0.1, give_up.set)
    timer.start()
    backend.defer()
    backend.mark_as_done("a", 1)
    with pytest.raises(BackendStoreError, match=r"Could not store 1 results: .*store\.db: .*lock"):
        backend.flush(give_up)
    timer.join()
    assert make().backend.get_result("before") == 1  # readers are not stopped
    lock.execute("COMMIT")
    lock.close()
    give_up.clear()
    backend.flush()
    assert make().backend.get_result("a") == 1


def test_one_result_that_is_refused_does_not_stop_the_others(make):
    backend = make().backend
    backend.mark_as_done("before", 1)
    backend._database.connection().setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    backend.defer()
    backend.mark_as_done("small", 1)
    backend.mark_as_done("large", "x" * 2000)
    backend.mark_as_done("last", 2)
    with pytest.raises(BackendStoreError, match=r"Not all of 3 results could be stored: .*store\.db"):
        backend.flush()
    backend.flush()
    other = make().backend
    assert [other.get_state(i) for i in ("small", "large", "last")] == ["SUCCESS", "PENDING", "SUCCESS"]


def test_a_soft_time_limit_that_comes_while_results_are_stored_is_let_through(make, monkeypatch):
    """A task reads results, and so those of the tasks before it are stored."""
    backend = make().backend

    def interrupted(rows):
        raise SoftTimeLimitExceeded

    backend.defer()
    backend.mark_as_done("a", 1)
    backend.mark_as_done("b", 2)
    with monkeypatch.context() as patch:
        patch.setattr(backend._rows, "_write", interrupted)
        with pytest.raises(SoftTimeLimitExceeded):
            backend.get_result("a")
    assert [backend.get_result("a"), backend.get_result("b")] == [1, 2]


def test_what_is_held_for_a_store_that_is_away_is_bounded(make, path, monkeypatch, caplog):
    monkeypatch.setattr("celery.backends.rows.HELD_AT_MOST", 2)
    backend = make(result_backend_max_retries=0).backend
    backend.mark_as_done("before", 1)
    backend._database.patience = 0.0
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    backend.defer()
    for n in range(3):
        backend.mark_as_done(f"t{n}", n)
    with pytest.raises(BackendStoreError):
        backend.flush()
    lock.execute("COMMIT")
    lock.close()
    backend.flush()
    assert [make().backend.get_state(f"t{n}") for n in range(3)] == ["PENDING", "SUCCESS", "SUCCESS"]
    assert "The result of task t0 is lost" in caplog.text


def test_results_expire(make, path, monkeypatch):
    backend = make(result_expires=60).backend
    backend.mark_as_done("a", 1)
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    assert backend.get_state("a") == "PENDING"
    assert len(rows(path)) == 1
    backend.cleanup()
    assert rows(path) == []


def test_whoever_stores_cleans(make, path, monkeypatch):
    backend = make(result_expires=60).backend
    backend.mark_as_done("a", 1)
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 61)
    backend._next_clean = 0.0
    backend.mark_as_done("b", 1)
    assert [key for key, _ in rows(path)] == ["celery-task-meta-b"]


@pytest.mark.parametrize("never", [0, None])
def test_results_that_never_expire(make, path, never):
    app = make()
    app.conf.result_expires = never
    app.backend.mark_as_done("a", 1)
    assert rows(path) == [("celery-task-meta-a", None)]


def test_failures_may_expire_sooner(make, path):
    app = make(result_expires=1000, result_failure_expires=10)
    app.backend.mark_as_done("good", 1)
    app.backend.mark_as_failure("bad", KeyError())
    app.backend.mark_as_revoked("revoked")
    resume_notes.keep(app.backend, "bad", {})
    expires = dict(rows(path))
    note = expires[f"celery-task-meta-{resume_notes.id_of('bad')}"]
    assert note == pytest.approx(expires["celery-task-meta-bad"], abs=5)
    assert expires["celery-task-meta-revoked"] == pytest.approx(expires["celery-task-meta-good"], abs=5)
    assert expires["celery-task-meta-good"] - expires["celery-task-meta-bad"] == pytest.approx(990, abs=5)


def test_nobody_is_left_waiting_in_the_store(make, path):
    app = make()
    with pytest.raises(app.backend.TimeoutError):
        app.AsyncResult("never").get(timeout=0.01)
    timer = threading.Timer(0.02, lambda: app.backend.mark_as_done("a", 1))
    timer.start()
    app.AsyncResult("a").get(timeout=30)
    timer.join()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT * FROM result_waiter").fetchall() == []
    connection.close()


def test_a_nudge_that_never_came_is_not_missed(make, path):
    """As when whoever stores is killed between commit and nudge."""
    app = make()
    app.backend.mark_as_done("model", 5)
    got = []
    waiting = threading.Thread(target=lambda: got.append(app.AsyncResult("a").get(timeout=30)))
    waiting.start()
    while app.backend.hub()._leader is None:
        time.sleep(0.001)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO result SELECT 'celery-task-meta-a', value, expires FROM result")
    connection.close()
    waiting.join()
    assert got == [5]


def test_a_bad_row_stops_its_own_reader_only(make):
    app = make()
    stored = {"exc_type": "system", "exc_message": "rm", "exc_module": "os"}
    app.backend.store_result("bad", stored, "FAILURE")
    with pytest.raises(Exception, match="Expected an exception class"):
        app.AsyncResult("bad").get(timeout=5)


def test_counters(make):
    backend = make().backend
    key = backend.get_key_for_chord("g")
    assert [backend.incr(key) for _ in range(3)] == [1, 2, 3]
    assert backend.get(key) == 3
    backend.expire(key, -1)
    assert backend.get(key) is None
    backend.set(key, b"x")
    assert backend.mget([key, "none"]) == {key: b"x"}
    backend.delete(key)
    assert backend.get(key) is None


def test_a_file_that_is_no_store(make, path):
    path.write_bytes(b"not a database, but long enough to be taken for one" * 50)
    with pytest.raises(BrokerRefused, match=r"store\.db: this is not a store"):
        make().backend.mark_as_done("a", 1)
    with pytest.raises(BrokerRefused, match=r"store\.db"):
        make().AsyncResult("a").ready()


def test_a_folder_instead_of_a_file(make, path):
    path.mkdir()
    with pytest.raises(BrokerRefused, match="this is a folder"):
        make().backend.mark_as_done("a", 1)


def test_a_store_that_cannot_be_read_now(make, path):
    backend = make().backend
    backend.mark_as_done("a", 1)
    backend._database.close()
    backend._database.patience = 0.01
    with sqlite3.connect(path, isolation_level=None) as lock:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BackendGetMetaError, match=r"Could not read the result of a: .*store\.db"):
            backend.get_task_meta("a")
        lock.execute("COMMIT")
    lock.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_results_of_many_processes(make):
    app = make()
    app.backend.mark_as_done("first", 0)
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                for n in range(25):
                    app.backend.mark_as_done(f"{child}-{n}", [child, n])
            finally:
                os._exit(0)
        children.append(pid)
    for child in range(4):
        for n in range(25):
            assert app.AsyncResult(f"{child}-{n}").get(timeout=30) == [child, n]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
