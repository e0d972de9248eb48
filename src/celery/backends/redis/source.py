"""Redis as those see it who wait for results: see `celery.backends.waiting.Source`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery import states
from celery.backends.encoding import unreadable
from celery.brokers.base import BrokerUnavailable
from celery.exceptions import BackendGetMetaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .backend import RedisBackend
    from .subscription import Subscription

    Meta = dict[str, Any]

logger = logging.getLogger(__name__)

#: Seconds without a look after which an outage is not the same any more.
FORGOTTEN = 5.0


class Source:
    """Redis as one backend reads it."""

    peek_blocks = True

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend
        self._subscription: Subscription | None = None
        self._outage: tuple[float, float] | None = None

    def listen(self) -> Subscription:
        self._subscription = self._backend.subscription(self._read)
        return self._subscription

    @property
    def arm_blocks(self) -> bool:
        return self._subscription is None or not self._subscription.connected

    def arm(self, task_ids: Sequence[str], listener: Any) -> Mapping[str, Meta]:
        """What is there already arrives with the rest."""
        listener.want([self._backend.get_key_for_task(task_id) for task_id in task_ids])
        return {}

    def disarm(self, task_ids: Sequence[str], listener: Any) -> None:
        listener.forget([self._backend.get_key_for_task(task_id) for task_id in task_ids])

    def peek(self, task_ids: Sequence[str]) -> Mapping[str, Meta]:
        """Read them by an ordinary connection.

        Raises:
            BackendGetMetaError: Redis does not answer for longer than we are patient.
        """
        listener = self._subscription
        if listener is not None:
            listener.check()
        keys = [self._backend.get_key_for_task(task_id) for task_id in task_ids]
        try:
            values = self._backend.look_up(keys)
        except BrokerUnavailable as error:
            self._bear(error)
            return {}
        self._outage = None
        metas = {
            key: self._read(key, value) for key, value in zip(keys, values, strict=True) if value is not None
        }
        if listener is not None:
            listener.forget(key for key, meta in metas.items() if meta["status"] in states.READY_STATES)
        return {str(meta["task_id"]): meta for meta in metas.values()}

    def _bear(self, error: BrokerUnavailable) -> None:
        now = time.monotonic()
        began, last = self._outage or (now, 0.0)
        if now - last > FORGOTTEN:
            began = now
            logger.warning("The result store does not answer, waiting for it: %s", error)
        self._outage = (began, now)
        if now - began > self._backend.patience:
            raise BackendGetMetaError(f"Could not read results: {error}") from error

    def _read(self, key: str, value: bytes) -> Meta:
        task_id = key[len(self._backend.task_keyprefix) :]
        try:
            meta = self._backend.decode_result(value)
        except Exception as exc:  # noqa: BLE001 - one bad value must not stop those who wait for others
            return unreadable(task_id, exc)
        meta.setdefault("task_id", task_id)
        return meta
