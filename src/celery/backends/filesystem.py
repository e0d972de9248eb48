"""Results in a folder, one file each: `file:///path/to/folder`."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from celery.exceptions import ImproperlyConfigured

from .base import KeyValueStoreBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

E_NO_PATH_SET = "You need to configure a path for the file-system backend"
E_PATH_NON_CONFORMING_SCHEME = (
    "A path for the file-system backend should conform to the file URI scheme: file:///path/to/folder"
)
E_PATH_INVALID = (
    "The configured path for the file-system backend does not work correctly, please make sure that it "
    "exists and has the correct permissions."
)

#: How the name of a file begins that is not complete yet.
_UNFINISHED = ".celery-"


class FilesystemBackend(KeyValueStoreBackend):
    """Results in files whose names are the keys.

    Args:
        url: `file:///path/to/folder`; the folder must exist.
        open, unlink, sep: as `open`, `os.unlink` and `os.sep`.
        encoding: of the names of files.

    Raises:
        ImproperlyConfigured: no path, or the folder cannot be written to.
    """

    supports_result_compression = True
    supports_native_join = True

    def __init__(
        self,
        url: str | None = None,
        open: Callable[..., Any] = open,  # noqa: A002 - Celery's name
        unlink: Callable[[str], object] = os.unlink,
        sep: str = os.sep,
        encoding: str = "utf-8",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, url=url, **kwargs)
        self.url = url
        self.path = self._find_path(url)
        self.open = open
        self.unlink = unlink
        self._sep = sep
        self._encoding = encoding
        self._check()

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> tuple[Any, ...]:
        return super().__reduce__(args, {"url": self.url, "expires": self.expires, **(kwargs or {})})

    @staticmethod
    def _find_path(url: str | None) -> str:
        if not url:
            raise ImproperlyConfigured(E_NO_PATH_SET)
        if url.startswith("file://localhost/"):
            return unquote(url[len("file://localhost") :])
        if url.startswith("file:///"):
            return unquote(url[len("file://") :])
        raise ImproperlyConfigured(E_PATH_NON_CONFORMING_SCHEME)

    def _check(self) -> None:
        try:
            probe = f".fs-backend-{uuid.uuid4()}"
            self.set(probe, b"test value")
            if self.get(probe) != b"test value":
                raise ImproperlyConfigured(f"{E_PATH_INVALID} ({self.path})")
            self.delete(probe)
        except OSError as exc:
            raise ImproperlyConfigured(f"{E_PATH_INVALID} ({self.path}: {exc.strerror})") from None

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether it may work later: the disk is full, a network's folder is away."""
        return isinstance(exc, OSError)

    @staticmethod
    def key_t(s: Any) -> str:
        """Keys are text."""
        return s.decode() if isinstance(s, bytes) else str(s)

    def _filename(self, key: Any) -> str:
        """A task may call itself what it likes, but it does not leave the folder."""
        return os.path.join(self.path, self.key_t(key).replace(self._sep, "%2F").replace("\0", "%00"))

    # -- keys and values

    def get(self, key: Any) -> Any:
        """See the base class."""
        try:
            with self.open(self._filename(key), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def mget(self, keys: Sequence[Any]) -> list[Any]:
        """See the base class."""
        return [self.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> Any:
        """See the base class. Whoever reads sees the old value or the new one, nothing in between."""
        unfinished = os.path.join(self.path, f"{_UNFINISHED}{uuid.uuid4().hex}")
        try:
            with self.open(unfinished, "wb") as file:
                file.write(value.encode(self._encoding) if isinstance(value, str) else value)
            os.replace(unfinished, self._filename(key))
        except BaseException:
            with contextlib.suppress(OSError):
                self.unlink(unfinished)
            raise

    def delete(self, key: Any) -> Any:
        """See the base class."""
        with contextlib.suppress(FileNotFoundError):
            self.unlink(self._filename(key))

    def cleanup(self) -> None:
        """Remove the files of results that were written longer than `result_expires` ago."""
        if not self.expires:
            return
        until = time.time() - float(self.expires)
        ours = (self.task_keyprefix, self.group_keyprefix, self.chord_keyprefix, _UNFINISHED)
        with os.scandir(self.path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.name.startswith(ours) and entry.stat().st_mtime < until:
                        self.unlink(entry.path)
