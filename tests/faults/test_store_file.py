"""What can be wrong with the store's file: one clear error that names it, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from celery import exceptions
from celery.brokers.base import BrokerOptions, BrokerRefused, BrokerUnavailable, Outgoing
from celery.brokers.publishing import RetryPolicy, publish
from celery.brokers.registry import open_broker
from celery.brokers.sqlite import location, schema
from celery.brokers.sqlite.database import Database
from celery.brokers.topology import Queue
from celery.message.headers import LazyObject
from tests.conformance.brokers.tools import Recorder

QUEUE = Queue("work")


def outgoing(body=b"x"):
    return Outgoing(body, LazyObject(value={}), LazyObject(value={}), routing_key="work", declare=[QUEUE])


def send(broker, body=b"x", seconds=5.0):
    return broker.publisher().publish([outgoing(body)], deadline=time.monotonic() + seconds)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def broker(path):
    made = open_broker(f"sqlite:///{path}", BrokerOptions(transport_options={"lease": 1.0}))
    yield made
    made.close()


def test_a_folder_instead_of_a_file(path, broker):
    path.mkdir()
    with pytest.raises(BrokerRefused, match=r"store.db: this is a folder"):
        send(broker)


def test_a_folder_that_does_not_exist(tmp_path):
    broker = open_broker(f"sqlite:///{tmp_path}/no/such/store.db")
    with pytest.raises(BrokerRefused, match="does not exist"):
        send(broker)
    assert not (tmp_path / "no").exists()


def test_the_projects_own_folder_is_made(tmp_path):
    broker = open_broker(f"sqlite:///{tmp_path}/.celery/store.db")
    assert not (tmp_path / ".celery").exists()
    send(broker)
    assert (tmp_path / ".celery" / ".gitignore").read_text() == "*\n"
    broker.close()


def test_not_a_database(path, broker):
    path.write_bytes(b"This is no database at all." * 1000)
    with pytest.raises(BrokerRefused, match=r"store\.db: this is not a store"):
        send(broker)
    assert path.read_bytes().startswith(b"This is no database")


def test_another_programs_database(path, broker):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE auth_user (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(BrokerRefused, match="belongs to another program"):
        send(broker)
    assert path.read_bytes() == before


def test_a_newer_store(path, broker):
    send(broker)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(BrokerRefused, match="a newer version of Celeriac wrote this store"):
        open_broker(broker.url).size("work")
    with pytest.raises(exceptions.OperationalError, match=r"store\.db: a newer version"):
        publish(open_broker(broker.url).publisher(), [outgoing()], RetryPolicy())


def test_a_damaged_file(path, broker):
    for number in range(200):
        send(broker, b"%d" % number * 100)
    broker.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(BrokerRefused, match=r"store\.db: the file is damaged"):
        send(broker)


def test_a_lock_that_is_not_released(path, broker):
    send(broker)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(BrokerUnavailable, match=r"store\.db: another process has held the store's lock"):
        send(broker, seconds=0.2)
    with pytest.raises(exceptions.OperationalError, match=r"store\.db.*task_publish_timeout is over"):
        publish(broker.publisher(), [outgoing()], RetryPolicy(), time.monotonic() + 0.2, url=broker.url)
    connection.execute("ROLLBACK")
    connection.close()
    assert send(broker) == [None]
    assert broker.size("work") == 2


def test_other_threads_are_told_too_when_the_lock_is_held(path, broker):
    send(broker)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    outcomes = []

    def run():
        try:
            outcomes.append(send(broker, seconds=0.3))
        except BrokerUnavailable as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection.execute("ROLLBACK")
    connection.close()
    assert len(outcomes) == 5
    assert all(isinstance(outcome, BrokerUnavailable) for outcome in outcomes)
    assert broker.size("work") == 1


def test_network_file_systems_are_refused():
    mounts = (
        "/dev/sda / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/sdb /home/local\\040disk xfs rw 0 0\n"
        "//box/share /mnt/share cifs rw 0 0\nme@host: /mnt/ssh fuse.sshfs rw 0 0\n"
    )
    assert location.file_system_of("/srv/store.db", mounts) == "ext4"
    assert location.file_system_of("/home/local disk/store.db", mounts) == "xfs"
    location.refuse_network("/homework/store.db", mounts)
    for path, kind in (
        ("/home/me/store.db", "nfs4"),
        ("/mnt/share/s.db", "cifs"),
        ("/mnt/ssh/s.db", "fuse.sshfs"),
    ):
        with pytest.raises(BrokerRefused, match=f"{path}: it lies on a network file system .{kind}"):
            location.refuse_network(path, mounts)


def test_a_store_that_is_removed_under_a_running_program(path, broker):
    send(broker)

    async def test():
        seen = Recorder()
        consumer = broker.consumer("w")
        await consumer.start([QUEUE], seen)
        consumer.allow(10)
        await seen.count(1)
        for file in path.parent.glob("store.db*"):
            file.unlink()
        assert send(broker, b"after") == [None]
        await seen.count(2)
        assert seen.bodies == ["x", "after"]
        await seen.until(lambda: seen.fences)
        await consumer.stop()

    asyncio.run(test())
    assert broker.size("work") == 1


def test_a_consumer_says_that_the_store_is_locked_and_goes_on(path, broker):
    async def test():
        seen = Recorder()
        consumer = broker.consumer("w")
        await consumer.start([QUEUE], seen)
        consumer.allow(1)
        send(broker, b"a")
        send(broker, b"b")
        (delivery,) = await seen.count(1)
        connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        connection.execute("BEGIN IMMEDIATE")
        consumer.ack(delivery)
        await seen.until(lambda: seen.errors)
        assert "store.db" in str(seen.errors[0])
        connection.execute("ROLLBACK")
        connection.close()
        await seen.until(lambda: seen.connects)
        await seen.count(2)
        assert seen.bodies == ["a", "b"]
        assert len(seen.errors) == 1
        await consumer.stop()

    asyncio.run(test())


def test_a_consumer_cannot_start_on_a_folder(path, broker):
    path.mkdir()

    async def test():
        with pytest.raises(BrokerRefused, match="this is a folder"):
            await broker.consumer("w").start([QUEUE], None)

    asyncio.run(test())


def test_many_processes_make_the_store_at_once(path):
    program = (
        "import sys, time\n"
        "from celery.brokers.sqlite.database import Database\n"
        "with Database(sys.argv[1]).transaction() as connection:\n"
        "    connection.execute('INSERT INTO queue (name) VALUES (?)', (sys.argv[2],))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(number)], stderr=subprocess.PIPE)
        for number in range(8)
    ]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 8
    database = Database(path)
    assert database.connection().execute("SELECT count(*) FROM queue").fetchone() == (8,)
    assert database.connection().execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


PUBLISH_FOR_EVER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tests.faults.test_store_file import open_broker, send
broker = open_broker("sqlite:///" + sys.argv[1])
number = 0
while True:
    send(broker, b"%d" % number)
    print(number, flush=True)
    number += 1
"""


