import contextvars
import socket
import subprocess
import sys
import threading

import pytest

from celery.utils.threads import (
    Local,
    LocalManager,
    LocalStack,
    bgThread,
    bound_open_broker_sockets,
    default_socket_timeout,
)


def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_stack():
    stack = LocalStack()
    assert stack.pop() is None
    assert stack.top is None
    assert not stack
    top = stack()
    with pytest.raises(RuntimeError, match="unbound"):
        str(top)
    stack.push([1])
    stack.push([2])
    assert top == [2]
    assert (stack.stack, len(stack)) == ([[1], [2]], 2)
    assert in_a_thread(lambda: stack.stack) == []
    assert contextvars.copy_context().run(stack.pop) == [2]
    assert stack.top == [2], "what another context pops stays here"
    assert stack.pop() == [2]
    LocalManager(stack).cleanup()
    assert stack.stack == []


def test_local():
    local = Local()
    local.a = 1
    proxy = local("a")
    assert (local.a, proxy + 1, dict(local)) == (1, 2, {"a": 1})
    assert in_a_thread(lambda: hasattr(local, "a")) is False
    contextvars.copy_context().run(setattr, local, "a", 5)
    assert local.a == 1
    del local.a
    with pytest.raises(AttributeError):
        local.a  # noqa: B018
    with pytest.raises(AttributeError):
        del local.a
    local.b = 2
    manager = LocalManager([local])
    manager.cleanup()
    assert dict(local) == {}
    assert repr(manager) == "<LocalManager storages: 1>"
    assert manager.get_ident() == threading.get_ident()
    assert LocalManager().locals == []


def test_background_thread():
    rounds = threading.Semaphore(0)

    class Worker(bgThread):
        def body(self):
            rounds.release()

    worker = Worker()
    assert worker.daemon
    worker.start()
    rounds.acquire()
    worker.stop()
    assert not worker.is_alive()
    assert worker.name == "Worker"


def test_a_crash_of_a_background_thread_ends_the_process():
    code = (
        "from celery.utils.threads import bgThread\nimport threading\n"
        "class Bad(bgThread):\n    def body(self): raise KeyError('x')\n"
        "Bad(name='bad').start(); threading.Event().wait()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "'bad' crashed: KeyError('x')" in done.stderr


def test_default_socket_timeout():
    before = socket.getdefaulttimeout()
    with default_socket_timeout(3.5):
        assert socket.getdefaulttimeout() == 3.5
    assert socket.getdefaulttimeout() == before


def test_open_broker_sockets_get_a_timeout():
    left, right = socket.socketpair()
    other, unused = socket.socketpair()
    unused.close()

    class Bag:
        def __init__(self, **kwargs):
            self.__dict__.update(kwargs)

    other.settimeout(0.5)
    pooled = Bag(client=Bag(connection=Bag(_sock=other)))
    connection = Bag(_connection=Bag(transport=Bag(sock=left), channels=[pooled]))
    with left, right, other:
        with bound_open_broker_sockets(connection, 2.0):
            assert left.gettimeout() == 2.0
            assert other.gettimeout() == 0.5, "never loosened"
        assert left.gettimeout() is None
        with bound_open_broker_sockets(connection, None):
            assert left.gettimeout() is None
    with bound_open_broker_sockets(Bag(_connection=None), 2.0):
        pass
