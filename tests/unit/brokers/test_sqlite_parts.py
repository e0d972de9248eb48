"""The small parts of the store: wake-up, clock, schema."""

from __future__ import annotations

import os
import select
import sqlite3
import subprocess
import sys

import pytest

from celery.brokers.sqlite import clock, leases, schema, strokes
from celery.brokers.sqlite.database import Database
from celery.brokers.sqlite.wakeup import Listener, nudge


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "store.db")
    yield made
    made.close()


def test_nudges_wake_and_are_drained():
    listener = Listener()
    assert nudge([listener.address, "celery-nobody-there"]) == ["celery-nobody-there"]
    assert select.select([listener], [], [], 5)[0] == [listener]
    assert listener.drain() == 1
    assert listener.drain() == 0
    for _ in range(1000):  # a full socket blocks nobody
        assert nudge([listener.address]) == []
    listener.close()
    assert nudge([listener.address]) == [listener.address]


def test_processes_that_have_ended_are_known():
    process = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE)
    signed = clock.this_process().replace(str(os.getpid()), str(process.pid))
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert clock.state_of(process.pid) in ("Z", "")
    if clock.state_of(process.pid):
        assert not clock.is_gone(signed, doubtful=False)
        assert clock.is_gone(signed, doubtful=True)
    process.wait()
    process.stdin.close()
    assert clock.is_gone(signed, doubtful=False)
    assert not clock.is_gone(clock.this_process(), doubtful=True)
    assert not clock.is_gone("pid:[1] 5 1", doubtful=True)  # of another namespace: nothing is known


def test_an_id_that_is_used_again_is_another_process():
    namespace, born, pid = clock.this_process().rsplit(" ", 2)
    assert int(pid) == os.getpid()
    if not born:
        pytest.skip("this system does not say when a process began")
    dead = f"{namespace} {int(born) - 1} {pid}"
    assert clock.is_gone(dead, doubtful=True)
    fetcher = leases.Other(1, "fetcher", dead, clock.boot(), leases.LIFELONG)
    assert leases.is_dead(fetcher, trusting=False, doubtful_after=5), "or what it held would wait for ever"


def test_a_lease_of_another_boot_is_over():
    other = leases.Other(1, "w", clock.this_process(), "another boot", clock.now() + 1e9)
    assert leases.is_dead(other, trusting=False, doubtful_after=5)


def test_expired_leases_are_believed_only_by_those_who_did_not_stall():
    other = leases.Other(1, "w", clock.this_process(), clock.boot(), clock.now() - 1)
    assert leases.is_dead(other, trusting=True, doubtful_after=5)
    assert not leases.is_dead(other, trusting=False, doubtful_after=5)


def test_the_schema_is_made_once_and_says_what_it_is(database):
    connection = database.connection()
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert connection.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
    assert database.connection() is connection
    assert Database(database.path).connect().execute("SELECT generation FROM topology").fetchone() == (1,)


def test_older_stores_are_migrated(database, monkeypatch):
    database.connect().close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later (x)",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    connection = database.connect()
    assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_a_migration_that_fails_changes_nothing(database, monkeypatch):
    database.connect().close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later (x)", "nonsense")))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(Exception, match="nonsense"):
        database.connect()
    connection = sqlite3.connect(database.path)
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION - 1,)
    assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'later'").fetchone() == (0,)
    connection.close()


def test_a_transaction_is_undone_by_an_exception(database):
    def write():
        with database.transaction() as connection:
            connection.execute("INSERT INTO queue (name) VALUES ('x')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert database.connection().execute("SELECT count(*) FROM queue").fetchone() == (0,)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 200])
def test_lots_keep_order_and_lose_nothing(count):
    rows = list(range(count))
    lots = list(strokes.chunks(rows))
    assert [row for lot in lots for row in lot] == rows
    assert all(len(lot) in (64, 32, 16, 8, 4, 2, 1) for lot in lots)
