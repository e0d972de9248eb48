"""Which driver serves which URL."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from .base import BrokerOptions

if TYPE_CHECKING:
    from .base import Broker


class _Driver(NamedTuple):
    """Where a driver lives, and the extra that brings what it needs."""

    module: str
    name: str
    extra: str = ""


#: Scheme -> driver. Imported when first used: nobody pays for drivers he does not use.
DRIVERS: dict[str, _Driver] = {
    "memory": _Driver("celery.brokers.memory.broker", "open_memory"),
    "sqlite": _Driver("celery.brokers.sqlite.broker", "SqliteBroker"),
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


def open_broker(url: str, options: BrokerOptions | None = None) -> Broker:
    """The broker that a URL names. Opening does no I/O.

    Raises:
        UnknownTransport: (a KeyError) no driver has this scheme, in this version.
        ImportError: the driver needs a package that is not installed; the message names the extra.
        BrokerRefused: the URL makes no sense to its driver.
    """
    scheme = scheme_of(url)
    driver = DRIVERS.get(scheme)
    if driver is None:
        raise UnknownTransport(
            f"No such transport: {scheme}. This version knows {', '.join(f'{name}://' for name in sorted(DRIVERS))}; "
            "brokers with a server of their own (Redis, RabbitMQ, ...) are not supported by it yet."
        )
    try:
        module = import_module(driver.module)
    except ImportError as error:
        if not driver.extra:
            raise
        raise ImportError(
            f"The broker {scheme}:// needs {error.name}, which is not installed: pip install 'celeriac[{driver.extra}]'"
        ) from error
    opened: Broker = getattr(module, driver.name)(url, options or BrokerOptions())
    return opened
