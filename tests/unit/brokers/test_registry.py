"""Which driver serves which URL, and what is said when none does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from celery.brokers.base import BrokerOptions, BrokerRefused
from celery.brokers.registry import open_broker


@pytest.mark.parametrize("url", ["nonsense://x", "nonsense", "://"])
def test_unknown_scheme(url):
    with pytest.raises(KeyError) as caught:
        open_broker(url)
    said = str(caught.value)
    assert said.startswith(f"No such transport: {url.partition(':')[0]}. Known are ")
    assert "filesystem://" in said


@pytest.mark.parametrize(
    ("url", "near"), [("filesytem://", "filesystem"), ("SQSS://", "sqs"), ("mongo://x", "mongodb")]
)
def test_near_names(url, near):
    with pytest.raises(KeyError, match=f"Did you mean .*{near}://"):
        open_broker(url)


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("azureservicebus://a:b@c", "azureservicebus"),
        ("confluentkafka://h", "confluentkafka"),
        ("gcpubsub://projects/p", "gcpubsub"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(url, extra):
    try:
        open_broker(url)
    except ImportError as error:
        assert f"pip install 'celeriac[{extra}]'" in str(error)  # noqa: PT017
    else:
        pytest.skip(f"what {extra} needs is installed")


@pytest.mark.parametrize("scheme", ["amqp", "pyamqp", "librabbitmq"])
def test_names_of_rabbitmq(scheme):
    assert type(open_broker(f"{scheme}://guest@localhost//")).__name__ == "RabbitBroker"


def test_a_transport_that_is_given_as_a_class():
    broker = open_broker("memory://", BrokerOptions(transport="kombu.transport.memory:Transport"))
    assert type(broker).__name__ == "KombuBroker"
    assert not broker.capabilities.shared


def test_a_transport_that_a_program_has_registered(monkeypatch):
    from kombu.transport import TRANSPORT_ALIASES

    monkeypatch.setitem(TRANSPORT_ALIASES, "mine", "kombu.transport.memory:Transport")
    assert type(open_broker("mine://")).__name__ == "KombuBroker"


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
