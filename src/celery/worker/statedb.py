"""`--statedb`: revoked ids and the clock in a file, so that they outlive this worker. The file's form is Celery's."""

from __future__ import annotations

import contextlib
import logging
import pickle
import shelve
import threading
import zlib
from typing import TYPE_CHECKING, Any

from celery.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("celery.worker")

_FORM = 3


class Persistent:
    """What is revoked, and the clock, in a file: read once, written when it has changed and at the end.

    Args:
        state: where `revoked` is (`celery.worker.state`).
        filename: of a shelf; the database behind it may add a suffix.
        clock: the app's clock.

    Raises:
        ImproperlyConfigured: the file cannot be opened, or is something else.
    """

    def __init__(self, state: Any, filename: str, clock: Any = None) -> None:
        self.state = state
        self.filename = filename
        self.clock = clock
        self._seen = (0, 0)
        self._writing = threading.Lock()
        self.merge()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with shelve.open(self.filename, protocol=pickle.HIGHEST_PROTOCOL) as found:
                yield found
        except ImproperlyConfigured:
            raise
        except Exception as error:
            raise ImproperlyConfigured(
                f"--statedb {self.filename}: {error} (it must be a file of Celery's, or none yet, in a folder that can "
                "be written to, and each worker needs one of its own: '%n.state')"
            ) from error

    def merge(self) -> None:
        """Take in what the file has."""
        with self._opened() as found:
            packed, old = found.get("zrevoked"), found.get("revoked")
            if packed is not None:
                ids = list(pickle.loads(zlib.decompress(packed)))  # the operator's own file
                self.state.merge_revoked(ids)
            elif old:
                self.state.merge_revoked(list(old))
            if self.clock is not None:
                self.clock.adjust(found.get("clock") or 0)
        self._seen = self._mark()

    def _mark(self) -> tuple[int, int]:
        revoked = self.state.revoked
        return len(revoked), revoked.added

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return self._mark() != self._seen

    def keep(self) -> None:
        """`save`; that it could not be done is said in the log."""
        try:
            self.save()
        except ImproperlyConfigured as error:
            logger.error("What is revoked could not be kept: %s", error)

    def save(self) -> None:
        """Write the file. One thread at a time: another would find it locked.

        Raises:
            ImproperlyConfigured: it cannot be written.
        """
        with self._writing:
            self._save()

    def _save(self) -> None:
        self._seen = self._mark()
        packed = zlib.compress(pickle.dumps(self.state.revoked, pickle.HIGHEST_PROTOCOL))
        with self._opened() as found:
            found.update(
                {
                    "__proto__": _FORM,
                    "zrevoked": packed,
                    "clock": self.clock.forward() if self.clock is not None else 0,
                }
            )
            found.pop("revoked", None)

    sync = save
    close = save
