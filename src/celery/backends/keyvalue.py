"""Backends over key-value stores. Public as `celery.backends.base`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import BackendStoreError

from .core import Backend
from .encoding import PENDING_META
from .pending import SyncBackendMixin
from .simple_chords import CountingChords

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chords import Chords

    Meta = dict[str, Any]


def _ensure_bytes(key: Any) -> bytes:
    return key.encode() if isinstance(key, str) else bytes(key)


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)


class BaseKeyValueStoreBackend(Backend):
    """A result backend over a store of keys and values.

    A subclass gives `get`, `mget`, `set`, `delete`, and where the store can do it `incr` and `expire`. Keys are
    what `key_t` makes of them: bytes unless overridden.
    """

    @staticmethod
    def key_t(s: Any) -> Any:
        """A key, or a part of one, in the form that the store wants; bytes here."""
        return _ensure_bytes(s)

    task_keyprefix: Any = "celery-task-meta-"
    group_keyprefix: Any = "celery-taskset-meta-"
    chord_keyprefix: Any = "chord-unlock-"
    #: The store can count (`incr`).
    implements_incr = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        prefix = self._global_keyprefix()
        for name in ("task_keyprefix", "group_keyprefix", "chord_keyprefix"):
            setattr(self, name, self.key_t(prefix + _text(getattr(self, name))))

    def _global_keyprefix(self) -> str:
        prefix = str((self.app.conf.result_backend_transport_options or {}).get("global_keyprefix") or "")
        return f"{prefix}_" if prefix and prefix[-1] not in ":_-." else prefix

    # -- what a driver gives

    def get(self, key: Any) -> Any:
        """The value stored under a key; None if there is none."""
        self._lacks("get")

    def mget(self, keys: Sequence[Any]) -> Any:
        """Values in the order of the keys (None where there is none), or a mapping of those that exist. Unless a store has a
        better way, it is asked for one after the other."""
        return [self.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> Any:
        """Store a value; it may be forgotten after `self.expires` seconds."""
        self._lacks("set")

    def delete(self, key: Any) -> Any:
        """Remove a key, if it is there."""
        self._lacks("delete")

    def _add(self, key: Any, value: Any) -> bool:
        """Store a short text unless there is one; whether it was stored. Drivers give it if one step can do it."""
        # Who counts first is about to store; if it has died in between, nobody else will.
        if self.incr(self.key_t(key) + self.key_t(".first")) > 1:
            for _ in range(20):
                if self.get(key) is not None:
                    return False
                time.sleep(0.05)
        self.set(key, value)
        return True

    def incr(self, key: Any) -> int:
        """Add one to a number and return the sum; a missing key counts as 0."""
        self._lacks("incr")

    def expire(self, key: Any, value: Any) -> Any:
        """Let a key vanish in `value` seconds."""
        self._lacks("expire")

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        return self.set(key, value)

    # -- keys

    def get_key_for_task(self, task_id: str, key: Any = "") -> Any:
        """The key of a task's meta."""
        if not task_id:
            raise ValueError(f"task_id must not be empty. Got {task_id} instead.")
        return self._get_key_for(self.task_keyprefix, task_id, key)

    def get_key_for_group(self, group_id: str, key: Any = "") -> Any:
        """The key of a group's result."""
        if not group_id:
            raise ValueError(f"group_id must not be empty. Got {group_id} instead.")
        return self._get_key_for(self.group_keyprefix, group_id, key)

    def get_key_for_chord(self, group_id: str, key: Any = "") -> Any:
        """The key of a chord's counter."""
        if not group_id:
            raise ValueError(f"group_id must not be empty. Got {group_id} instead.")
        return self._get_key_for(self.chord_keyprefix, group_id, key)

    def _get_key_for(self, prefix: Any, id: str, key: Any = "") -> Any:  # noqa: A002 - Celery's name
        key_t = self.key_t
        return key_t("").join([key_t(prefix), key_t(id), key_t(key)])

    def _strip_prefix(self, key: Any) -> str:
        key = self.key_t(key)
        for prefix in (self.task_keyprefix, self.group_keyprefix):
            if key.startswith(self.key_t(prefix)):
                return _text(key[len(prefix) :])
        return _text(key)

    # -- chords

    @property
    def chord_expires(self) -> Any:
        """Seconds for which the books of a chord are kept; None or 0: for ever."""
        expires = self.app.conf.result_chord_expires
        return self.expires if expires is None else expires

    def make_chords(self) -> Chords:
        """By counting, if the store can."""
        return CountingChords(self) if self.implements_incr else super().make_chords()

    # -- metas

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        # A success stays: what a worker that was taken for dead says later does not count.
        if self._get_task_meta_for(task_id)["status"] == states.SUCCESS:
            return result
        value = self._encoded_meta(str(task_id), result, state, traceback, request)
        try:
            self._set_with_state(self.get_key_for_task(task_id), value, state)
        except BackendStoreError as exc:
            raise BackendStoreError(str(exc), state=state, task_id=task_id) from exc
        return result

    def _get_task_meta_for(self, task_id: str) -> Meta:
        payload = self.get(self.get_key_for_task(task_id))
        return self.decode_result(payload) if payload else dict(PENDING_META)

    def _get_task_metas_for(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        ids = list(task_ids)
        found = self._mget_to_results(self.mget([self.get_key_for_task(task_id) for task_id in ids]), ids)
        return {task_id: found.get(task_id) or dict(PENDING_META) for task_id in ids}

    def _mget_to_results(self, values: Any, keys: Sequence[Any]) -> dict[Any, Meta]:
        if isinstance(values, Mapping):
            pairs: Any = ((self._strip_prefix(key), value) for key, value in values.items())
        else:
            pairs = zip(map(_text, keys), values, strict=True)
        return {key: self.decode_result(value) for key, value in pairs if value}

    # -- groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        self.set(self.get_key_for_group(group_id), self.encode({"result": result.as_tuple()}))
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        payload = self.get(self.get_key_for_group(group_id))
        if not payload:
            return None
        meta: Meta = self.decode(payload)
        return {**meta, "result": self._group_from_tuple(meta["result"])}

    def _delete_group(self, group_id: str) -> None:
        self.delete(self.get_key_for_group(group_id))


class KeyValueStoreBackend(BaseKeyValueStoreBackend, SyncBackendMixin):
    """Base of backends over key-value stores."""
