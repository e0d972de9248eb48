"""`Signal`: named moments that functions can be connected to."""

from __future__ import annotations

import inspect
import threading
import time
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from celery.exceptions import CDeprecationWarning
from celery.local import PromiseProxy, Proxy
from celery.utils.functional import fun_accepts_kwargs
from celery.utils.log import get_logger
from celery.utils.time import humanize_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ("Signal",)

logger = get_logger(__name__)

#: Waits, in seconds, between the tries of a receiver connected with `retry=True`: 2, 4 ... 30.
RETRY_START = 2.0
RETRY_STEP = 2.0
RETRY_MAX = 30.0

#: The sender of those who want to hear of every sender.
_ANY = None


class _Connection(NamedTuple):
    receiver_id: Any
    sender_id: Any
    receiver: Any  # the function, or a weak reference to it
    weak: bool

    def function(self) -> Callable[..., Any] | None:
        """What to call; None if it is gone."""
        return self.receiver() if self.weak else self.receiver  # type: ignore[no-any-return]  # see `receiver`


def _identify(obj: Any) -> Any:
    """What tells one receiver or sender from another."""
    if isinstance(obj, Proxy):
        # A task is declared as a proxy and sends as itself.
        obj = obj._get_current_object()
    if hasattr(obj, "__func__"):
        return (id(obj.__self__), id(obj.__func__))
    return id(obj)


def _sender_identity(sender: Any) -> Any:
    """Strings are compared by value (a task's name, a host's); a task also answers to its name."""
    if sender is _ANY:
        return _ANY
    return sender if isinstance(sender, str) else _identify(sender)


def _retrying(receiver: Callable[..., Any], uid: Any) -> Callable[..., Any]:
    """`receiver`, called again and again until it does not raise."""

    def call(**named: Any) -> Any:
        pause = RETRY_START
        while True:
            try:
                return receiver(**named)
            except Exception:
                wait = humanize_seconds(pause, "in", " ")
                logger.exception("Could not process signal receiver %s. Retrying %s...", receiver, wait)
            time.sleep(pause)
            pause = min(pause + RETRY_STEP, RETRY_MAX)

    call.__name__ = getattr(receiver, "__name__", "receiver")
    call.__doc__ = receiver.__doc__
    call._dispatch_uid = uid  # type: ignore[attr-defined]  # for those who look
    return call


