"""Which driver serves which URL, and what is said when none does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from celery.brokers.base import BrokerRefused
from celery.brokers.registry import open_broker


@pytest.mark.parametrize("url", ["nonsense://x", "nonsense"])
def test_unknown_scheme(url):
    with pytest.raises(KeyError) as caught:
        open_broker(url)
    scheme = url.partition(":")[0]
    assert str(caught.value).startswith(f"No such transport: {scheme}. This version knows ")
    assert "redis://" in str(caught.value)
    assert "sqlite://" in str(caught.value)


def test_opening_touches_nothing(tmp_path):
    open_broker(f"sqlite:///{tmp_path}/a/store.db")
    open_broker("sqlite:///relative.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://host/store.db", "has no host"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///x?synchronous=MAYBE", "MAYBE"),
    ],
)
def test_urls_that_make_no_sense(url, said):
    with pytest.raises(BrokerRefused, match=said):
        open_broker(url)


def test_memory_is_shared_by_name():
    from celery.brokers.topology import Queue

    open_broker("memory://registry-test").declare([Queue("q")])
    assert open_broker("memory://registry-test").has_queue("q")
    assert not open_broker("memory://registry-other").has_queue("q")


@pytest.mark.parametrize("url", ["memory://", "sqlite:///x.db"])
def test_senders_load_neither_asyncio_nor_kombu(url, tmp_path):
    program = (
        "import sys, time\n"
        "from celery.brokers.base import Outgoing\n"
        "from celery.brokers.registry import open_broker\n"
        "from celery.brokers.topology import Queue\n"
        "from celery.message.headers import LazyObject\n"
        "empty = LazyObject(value={})\n"
        f"publisher = open_broker({url!r}).publisher()\n"
        "queue = Queue('q')\n"
        "message = Outgoing(b'', empty, empty, routing_key='q', declare=[queue])\n"
        "assert publisher.publish([message], deadline=time.monotonic() + 9) == [None]\n"
        "print({'kombu', 'asyncio', 'concurrent.futures'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
