"""What comes later in a workflow, in Redis: one hash for each part, renewed whenever it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery.backends.stored_graphs import OVER, REMEMBERED, GraphLost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from celery.wire.resp import Command

    from .backend import RedisBackend


class RedisShelf:
    """See `celery.backends.stored_graphs.Shelf`.

    Args:
        seconds: of life; None: for ever.
    """

    def __init__(self, backend: RedisBackend, seconds: Callable[[], int | None]) -> None:
        self._backend = backend
        self._seconds = seconds

    def keep(self, parts: Mapping[str, Sequence[bytes]]) -> None:
        """See `Shelf`."""
        commands: list[Command] = []
        for name, items in parts.items():
            key = self._key(name)
            pairs = [word for index, item in enumerate(items) for word in (index, item)]
            commands += [("HSET", key, *pairs), *self._renewed(key)]
        self._backend.carry_out(*commands)

    def fetch(self, name: str, index: int) -> bytes | None:
        """See `Shelf`."""
        key = self._key(name)
        (item, over), *_ = self._backend.carry_out(("HMGET", key, index, OVER), *self._renewed(key))
        if item is None and over is None:
            raise GraphLost(name)
        return None if item is None else bytes(item)

    def drop(self, name: str) -> None:
        """See `Shelf`."""
        key = self._key(name)
        self._backend.carry_out(("DEL", key), ("HSET", key, OVER, 1), ("EXPIRE", key, REMEMBERED))

    def _renewed(self, key: str) -> Sequence[tuple[str, str, int]]:
        seconds = self._seconds()
        return (("EXPIRE", key, seconds),) if seconds else ()

    def _key(self, name: str) -> str:
        return str(self._backend.get_key_for_group(name, ".g"))
