"""A lock that the system takes away from whoever dies."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # not on Windows: there two are not told from one
    fcntl = None  # type: ignore[assignment]

__all__ = ("FileLock",)


class FileLock:
    """Holds a file until `release`; the file stays.

    Raises:
        OSError: somebody else holds it (`EAGAIN`, `EACCES`), or it cannot be made.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._descriptor)
                raise

    def release(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)