class Signal:
    """A moment that functions can be connected to.

    A signal without receivers is false, so that a caller can skip making the arguments:
    `if task_prerun: task_prerun.send(...)`. Sending to nobody costs one comparison.

    Args:
        providing_args: names of the arguments that receivers get, for documentation.
        use_caching: accepted for compatibility; looking receivers up is always fast here.
        name: for people.
    """

    #: `((receiver id, sender id), receiver)` of everyone connected; empty, hence false, if nobody is.
    receivers: list[Any]

    def __init__(
        self,
        providing_args: Iterable[str] | None = None,
        use_caching: bool = False,
        name: str | None = None,
    ) -> None:
        self.providing_args = set(providing_args or ())
        self.use_caching = use_caching
        self.name = name
        self.lock = threading.Lock()
        self.receivers = []

    # -- connecting

    @overload
    def connect(
        self,
        receiver: F,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> F: ...
    @overload
    def connect(
        self,
        receiver: None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Callable[[F], F]: ...
    def connect(
        self,
        receiver: Any = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Any:
        """Connect a receiver. Also a decorator, with or without arguments.

        Args:
            receiver: called as `receiver(signal=, sender=, **args)`; must accept `**kwargs`.
            sender: only moments of this one: an object, or a string that is its name. None: of all.
            weak: keep only a weak reference, so that the connection ends with the receiver.
            dispatch_uid: identity of the connection; connecting a second time changes nothing.
            retry: call the receiver again, with growing pauses, until it does not raise. Implies a
                strong reference.

        Raises:
            ValueError: the receiver does not accept `**kwargs`.
            TypeError: the receiver cannot be called.
        """
        if receiver is None:
            return partial(self.connect, sender=sender, weak=weak, dispatch_uid=dispatch_uid, retry=retry)
        if not callable(receiver):
            raise TypeError(f"Signal receivers must be callable, not {receiver!r}.")
        if not fun_accepts_kwargs(receiver):
            raise ValueError("Signal receiver must accept keyword arguments.")
        if isinstance(sender, PromiseProxy) and not sender.__evaluated__():
            # Its identity is known once its app is finalized; asking now would finalize it.
            sender.__then__(lambda obj=sender: self._add(receiver, obj, weak, dispatch_uid, retry))
        else:
            self._add(receiver, sender, weak, dispatch_uid, retry)
        return receiver

    def _add(self, receiver: Any, sender: Any, weak: bool, dispatch_uid: Any, retry: bool) -> None:
        receiver_id = _identify(receiver) if dispatch_uid is None else dispatch_uid
        sender_id = _sender_identity(sender)
        target: Any = receiver
        if retry:
            weak, target = False, _retrying(receiver, receiver_id)
        elif weak:
            target = self._weak_reference(receiver)
        connection = _Connection(receiver_id, sender_id, target, weak)
        with self.lock:
            live = [known for known in self.receivers if known.function() is not None]
            if not any(known[:2] == connection[:2] for known in live):
                live.append(connection)
            # Replaced, never changed in place: `send` may be looping over it in another thread.
            self.receivers = live

    def _weak_reference(self, receiver: Any) -> Any:
        this = weakref.ref(self)

        def forget(reference: Any) -> None:
            owner = this()
            if owner is not None:
                owner._drop(reference)

        if inspect.ismethod(receiver):
            return weakref.WeakMethod(receiver, forget)
        return weakref.ref(receiver, forget)

    def _drop(self, reference: Any) -> None:
        # Called by the garbage collector, perhaps while this thread holds the lock: take none. The list
        # is replaced in one step; what a concurrent change brings back is skipped by `send`.
        self.receivers = [known for known in self.receivers if known.receiver is not reference]

    def disconnect(
        self,
        receiver: Any = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Any = None,
    ) -> bool:
        """Undo a `connect` of the same receiver (or `dispatch_uid`) and sender.

        Returns:
            Whether there was such a connection.
        """
        if weak is not None:
            warnings.warn("Passing `weak` to disconnect has no effect.", CDeprecationWarning, stacklevel=2)
        key = (_identify(receiver) if dispatch_uid is None else dispatch_uid, _sender_identity(sender))
        with self.lock:
            left = [known for known in self.receivers if known[:2] != key]
            found = len(left) != len(self.receivers)
            self.receivers = left
        return found

    # -- sending

    def __bool__(self) -> bool:
        return bool(self.receivers)

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would hear of this sender."""
        return bool(self.receivers) and bool(self._live_receivers(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Call every receiver connected for `sender` or for all.

        An exception in a receiver is logged, and is its response.

        Returns:
            `(receiver, response)` of each.
        """
        if not self.receivers:
            return []
        responses: list[tuple[Callable[..., Any], Any]] = []
        for receiver in self._live_receivers(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as exc:
                logger.exception("Signal handler %r raised: %r", receiver, exc)
                response = exc
            responses.append((receiver, response))
        return responses

    send_robust = send

    def _live_receivers(self, sender: Any) -> list[Callable[..., Any]]:
        wanted = {_ANY, _sender_identity(sender)}
        name = getattr(sender, "name", None)
        if isinstance(name, str):
            wanted.add(name)
        live = []
        for known in self.receivers:
            if known.sender_id in wanted:
                function = known.function()
                if function is not None:
                    live.append(function)
        return live

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name} providing_args={self.providing_args!r}>"

    def __str__(self) -> str:
        return repr(self)
