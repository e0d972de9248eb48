"""Which driver serves which URL."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

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
        UnknownTransport: (a KeyError) no driver has this scheme, in this version.
        ImportError: the driver needs a package that is not installed; the message names the extra.
        BrokerRefused: the URL makes no sense to its driver, or the URLs want different drivers.
    """
    options = options or BrokerOptions()
    given = (url,) if isinstance(url, str) else tuple(url)
    driver = _driver_of(given[0])
    urls = tuple(one for text in given for one in split_urls(text)) if driver.failover else given
    _check_alternates(driver, urls)
    opened: Broker = _made(driver, given[0])(";".join(urls), replace(options, urls=urls))
    return opened


def _driver_of(url: str) -> _Driver:
    scheme = scheme_of(url)
    driver = DRIVERS.get(scheme)
    if driver is None:
        raise UnknownTransport(
            f"No such transport: {scheme}. This version knows {', '.join(f'{name}://' for name in sorted(DRIVERS))}; "
            "other brokers are not supported by it yet."
        )
    return driver


def _check_alternates(driver: _Driver, urls: Sequence[str]) -> None:
    if len(urls) > 1 and not driver.failover:
        raise BrokerRefused(f"{scheme_of(urls[0])}:// has no failover: give one URL, not {len(urls)}.")
    for url in urls[1:]:
        if _driver_of(url).module != driver.module:
            raise BrokerRefused(
                f"Failover from {scheme_of(urls[0])}:// to {scheme_of(url)}:// is not possible: all URLs of a list must "
                "be of the same kind."
            )


def _made(driver: _Driver, url: str) -> Any:
    try:
        module = import_module(driver.module)
    except ImportError as error:
        if not driver.extra:
            raise
        raise ImportError(
            f"The broker {scheme_of(url)}:// needs {error.name}, which is not installed: pip install 'celeriac[{driver.extra}]'"
        ) from error
    return getattr(module, driver.name)
