"""What is particular to databases; SQLite unless it matters."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from celery import Celery, states
from celery.app.context import Context
from celery.backends.database import DatabaseBackend, session_cleanup
from celery.backends.database.models import tables
from celery.backends.database.session import SessionManager
from celery.exceptions import BackendGetMetaError, BackendStoreError, ImproperlyConfigured


@pytest.fixture
def make_app(tmp_path):
    def make(url=f"db+sqlite:///{tmp_path}/results.db", **conf):
        return Celery("t", broker="memory://", backend=url, set_as_current=False, **conf)

    return make


@pytest.fixture
def rows(tmp_path):
    def select(sql, *arguments):
        with sqlite3.connect(tmp_path / "results.db") as connection:
            found = connection.execute(sql, arguments).fetchall()
        connection.close()
        return found

    return select


def test_a_value_that_the_database_cannot_write_does_not_stop_the_others(make_app):
    """Whatever error that is."""
    backend = make_app(result_extended=True).backend
    backend.defer()
    for task_id, retries in (("a", 0), ("b", 2**70), ("c", 0)):
        backend.mark_as_done(task_id, 1, request=Context({"id": task_id, "retries": retries}))
    with pytest.raises(BackendStoreError, match="Not all of 3 results"):
        backend.flush()
    assert [backend.get_state(task_id) for task_id in "abc"] == ["SUCCESS", "PENDING", "SUCCESS"]


def test_rows_have_celerys_form(make_app, rows):
    app = make_app()
    app.backend.mark_as_done("a", {"x": 1})
    app.backend.mark_as_failure("b", ValueError("boom"), traceback="tb")
    app.backend.mark_as_started("c", pid=1)
    app.GroupResult("g", [app.AsyncResult("a")]).save()
    (a, b, c) = rows("SELECT task_id, status, result, traceback, children, date_done FROM celery_taskmeta")
    assert a[:5] == ("a", "SUCCESS", b'{"x":1}', None, None)
    assert b[:4] == (
        "b",
        "FAILURE",
        b'{"exc_type":"ValueError","exc_message":["boom"],"exc_module":"builtins"}',
        "tb",
    )
    assert c[1] == "STARTED"
    assert c[5] is None
    assert abs(datetime.fromisoformat(a[5]) - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)
    ((stored,),) = rows("SELECT result FROM celery_tasksetmeta WHERE taskset_id = 'g'")
    assert stored == b'[["g",null],[[["a",null],null]]]'
    assert set(app.backend.get_group_meta("g")) == {"taskset_id", "result", "date_done"}
    assert app.AsyncResult("a").date_done.tzinfo is None  # as Celery's


def test_the_tables_are_celerys(make_app, rows):
    _ = make_app().backend
    (tables_,) = rows("SELECT group_concat(sql, ' ') FROM sqlite_master")
    for words in (
        "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
        "task_id VARCHAR(155)",
        "UNIQUE (task_id)",
        "UNIQUE (taskset_id)",
        "result BLOB",
        "date_done DATETIME",
        "stamps BLOB",
        "CREATE INDEX ix_celery_taskmeta_date_done ON celery_taskmeta (date_done)",
    ):
        assert words in tables_[0]


def test_extended_results_and_stamps(make_app, rows):
    app = make_app(result_extended=True)
    request = Context(
        id="x",
        task="t.add",
        args=[1],
        kwargs={"a": 2},
        hostname="h",
        retries=1,
        delivery_info={"routing_key": "q"},
        stamps={"s": 1},
        stamped_headers=["s"],
    )
    app.backend.mark_as_done("x", 3, request=request)
    ((*columns, stamps),) = rows(
        "SELECT name, args, kwargs, worker, retries, queue, stamps FROM celery_taskmeta"
    )
    assert columns == ["t.add", b"[1]", b'{"a":2}', "h", 1, "q"]
    assert stamps == b'{"stamped_headers":["s"],"stamps":{"s":1}}'
    meta = app.backend.get_task_meta("x")
    assert (meta["args"], meta["kwargs"], meta["s"], meta["stamped_headers"]) == ([1], {"a": 2}, 1, ["s"])
    assert "name" not in make_app().backend.get_task_meta("x")


def test_names_and_schemas_of_tables(make_app, rows, postgres_url):
    app = make_app(database_table_names={"task": "mine", "group": "ours"})
    app.backend.mark_as_done("a", 1)
    assert rows("SELECT task_id FROM mine") == [("a",)]
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA s1"))
    app = make_app(f"db+{postgres_url}", database_table_schemas={"task": "s1", "group": "s1"})
    app.backend.mark_as_done("a", 1)
    app.GroupResult("g", [app.AsyncResult("a")]).save()
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT task_id FROM s1.celery_taskmeta")).scalars().all() == ["a"]
    engine.dispose()


def test_large_results(make_app, mariadb_url, postgres_url):
    for url in (mariadb_url, postgres_url):
        backend = make_app(f"db+{url}").backend
        backend.mark_as_done("big", "x" * 200_000)
        backend.mark_as_failure("bad", ValueError(), traceback="é" * 100_000)
        assert len(backend.get_result("big")) == 200_000
        assert len(backend.get_traceback("bad")) == 100_000


def called_with(engine):
    called_with.engines.append(engine)


called_with.engines = []


def test_settings(make_app, monkeypatch, tmp_path):
    called_with.engines.clear()
    app = make_app(
        "database",
        database_url=f"sqlite:///{tmp_path}/other.db",
        database_engine_callback=f"{__name__}:called_with",
        database_engine_options={"echo": False, "pool_recycle": 5},
        database_create_tables_at_setup=False,
    )
    backend = app.backend
    assert not (tmp_path / "other.db").exists()
    backend.mark_as_done("a", 1)
    assert (tmp_path / "other.db").exists()
    assert called_with.engines == [backend.engine]
    assert backend.engine.pool._recycle == 5
    assert backend.as_uri() == f"sqlite:///{tmp_path}/other.db"
    short = make_app(
        "database", database_url=f"sqlite:///{tmp_path}/o.db", database_short_lived_sessions=True
    )
    short.backend.mark_as_done("a", 1)
    assert isinstance(short.backend.engine.pool, sa.pool.NullPool)
    with pytest.raises(
        ImproperlyConfigured, match=r"Missing connection string! Do you have the database_url"
    ):
        _ = make_app("database").backend


def test_what_is_wrong_is_said(make_app):
    with pytest.raises(
        ImproperlyConfigured, match=r"The driver for postgresql\+nope://u:\*\*@h/d is not installed"
    ):
        _ = make_app("db+postgresql+nope://u:secret@h/d").backend


def test_passwords_are_masked(make_app, caplog):
    backend = make_app("db+postgresql+psycopg2://u:secret@127.0.0.1:1/d").backend
    assert backend.as_uri() == "postgresql+psycopg2://u:**@127.0.0.1:1/d"
    assert "The tables for results will be made later" in caplog.text
    assert "secret" not in caplog.text


def test_a_session_of_the_users_own(make_app):
    backend = make_app().backend
    backend.mark_as_done("a", 1)
    session = backend.ResultSession()
    with session_cleanup(session):
        assert session.execute(sa.select(tables().task.c.task_id)).scalars().all() == ["a"]


def test_pickled_backends(make_app):
    app = make_app()
    app.set_current()
    app.set_default()
    found = pickle.loads(pickle.dumps(app.backend))
    assert isinstance(found, DatabaseBackend)
    assert (found.url, found.expires, found.engine_options) == (
        app.backend.url,
        app.backend.expires,
        app.backend.engine_options,
    )


def test_what_has_expired_is_removed(make_app, rows):
    app = make_app(result_expires=3600)
    for name in ("old", "new"):
        app.backend.mark_as_done(name, 1)
        app.GroupResult(name, []).save()
    app.backend.mark_as_started("running")
    long_ago = str(datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2))
    rows("UPDATE celery_taskmeta SET date_done = ? WHERE task_id = 'old'", long_ago)
    rows("UPDATE celery_tasksetmeta SET date_done = ? WHERE taskset_id = 'old'", long_ago)
    app.tasks["celery.backend_cleanup"]()
    assert sorted(rows("SELECT task_id FROM celery_taskmeta")) == [("new",), ("running",)]
    assert rows("SELECT taskset_id FROM celery_tasksetmeta") == [("new",)]
    rows("UPDATE celery_taskmeta SET date_done = ?", long_ago)
    make_app(result_expires=0).backend.cleanup()
    assert len(rows("SELECT task_id FROM celery_taskmeta")) == 2


class Callable_:
    def __reduce__(self):
        return os.getcwd, ()


@pytest.mark.parametrize("value", [{"a": [1, "x", {2}]}, Decimal(3), ValueError("x"), datetime(2020, 1, 1)])
def test_rows_of_old_versions(make_app, rows, value):
    app = make_app()
    app.backend.mark_as_done("a", 1)
    rows("UPDATE celery_taskmeta SET result = ?", pickle.dumps(value, 2))
    found = app.backend.get_result("a")
    assert (type(found), repr(found)) == (type(value), repr(value))


def test_rows_of_old_versions_run_no_code(make_app, rows):
    make_app().backend.mark_as_done("a", 1)
    rows("UPDATE celery_taskmeta SET result = ?", pickle.dumps(Callable_()))
    with pytest.raises(pickle.UnpicklingError, match="add 'pickle' to result_accept_content"):
        make_app().backend.get_result("a")
    trusting = make_app(result_accept_content=["json", "pickle"])
    assert trusting.backend.get_result("a") == os.getcwd()


def test_results_held_back_are_one_transaction(make_app):
    backend = make_app().backend
    begun = []
    sa.event.listen(backend.engine, "begin", begun.append)
    backend.mark_as_done("there", 0)
    backend.mark_as_started("begun")
    begun.clear()
    backend.defer()
    for n in range(20):
        backend.mark_as_done(f"t{n}", n)
    backend.mark_as_failure("there", KeyError())
    backend.mark_as_done("begun", 5)
    backend.mark_as_done("twice", 1)
    backend.mark_as_failure("twice", KeyError())
    backend.mark_as_failure("again", KeyError())
    backend.mark_as_done("again", 2)
    assert begun == []
    backend.flush()
    assert len(begun) == 1
    metas = backend.get_task_metas([*(f"t{n}" for n in range(20)), "there", "begun", "twice", "again"])
    assert [meta["result"] for meta in metas.values()] == [*range(20), 0, 5, 1, 2]


def test_many_store_the_same_task_at_once(make_app, postgres_url, mariadb_url):
    for url in (f"db+{postgres_url}", f"db+{mariadb_url}"):
        app = make_app(url)
        _ = app.backend
        start = threading.Barrier(8)

        def store(n, app=app, start=start):
            start.wait()
            for i in range(10):
                app.backend.store_result(f"t{i}", n, states.SUCCESS)

        threads = [threading.Thread(target=store, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        metas = app.backend.get_task_metas([f"t{i}" for i in range(10)])
        assert {meta["status"] for meta in metas.values()} == {"SUCCESS"}


def test_many_make_the_tables_at_once(postgres_url):
    metadata = tables().metadata
    start, errors = threading.Barrier(6), []

    def make():
        engine = sa.create_engine(postgres_url)
        start.wait()
        try:
            SessionManager.prepare_models(engine, metadata)
        except Exception as exc:
            errors.append(exc)
        engine.dispose()

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_has_its_own_connections(make_app, postgres_url):
    app = make_app(f"db+{postgres_url}")
    app.backend.mark_as_done("parent", 1)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for n in range(20):
                app.backend.mark_as_done(f"child{n}", n)
            code = 0 if app.backend.get_result("parent") == 1 else 2
        finally:
            os._exit(code)
    for _ in range(20):
        assert app.backend.get_result("parent") == 1
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert app.backend.get_result("child19") == 19


def test_a_database_that_is_restarted(make_app, postgres_server, postgres_url):
    app = make_app(f"db+{postgres_url}", result_backend_base_sleep_between_retries_ms=50)
    app.backend.mark_as_done("before", 1)
    postgres_server.stop()
    try:
        with pytest.raises(BackendGetMetaError, match="Could not read the result of before"):
            app.backend.get_task_meta("before")
        tried, backend = threading.Event(), app.backend
        backend.on_backend_retryable_error = lambda exc: tried.set()
        storing = threading.Thread(target=backend.mark_as_done, args=("during", 2))
        storing.start()
        assert tried.wait(30)
        postgres_server.start()
        storing.join()
    finally:
        if not postgres_server.running:
            postgres_server.start()
    assert app.backend.get_result("before") == 1
    assert app.backend.get_result("during") == 2


def test_the_last_member_sends_the_body_whoever_it_is(make_app, postgres_url, mariadb_url, tmp_path):
    """Forty members end at once in eight threads, half of them twice."""
    for url in (postgres_url, mariadb_url, f"sqlite:///{tmp_path}/chords.db"):
        app = make_app(f"db+{url}", fleet="celeriac")
        backend, sent = app.backend, []
        app.backend = backend  # for all threads
        backend.chords.relay = sent.append
        body = app.signature("body", options={"task_id": "the-body"})
        backend.set_chord_size("g", 40)
        ends = [n for n in range(40) for _ in range(1 + n % 2)]
        start = threading.Barrier(8)

        def run(mine, backend=backend, body=body, start=start):
            start.wait()
            for n in mine:
                request = Context(id=f"m{n}", group="g", group_index=n, chord=body)
                backend.mark_as_done(f"m{n}", n, request=request)

        threads = [threading.Thread(target=run, args=(ends[i::8],)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [due.group_id for due in sent] == ["g"]
        metas = backend.get_task_metas([f"m{n}" for n in range(40)])
        assert [meta["result"] for meta in metas.values()] == list(range(40))


def test_a_body_that_could_not_be_sent_is_found_by_others(make_app, monkeypatch):
    from celery.backends import chords

    monkeypatch.setattr(chords, "RELAY_LEASE", 0.0)
    app = make_app(fleet="celeriac")
    backend, sent = app.backend, []

    def fails(due):
        raise OSError("killed here")

    backend.chords.relay = fails
    body = app.signature("body", options={"task_id": "the-body"})
    backend.set_chord_size("g", 1)
    request = Context(id="m", group="g", group_index=0, chord=body)
    with pytest.raises(OSError, match="killed here"):
        backend.mark_as_done("m", 5, request=request)
    other = make_app(fleet="celeriac").backend
    other.chords.relay = sent.append
    assert other.get_result("m") == 5
    assert (other.chords.sweep(), [due.group_id for due in sent]) == (1, ["g"])
    assert other.chords.admit("the-body", "g/one")
    assert other.chords.admit("the-body", "g/one")
    assert not other.chords.admit("the-body", "g/two")
    assert "celeriac_chord" not in make_app().backend._tables.metadata.tables