def test_publishers_that_are_killed_lose_nothing_and_damage_nothing(path, broker):
    root = str(Path(__file__).parents[2])
    for _ in range(3):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PUBLISH_FOR_EVER, str(path), root], stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        before = broker.size("work")
        for process in processes:
            for _ in range(50):
                process.stdout.readline()
        for process in processes:
            process.kill()
        said = 100 + sum(process.communicate()[0].count(b"\n") for process in processes)
        stored = broker.size("work") - before
        assert said <= stored <= said + len(processes)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def in_own_mounts(script, *arguments):
    """Run a shell script that mounts things, where nobody else sees it."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system does not let a test mount anything")
    return subprocess.run(
        ["unshare", "-rm", "sh", "-ec", script, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


FILL = """
import os, sys
sys.path.insert(0, sys.argv[2])
from tests.faults.test_store_file import BrokerUnavailable, exceptions, open_broker, outgoing, publish, send
folder = sys.argv[1]
broker = open_broker(f"sqlite:///{folder}/store.db")
ballast = os.path.join(folder, "ballast")
with open(ballast, "wb") as file:
    file.write(bytes(500_000))
accepted = 0
try:
    while True:
        send(broker, bytes(5000))
        accepted += 1
except BrokerUnavailable as error:
    print(error)
try:
    publish(broker.publisher(), [outgoing(bytes(100_000))])
except exceptions.OperationalError as error:
    print(error)
assert accepted > 10, accepted
assert broker.size("work") == accepted, (broker.size("work"), accepted)
os.unlink(ballast)
send(broker)
assert broker.size("work") == accepted + 1
"""


def test_a_full_disk(tmp_path):
    root = str(Path(__file__).parents[2])
    done = in_own_mounts(
        'mount -t tmpfs -o size=3m none "$1"; exec "$2" -c "$3" "$1" "$4"',
        tmp_path,
        sys.executable,
        FILL,
        root,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/store.db: the disk is full")
    assert second.startswith(f"Cannot publish: {tmp_path}/store.db: the disk is full")


def test_a_read_only_file_system(path, broker):
    send(broker)
    broker.close()
    root = str(Path(__file__).parents[2])
    program = (
        "import sys\nsys.path.insert(0, sys.argv[2])\n"
        "from tests.faults.test_store_file import BrokerRefused, open_broker, send\n"
        "try:\n    send(open_broker('sqlite:///' + sys.argv[1]))\n"
        "except BrokerRefused as error:\n    print(error)\n"
    )
    done = in_own_mounts(
        'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; exec "$2" -c "$3" "$4" "$5"',
        path.parent,
        sys.executable,
        program,
        path,
        root,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: ")
    assert "read-only" in done.stdout or "cannot be opened" in done.stdout
    assert send(broker) == [None]
    assert broker.size("work") == 2
