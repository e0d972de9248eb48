"""The base of all result backends. Public as `celery.backends.base`."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar

from celery import states
from celery._state import current_app, get_current_task
from celery.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    ChordError,
    TimeoutError,  # noqa: A004 - the public name
)
from celery.message import serializers

from .dues import Due
from .ends import TaskEnds
from .groups import GroupStore
from .metas import MetaCodec
from .pending import SyncBackendMixin
from .retrying import Backoff, GiveUp, insist
from .sanitize import without_password
from .simple_chords import NoChords, PollingChords

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from celery.app.base import Celery

    from .chords import Chords
    from .rows import Rows

T = TypeVar("T")
Meta = dict[str, Any]

logger = logging.getLogger("celery.backends.base")

#: What a driver must leave alone for its successes to be written by a template.
_MAKE_METAS = ("_get_result_meta", "_encode", "encode", "current_task_children")

#: Seconds for which a process that is not told to give up tries to store a result.
PATIENCE = 10.0

E_NO_BACKEND = """\
No result backend is configured.
Please see the documentation for more information."""

W_EAGER = (
    "Results are not stored in backend and should not be retrieved when task_always_eager is enabled, "
    "unless task_store_eager_result is enabled."
)


def unpickle_backend(cls: type[Backend], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Backend:
    """Make a pickled backend again, for the current app."""
    current: Any = current_app
    return cls(*args, **{**kwargs, "app": current._get_current_object()})


def _brief(exc: Exception) -> str:
    """The first line of what an error says; some libraries add pages."""
    return str(exc).strip().partition("\n")[0]


class _Recent(OrderedDict[str, Meta]):
    """The metas last read, at most `limit` of them; None: no limit, -1: none at all."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self._limit = limit or None

    def __setitem__(self, key: str, value: Meta) -> None:
        if self._limit == -1:
            return
        super().__setitem__(key, value)
        while self._limit is not None and len(self) > self._limit:
            self.popitem(last=False)


