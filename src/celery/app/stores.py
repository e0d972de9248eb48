"""An app's result backends: which of them is used here."""

from __future__ import annotations

import threading
from typing import Any


class ResultStores:
    """The backend objects of one app: one for each thread, or one for all.

    Args:
        app: whose settings say where results are.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._shared: Any = None
        self._local = threading.local()

    def get(self) -> Any:
        """Return the backend for this thread, made at the first call."""
        shared = self._shared
        if shared is not None:
            return shared
        try:
            return self._local.backend
        except AttributeError:
            backend = self._make()
            if self._app.conf.get("result_backend_thread_safe") or getattr(
                backend, "shared_by_threads", False
            ):
                self._shared = backend
            else:
                self._local.backend = backend
            return backend

    def share(self, backend: Any) -> None:
        """Use this one in all threads; None: make new ones when needed."""
        self._shared = backend
        if backend is None:
            self._local = threading.local()

    def _make(self) -> Any:
        from celery.app import backends  # noqa: PLC0415 - whoever only sends may need no results

        app = self._app
        cls, url = backends.by_url(app.backend_cls or app.conf.result_backend, app.loader)
        return cls(app=app, url=url)
