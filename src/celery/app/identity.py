"""The ids by which the rest of a cluster tells apps, and threads of apps, apart."""

from __future__ import annotations

import os
import threading
from uuid import NAMESPACE_OID, uuid3

from celery.utils.nodenames import gethostname


class Identity:
    """The ids of one app: others in a process that was forked (call `forget` there), and in every thread.

    Args:
        app: whose.
    """

    def __init__(self, app: object) -> None:
        self._app = id(app)
        self._host: str | None = None
        self._process: str | None = None
        self._thread = threading.local()

    def process(self) -> str:
        """The id of the app in this process."""
        if self._process is None:
            self._process = self._new(0)
        return self._process

    def thread(self) -> str:
        """The id of the app in this thread."""
        known: str | None = getattr(self._thread, "known", None)
        if known is None:
            known = self._thread.known = self._new(threading.get_ident())
        return known

    def forget(self) -> None:
        """In a child after a fork: these are the parent's."""
        self._process, self._thread = None, threading.local()

    def _new(self, thread: int) -> str:
        self._host = self._host or gethostname()
        return str(uuid3(NAMESPACE_OID, f"{self._host}-{os.getpid()}-{thread}-{self._app}"))
