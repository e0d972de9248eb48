"""`worker.timer`: calls at their time, made on the extension thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils import timer2

if TYPE_CHECKING:
    from collections.abc import Callable

    from .extension import ExtensionThread


class _Schedule(timer2.Schedule):
    """Hands what is due to the extension thread.

    Args:
        ended: called with a `SystemExit` that a call raised.
    """

    def __init__(self, extension: ExtensionThread, ended: Callable[[SystemExit], Any]) -> None:
        super().__init__()
        self._extension = extension
        self._ended = ended

    def apply_entry(self, entry: timer2.Entry) -> None:
        """Have the call made soon."""
        self._extension.call(self._make, entry)

    def _make(self, entry: timer2.Entry) -> None:
        if entry.canceled:
            return
        try:
            super().apply_entry(entry)
        except SystemExit as request:
            self._ended(request)


class WorkerTimer(timer2.Timer):
    """A timer whose calls are made one after the other, never beside a signal receiver.

    `SystemExit` in a call ends the worker.
    """

    def __init__(self, extension: ExtensionThread, ended: Callable[[SystemExit], Any]) -> None:
        super().__init__(schedule=_Schedule(extension, ended))
