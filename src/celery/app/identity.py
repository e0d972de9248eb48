"""The ids by which the rest of a cluster tells apps, and threads of apps, apart."""

from __future__ import annotations

import os
import threading
from uuid import NAMESPACE_OID, uuid3

from celery.utils.nodenames import gethostname


class Identity:
    """The ids of one app: others in a process that was forked, and in every thread.

    Args:
        app: whose.
    """

    def __init__(self, app: object) -> None:
        self._app = id(app)
        self._host: str | None = None
        self._process: tuple[int, str] | None = None
        self._thread = threading.local()

    def process(self) -> str:
        """The id of the app in this process."""
        pid = os.getpid()
        known = self._process
        if known is None or known[0] != pid:
            known = self._process = (pid, self._new(pid, 0))
        return known[1]

    def thread(self) -> str:
        """The id of the app in this thread."""
        pid = os.getpid()
        known: tuple[int, str] | None = getattr(self._thread, "known", None)
        if known is None or known[0] != pid:
            known = self._thread.known = (pid, self._new(pid, threading.get_ident()))
        return known[1]

    def _new(self, pid: int, thread: int) -> str:
        self._host = self._host or gethostname()
        return str(uuid3(NAMESPACE_OID, f"{self._host}-{pid}-{thread}-{self._app}"))
