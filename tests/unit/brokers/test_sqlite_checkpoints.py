"""The log of the embedded store is written back by a thread that nobody waits for."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from tests.support import wait_until

from celery.brokers.sqlite import checkpoints
from celery.brokers.sqlite.checkpoints import Checkpointer, checkpoint
from celery.brokers.sqlite.database import Database


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "store.db")
    yield database
    database.close()


def fill(database, rows, start=0):
    for number in range(start, start + rows):
        with database.transaction() as connection:
            connection.execute("INSERT INTO result VALUES (?, ?, NULL)", (f"k{number}", b"x" * 3000))


def in_file_alone(database, tmp_path):
    """How many results there are without the log."""
    alone = tmp_path / "alone.db"
    shutil.copyfile(database.path, alone)
    connection = sqlite3.connect(alone)
    try:
        return connection.execute("SELECT count(*) FROM result").fetchone()[0]
    except sqlite3.OperationalError:  # not even the tables
        return 0
    finally:
        connection.close()


def test_what_was_written_reaches_the_file_when_enough_was(database, tmp_path):
    checkpointer = Checkpointer(database)
    fill(database, 50)
    checkpointer.wrote(checkpoints.EVERY // 2)
    assert in_file_alone(database, tmp_path) == 0
    checkpointer.wrote(checkpoints.EVERY // 2)
    wait_until(lambda: in_file_alone(database, tmp_path) == 50)
    fill(database, 50, 50)
    checkpointer.wrote(checkpoints.EVERY)
    wait_until(lambda: in_file_alone(database, tmp_path) == 100)
    checkpointer.close()


def test_a_checkpoint_waits_for_nobody(database, tmp_path):
    checkpointer = Checkpointer(database)
    fill(database, 10)
    with database.transaction() as connection:  # the write lock is held all the time
        connection.execute("INSERT INTO result VALUES ('open', x'00', NULL)")
        checkpointer.wrote(checkpoints.EVERY)
        wait_until(lambda: in_file_alone(database, tmp_path) == 10)
    checkpointer.close()


def test_a_long_log_is_begun_anew(database, monkeypatch):
    monkeypatch.setattr(checkpoints, "LONG", 100)
    fill(database, 200)
    checkpoint(database.connection())
    fill(database, 1, 1000)
    _, pages, _ = database.connection().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert pages < 100
    assert database.connection().execute("PRAGMA busy_timeout").fetchone() == (0,)


def test_without_a_checkpointer_sqlite_bounds_the_log(database):
    fill(database, 9000)
    assert Path(f"{database.path}-wal").stat().st_size < 10_000 * 4200


def test_it_ends_with_its_worker(database):
    checkpointer = Checkpointer(database)
    checkpointer.close()  # never began
    checkpointer = Checkpointer(database)
    checkpointer.wrote(checkpoints.EVERY)
    checkpointer.close()
    assert not checkpointer._thread.is_alive()
