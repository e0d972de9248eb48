"""Several URLs for one broker: which is tried next when the present one fails."""

from __future__ import annotations

import os
import random
import threading
import weakref
from itertools import cycle
from typing import TYPE_CHECKING

from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    #: Makes an iterator over URLs out of all of them; it is made again when it ends.
    Strategy = Callable[[Sequence[str]], Iterator[str]]


def split_urls(url: str) -> tuple[str, ...]:
    """The URLs of a `;` list; one that names no scheme has the first one's.

    >>> split_urls("redis://a/1;redis://b/1")
    ('redis://a/1', 'redis://b/1')
    >>> split_urls("amqp://a;b")
    ('amqp://a', 'amqp://b')
    """
    parts = [part for word in url.split(";") if (part := word.strip())]
    if not parts:
        return (url,)
    scheme, separator, _ = parts[0].partition("://")
    return tuple(part if "://" in part or not separator else f"{scheme}://{part}" for part in parts)


def shuffled(urls: Sequence[str]) -> Iterator[str]:
    """Every URL in random order, for ever; never the same twice in a row."""
    last = None
    while True:
        order = random.sample(list(urls), len(urls))
        if len(order) > 1 and order[0] == last:
            order.append(order.pop(0))
        yield from order
        last = order[-1]


#: The strategies that have names.
STRATEGIES: dict[str, Strategy] = {"round-robin": cycle, "shuffle": shuffled}


def strategy_of(value: str | Strategy | None) -> Strategy:
    """Read `broker_failover_strategy`; None is round-robin.

    Raises:
        ImproperlyConfigured: it is neither a known name nor a callable.
    """
    if value is None:
        return STRATEGIES["round-robin"]
    if callable(value):
        return value
    try:
        return STRATEGIES[value]
    except (KeyError, TypeError):
        raise ImproperlyConfigured(
            f"broker_failover_strategy is {value!r}: expected {', '.join(map(repr, STRATEGIES))} or a callable "
            "that makes an iterator over the URLs it is given."
        ) from None


class Failover:
    """The URL to connect to now. Thread-safe; one for everything that connects together.

    A lost connection is first made again where it was; only a failed attempt moves on.

    Args:
        urls: at least one, the preferred one first.
        strategy: as `broker_failover_strategy` has it.
    """

    def __init__(self, urls: Sequence[str], strategy: str | Strategy | None = None) -> None:
        self.urls = tuple(urls)
        self._strategy = strategy_of(strategy)
        self._lock = threading.Lock()
        self._order: Iterator[str] = iter(())
        self.current = self._advance()
        _all.add(self)

    def __len__(self) -> int:
        return len(self.urls)

    def failed(self, url: str) -> str:
        """An attempt at `url` failed: return the one to try next. Whoever fails second at the same one moves
        nothing."""
        with self._lock:
            if url == self.current:
                self.current = self._advance()
            return self.current

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have been about to move on."""
        self._lock = threading.Lock()
        self._order = iter(())

    def _advance(self) -> str:
        for _ in range(2):
            for url in self._order:
                return url
            self._order = iter(self._strategy(self.urls))
        raise ImproperlyConfigured(
            f"broker_failover_strategy {self._strategy!r} gave none of {len(self.urls)} URLs."
        )


_all: weakref.WeakSet[Failover] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