class Backend(MetaCodec, TaskEnds, SyncBackendMixin, GroupStore):
    """Base of all result backends.

    Args:
        app: the application.
        serializer: default `result_serializer`.
        max_cached_results: metas to remember once read; default `result_cache_max`.
        accept: content types that may be read; default `result_accept_content`, else `accept_content`.
        expires: seconds, a timedelta, or 0 for never; default `result_expires`.
        expires_type: what to make of `expires` (`int` for stores that want whole seconds).
        url: where the store is.
    """

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES
    EXCEPTION_STATES = states.EXCEPTION_STATES
    TimeoutError = TimeoutError

    #: Seconds between looks inside one `interval`, for stores that are cheap to ask.
    subpolling_interval: float | None = None
    #: Waiting for many results at once is one operation.
    supports_native_join = False
    #: Results vanish by themselves when they expire; `celery.backend_cleanup` is not needed.
    supports_autoexpire = False
    #: `result_failure_expires` is honoured.
    supports_failure_expires = False
    #: The store can hold bytes, so `result_compression` is honoured.
    supports_result_compression = False
    #: One backend may serve all threads of a process, whatever `result_backend_thread_safe` says.
    shared_by_threads = False
    #: Results are still there after they were read, and for other processes.
    persistent = True
    #: As `persistent`, whatever the user says: what is stored can be read by anybody, any time later.
    keeps_results = True
    retry_policy: ClassVar[dict[str, Any]] = {
        "max_retries": 20,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }
    #: What the claims begin with that this store can check when it stores a result: see `celery.backends.claims`.
    claims = ""
    #: How results are stored many together; None: this store gains nothing by that.
    _rows: Rows[Any] | None = None
    #: How often reading is tried again, unless `result_backend_always_retry` says something.
    read_retries = 0
    #: Assign something like a `threading.Event` to a backend, or to this class for all of a process: storing is
    #: then tried until that is set.
    give_up: GiveUp | None = None

    def __init__(
        self,
        app: Celery,
        serializer: str | None = None,
        max_cached_results: int | None = None,
        accept: Any = None,
        expires: Any = None,
        expires_type: Callable[[Any], Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        conf = app.conf
        self.serializer = serializer or conf.result_serializer
        self.content_type, self.content_encoding, _ = serializers.dumps(None, self.serializer)
        self._cache = _Recent(max_cached_results or conf.result_cache_max)
        self.expires = self.prepare_expires(expires, expires_type)
        source = "accept_content" if conf.result_accept_content is None else "result_accept_content"
        self.accept = serializers.prepare_accept_content(
            conf[source] if accept is None else accept, setting="" if accept else source
        )
        self.compression = self.prepare_compression(conf.result_compression)
        self.always_retry = conf.get("result_backend_always_retry", False)
        # Storing is tried again unless somebody has said that it shall not be.
        self._tries_again = self.always_retry or not conf.value_set_for("result_backend_always_retry")
        self.max_sleep_between_retries_ms = conf.get("result_backend_max_sleep_between_retries_ms", 10000)
        self.base_sleep_between_retries_ms = conf.get("result_backend_base_sleep_between_retries_ms", 10)
        self.max_retries = conf.get("result_backend_max_retries", float("inf"))
        self.thread_safe = conf.get("result_backend_thread_safe", False)
        self._extended = bool(conf.result_extended)
        self._chords: Chords | None = None
        self._usual = (
            self.serializer == "json"
            and not self.compression
            and not self._extended
            and all(getattr(type(self), name) is getattr(Backend, name) for name in _MAKE_METAS)
        )
        self.url = url

    # -- storing

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store what became of a task, or how far it is.

        A store that does not answer is tried again with backoff: until `give_up` is set, or for 10 seconds where
        nobody can set it. `result_backend_max_retries` and `result_backend_always_retry` (True: for ever, False:
        not at all) set other bounds.

        Returns:
            The value in its stored form.

        Raises:
            EncodeError: the serializer cannot write the value.
            BackendStoreError: the store did not take it; its subclass `ClaimLost`: the task is another worker's by now.
        """
        result = self.encode_result(result, state)
        try:
            self._store_result(task_id, result, state, traceback, request=request, **kwargs)
        except Exception as failed:  # noqa: BLE001 - raised again, unless another try helps
            self._insist_on_storing(
                lambda: self._store_result(task_id, result, state, traceback, request=request, **kwargs),
                f"the result of task {task_id}",
                failed=failed,
                state=state,
                task_id=task_id,
            )
        return result

    def _insist_on_storing(
        self,
        call: Callable[[], T],
        what: str,
        *,
        give_up: GiveUp | None = None,
        failed: Exception | None = None,
        **details: Any,
    ) -> T:
        """Call until it works, or nobody wants to wait any longer.

        Args:
            failed: what the first try, made already, raised.
        """
        give_up = give_up or self.give_up
        seconds = PATIENCE if give_up is None and not self.always_retry else None
        try:
            if self._tries_again:
                return self._insist(call, seconds, give_up, failed)
            if failed is not None:
                raise failed
            return call()
        except BackendStoreError:
            raise
        except Exception as exc:
            if self.exception_safe_to_retry(exc):
                raise BackendStoreError(f"Could not store {what}: {_brief(exc)}", **details) from exc
            raise

    def _insist(
        self,
        call: Callable[[], T],
        seconds: float | None = None,
        give_up: GiveUp | None = None,
        failed: Exception | None = None,
        retries: float | None = None,
    ) -> T:
        return insist(
            call,
            lambda: Backoff(
                base=self.base_sleep_between_retries_ms / 1000,
                cap=self.max_sleep_between_retries_ms / 1000,
                retries=self.max_retries if retries is None else min(retries, self.max_retries),
                seconds=seconds,
            ),
            may_retry=self.exception_safe_to_retry,
            on_error=self._tell_retry,
            give_up=give_up or self.give_up,
            failed=failed,
        )

    def _tell_retry(self, exc: Exception) -> None:
        logger.warning("The result store does not answer, trying again: %s", _brief(exc))
        self.on_backend_retryable_error(exc)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether an error of the store may go away by itself. Drivers say; here nothing does."""
        return False

    def on_backend_retryable_error(self, exc: Exception) -> None:
        """Called before the store is tried again: drop a connection that is broken, say."""

    def defer(self) -> None:
        """From now on, in this thread, the ends of tasks are held back until `flush`, to be stored in one step; other
        states are stored at once. A store without `_rows` holds nothing back."""
        if self._rows is not None:
            self._rows.deferring = True

    def flush(self, give_up: GiveUp | None = None) -> None:
        """Store what this thread held back, and hold nothing back until the next `defer`. So is a result of the current
        task stored that was left to whoever runs it.

        Args:
            give_up: once set, the store is not tried any longer; default: the backend's own.

        Raises:
            BackendStoreError: the store did not take it; it is still held, the next `flush` tries again.
        """
        if self._rows is None:
            return
        self._rows.flush(give_up)
        task = get_current_task()
        if task is not None and task.request._left and task.backend is self:
            self._rows.store_left(task.request._left, give_up)

    # -- reading

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        """The meta of a task; status PENDING if nothing is known.

        Raises:
            BackendGetMetaError: the store did not answer.
        """
        self._ensure_not_eager()
        if cache:
            with contextlib.suppress(KeyError):
                return self._cache[task_id]
        self.flush()
        meta = self._read(lambda: self._get_task_meta_for(task_id), task_id)
        if cache and meta.get("status") == states.SUCCESS:
            self._cache[task_id] = meta
        return meta

    def get_task_metas(self, task_ids: Iterable[str]) -> dict[str, Meta]:
        """The metas of many tasks by their ids, those of which nothing is known included; the cache is not used.

        Raises:
            BackendGetMetaError: the store did not answer.
        """
        ids = list(task_ids)
        self._ensure_not_eager()
        self.flush()
        return self._read(lambda: self._get_task_metas_for(ids), f"{len(ids)} tasks")

    def _read(self, call: Callable[[], T], task_id: str) -> T:
        try:
            if self.always_retry:
                return self._insist(call)
            return self._insist(call, retries=self.read_retries) if self._tries_again else call()
        except Exception as exc:
            if self.exception_safe_to_retry(exc):
                raise BackendGetMetaError(
                    f"Could not read the result of {task_id}: {_brief(exc)}", task_id=task_id
                ) from exc
            raise

    def _ensure_not_eager(self) -> None:
        app = self.app
        if app.amqp.snapshot.always_eager and not app.conf.task_store_eager_result:
            warnings.warn(W_EAGER, RuntimeWarning, stacklevel=3)

    def get_state(self, task_id: str) -> str:
        """How far the task is."""
        state: str = self.get_task_meta(task_id)["status"]
        return state

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """The task's value or exception, or what else its state carries."""
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self, task_id: str) -> str | None:
        """The text of the failed task's traceback."""
        return self.get_task_meta(task_id).get("traceback")

    def get_children(self, task_id: str) -> Any:
        """What tasks the task has called, as they are stored."""
        return self.get_task_meta(task_id).get("children")

    def is_cached(self, task_id: str) -> bool:
        """Whether the meta is remembered here."""
        return task_id in self._cache

    def task_result_exists(self, task_id: str) -> bool:
        """Whether the store knows anything about this id."""
        return bool(self.get_task_meta(task_id, cache=False)["status"] != states.PENDING)

    def reload_task_result(self, task_id: str) -> None:
        """Remember the meta as it is now."""
        self._cache[task_id] = self.get_task_meta(task_id, cache=False)

    def forget(self, task_id: str) -> None:
        """Remove a task's result from the store."""
        self._cache.pop(task_id, None)
        self.flush()
        self._forget(task_id)

    # -- what a driver gives

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        self._lacks("_store_result")

    def _get_task_meta_for(self, task_id: str) -> Meta:
        self._lacks("_get_task_meta_for")

    def _get_task_metas_for(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        """Drivers that can read many at once override it."""
        return {task_id: self._get_task_meta_for(task_id) for task_id in task_ids}

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError("backend does not implement forget.")

    def _lacks(self, method: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} has no {method}(): a result backend must have one.")

    def cleanup(self) -> None:
        """Remove what has expired, where the store does not by itself. `celery.backend_cleanup` calls this."""

    def process_cleanup(self) -> None:
        """Called after each task: give back what must not be held between tasks."""

    def on_task_call(self, producer: Any, task_id: str) -> Any:
        """Called before a task is sent; returns what shall be added to its message."""
        return {}

    # -- chords

    def make_chords(self) -> Chords:
        """How this store does chords; for drivers that can do better than looking at the members."""
        return PollingChords(self)

    @property
    def chords(self) -> Chords:
        """How this store does chords."""
        if self._chords is None:
            self._chords = self.make_chords()
        return self._chords

    def ensure_chords_allowed(self) -> None:
        """Check that chords are possible.

        Raises:
            NotImplementedError: they are not.
        """
        self.chords.ensure_allowed()

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Say how many members the header has that is about to be sent."""
        self.chords.open({group_id: chord_size})

    def _open_chords(self, sizes: dict[str, int]) -> None:
        """`set_chord_size` for many at once, unless somebody has written that anew."""
        if type(self).set_chord_size is Backend.set_chord_size:
            self.chords.open(sizes)
            return
        for group_id, size in sizes.items():
            self.set_chord_size(group_id, size)

    def add_to_chord(self, chord_id: str, result: Any) -> int | None:
        """Say that a running member adds another, or a group of them.

        Returns:
            The `group_index` that it must have, or the first of them; None: it does not matter.
        """
        due = Due(chord_id, {}, None, None)
        index = self.chords.grow(due, result)
        self.chords.grown(due, result, index)
        return index

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> None:
        """Say that the header was sent. A store of third parties that overrides this is asked before that.

        Args:
            header_result_args: the group's id, and its members' results.
        """
        group_id, results = header_result_args
        self.chords.follow((group_id, [result.as_tuple() for result in results]), body, kwargs)

    def _counts_chords_itself(self) -> bool:
        """Whether somebody has written anew how chords are counted."""
        return type(self).apply_chord is not Backend.apply_chord

    def fallback_chord_unlock(
        self, header_result: Any, body: Any, countdown: float = 1, **kwargs: Any
    ) -> None:
        """Have the members of a header looked at from time to time."""
        members = [result.as_tuple() for result in header_result]
        PollingChords(self).follow((header_result.id, members), body, {"interval": countdown, **kwargs})

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Called when a member of a chord is over; for third parties' stores, which count by it."""

    def chord_error_from_stack(self, callback: Any, exc: BaseException | None = None) -> Any:
        """Fail the body of a chord with `exc`, or with the exception that is being handled."""
        failure = exc or sys.exc_info()[1] or ChordError("Callback error: unknown")
        self.fail_signature(callback, failure)

    # -- itself

    def as_uri(self, include_password: bool = False) -> str:
        """The URL, the password masked."""
        url = self.url or ""
        return url if include_password else without_password(url)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        return unpickle_backend, (type(self), args, {"url": self.url, **(kwargs or {})})


class BaseBackend(Backend):
    """Base of backends that are no key-value stores."""


BaseDictBackend = BaseBackend


class DisabledBackend(BaseBackend):
    """What an app without a result backend has: stores nothing, and says so when asked."""

    keeps_results = False

    def store_result(self, *args: Any, **kwargs: Any) -> Any:
        """Store nothing."""

    def make_chords(self) -> Chords:
        """There are none."""
        return NoChords(self, "results are disabled")

    def _is_disabled(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(E_NO_BACKEND)

    get_task_meta = get_state = get_status = get_result = get_traceback = get_children = _is_disabled
    get_task_metas = task_result_exists = reload_task_result = _is_disabled
    wait_for = get_many = iter_native = _is_disabled
    save_group = restore_group = delete_group = get_group_meta = reload_group_result = _is_disabled

    async def await_for(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Say that there is no backend."""
        self._is_disabled()

    aget_many = _is_disabled

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """`disabled://`."""
        return "disabled://"
