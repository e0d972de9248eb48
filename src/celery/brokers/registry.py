"""Which driver serves which URL."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .base import BrokerOptions, BrokerRefused
from .failover import split_urls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Broker


class _Driver(NamedTuple):
    """Where a driver lives.

    Attributes:
        extra: what brings the packages it needs.
        failover: it takes several URLs (`BrokerOptions.urls`).
    """

    module: str
    name: str
    extra: str = ""
    failover: bool = True


_KOMBU = "celery.brokers.kombu.adapter"

#: Scheme -> driver. Imported when first used: nobody pays for drivers he does not use.
DRIVERS: dict[str, _Driver] = {
    "memory": _Driver("celery.brokers.memory.broker", "open_memory", failover=False),
    "sqlite": _Driver("celery.brokers.sqlite.broker", "SqliteBroker", failover=False),
    **dict.fromkeys(
        (
            "redis",
            "rediss",
            "redis+socket",
            "redis+cluster",
            "rediss+cluster",
            "sentinel",
            "sentinels",
            "valkey",
            "valkeys",
        ),
        _Driver("celery.brokers.redis.broker", "RedisBroker", extra="redis"),
    ),
    "amqp": _Driver("celery.brokers.rabbitmq.broker", "RabbitBroker"),
    "amqps": _Driver("celery.brokers.rabbitmq.broker", "RabbitBroker"),
    "pyamqp": _Driver("celery.brokers.rabbitmq.broker", "RabbitBroker"),
    # Celery's name for a C library that is gone.
    "librabbitmq": _Driver("celery.brokers.rabbitmq.broker", "RabbitBroker"),
}
#: Schemes that kombu's transports serve -> the extra that brings what they need.
ADAPTED: dict[str, str] = {
    "SLMQ": "slmq",
    "SQS": "sqs",
    "azureservicebus": "azureservicebus",
    "azurestoragequeues": "azurestoragequeues",
    "confluentkafka": "confluentkafka",
    "consul": "consul",
    "etcd": "etcd",
    "filesystem": "",
    "gcpubsub": "gcpubsub",
    "kafka": "confluentkafka",
    "mongodb": "mongodb",
    "pgmq": "pgmq",
    "pyro": "pyro",
    "qpid": "qpid",
    "slmq": "slmq",
    "sqla": "sqlalchemy",
    "sqlalchemy": "sqlalchemy",
    "sqs": "sqs",
    "zookeeper": "zookeeper",
}


class UnknownTransport(KeyError):
    """No driver for the scheme of a broker URL; a `KeyError` as stock Celery raises."""

    def __str__(self) -> str:
        return str(self.args[0])


def scheme_of(url: str) -> str:
    """The scheme of a broker URL; a bare word is a scheme.

    >>> scheme_of('memory://'), scheme_of('sqlite')
    ('memory', 'sqlite')
    """
    return url.partition("://")[0].strip()


def open_broker(url: str | Sequence[str], options: BrokerOptions | None = None) -> Broker:
    """The broker that a URL names. Opening does no I/O.

    Args:
        url: one, or several for failover: in a sequence, or joined by `;`. The driver is made with all of them
            joined by `;`, and with `BrokerOptions.urls`.

    Raises:
        UnknownTransport: (a KeyError) neither we nor kombu have a driver for this scheme.
        ImportError: the driver needs a package that is not installed; the message names the extra.
        BrokerRefused: the URL makes no sense to its driver, or the URLs want different drivers.
    """
    options = options or BrokerOptions()
    given = (url,) if isinstance(url, str) else tuple(url)
    if options.transport:
        driver = _Driver(_KOMBU, "KombuBroker")
        urls = tuple(one for text in given for one in split_urls(text))
    else:
        driver = driver_of(given[0])
        urls = tuple(one for text in given for one in split_urls(text)) if driver.failover else given
        _check_alternates(driver, urls)
    try:
        made = getattr(import_module(driver.module), driver.name)
        opened: Broker = made(";".join(urls), msgspec.structs.replace(options, urls=urls))
    except ImportError as error:
        if not driver.extra:
            raise
        raise ImportError(
            f"The broker {scheme_of(given[0])}:// needs {_package(error)}, which is not installed: "
            f"pip install 'celeriac[{driver.extra}]'"
        ) from error
    return opened


def driver_of(url: str) -> _Driver:
    """The driver for a URL: a native one, or kombu's transport.

    Raises:
        UnknownTransport: there is none.
    """
    scheme = scheme_of(url)
    base = scheme.partition("+")[0]
    for name in (scheme, base):
        if name in DRIVERS:
            return DRIVERS[name]
        if name in ADAPTED:
            return _Driver(_KOMBU, "KombuBroker", ADAPTED[name])
    if _registered(scheme) or _registered(base):
        return _Driver(_KOMBU, "KombuBroker")
    known = sorted({*DRIVERS, *ADAPTED})
    from difflib import get_close_matches  # noqa: PLC0415 - every program would load it

    near = get_close_matches(base.lower(), known, n=2, cutoff=0.6)
    hint = f"Did you mean {' or '.join(f'{name}://' for name in near)}? " if near else ""
    raise UnknownTransport(
        f"No such transport: {scheme}. {hint}Known are {', '.join(f'{name}://' for name in known)}, and what "
        "is registered in kombu.transport.TRANSPORT_ALIASES."
    )


def _registered(scheme: str) -> bool:
    """Whether a program has given kombu a transport of its own: only if kombu has been imported can it have."""
    module = sys.modules.get("kombu.transport")
    return module is not None and scheme in module.TRANSPORT_ALIASES and scheme not in _STOCK


#: What kombu has for schemes that are ours.
_STOCK = frozenset(
    ("amqp", "amqps", "librabbitmq", "memory", "pyamqp", "redis", "rediss", "sentinel", "sqlite")
)


def _check_alternates(driver: _Driver, urls: Sequence[str]) -> None:
    if len(urls) > 1 and not driver.failover:
        raise BrokerRefused(f"{scheme_of(urls[0])}:// has no failover: give one URL, not {len(urls)}.")
    for url in urls[1:]:
        other = driver_of(url)
        if (other.module, other.extra) != (driver.module, driver.extra):
            raise BrokerRefused(
                f"Failover from {scheme_of(urls[0])}:// to {scheme_of(url)}:// is not possible: all URLs of a list must "
                "be of the same kind."
            )


def _package(error: ImportError) -> str:
    """What is missing; kombu's transports say so in their own words."""
    return error.name or f"a package ({error})"
