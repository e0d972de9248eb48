"""The usual scheduler: in a file it remembers when each entry was last sent."""

from __future__ import annotations

import errno
import logging
import os
import shelve
from contextlib import suppress
from typing import Any

import celery
from celery.exceptions import ImproperlyConfigured

from .filelock import FileLock
from .scheduler import Scheduler

__all__ = ("PersistentScheduler",)

logger = logging.getLogger("celery.beat")

#: What a store must have; one without is of another version.
_FIELDS = ("__version__", "tz", "utc_enabled")


class PersistentScheduler(Scheduler):
    """Keeps entries with the times of their last runs in a file (`shelve`).

    Args:
        schedule_filename: of the file; dbm may append a suffix.

    Raises:
        ImproperlyConfigured: the file cannot be written, or another beat uses it.
    """

    persistence: Any = shelve
    known_suffixes = ("", ".db", ".dat", ".bak", ".dir")
    _store: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.schedule_filename: Any = kwargs.get("schedule_filename")
        super().__init__(*args, **kwargs)

    # -- the file

    def _open_schedule(self) -> Any:
        return self.persistence.open(self.schedule_filename, writeback=True)

    def _remove_db(self) -> None:
        for suffix in self.known_suffixes:
            with suppress(FileNotFoundError):
                os.remove(f"{self.schedule_filename}{suffix}")

    def _destroy_open_corrupted_schedule(self, exc: Exception) -> Any:
        logger.error("Removing corrupted schedule file %r: %r", self.schedule_filename, exc)
        if self._store is not None:
            with suppress(Exception):  # what cannot be read cannot be written back
                self._store.cache = {}
                self._store.close()
        self._remove_db()
        return self._open_schedule()

    def _check_file(self) -> None:
        """Tell what is no file of a schedule at all from one that is broken: that is removed."""
        path = os.path.abspath(self.schedule_filename)
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            why = f"there is no folder {folder}"
        elif not os.access(folder, os.W_OK):
            why = f"the folder {folder} may not be written to"
        elif os.path.isdir(path):
            why = "it is a folder"
        else:
            return
        raise ImproperlyConfigured(
            f"Cannot keep beat's schedule in {path}: {why}. Say where with --schedule or beat_schedule_filename."
        )

    def _lock(self) -> FileLock:
        try:
            return FileLock(f"{self.schedule_filename}.lock")
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise ImproperlyConfigured(
                f"Another beat uses the schedule {os.path.abspath(self.schedule_filename)}: "
                "two would send everything twice."
            ) from None

    # -- the schedule

    def setup_schedule(self) -> None:
        self._check_file()
        self._file_lock = self._lock()
        try:
            self._store = self._open_schedule()
            self._read()
        except Exception as error:  # noqa: BLE001 - pickles fail in every way
            self._store = self._destroy_open_corrupted_schedule(error)
        self._clear_if_outdated()
        conf = self.app.conf
        self._store.setdefault("entries", {})
        self.merge_inplace(conf.beat_schedule)
        self.install_default_entries(self.schedule)
        self._store.update(
            {"__version__": celery.__version__, "tz": conf.timezone, "utc_enabled": conf.enable_utc}
        )
        self.sync()
        logger.debug("Current schedule:\n%s", "\n".join(repr(entry) for entry in self.schedule.values()))

    def _read(self) -> None:
        """Read all of it, to see that it can be."""
        for key in list(self._store.keys()):
            self._store[key]

    def _clear_if_outdated(self) -> None:
        store, conf = self._store, self.app.conf
        if not len(store):
            return
        for name in _FIELDS:
            if name not in store:
                logger.warning("DB Reset: Account for new %s field", name)
                store.clear()
                return
        if store["tz"] != conf.timezone:
            logger.warning("Reset: Timezone changed from %r to %r", store["tz"], conf.timezone)
            store.clear()
        elif store["utc_enabled"] != conf.enable_utc:
            words = {True: "enabled", False: "disabled"}
            logger.warning(
                "Reset: UTC changed from %s to %s",
                words[bool(store["utc_enabled"])],
                words[bool(conf.enable_utc)],
            )
            store.clear()

    def get_schedule(self) -> Any:
        return self._store["entries"]

    def set_schedule(self, schedule: Any) -> None:
        self._store["entries"] = schedule

    schedule = property(get_schedule, set_schedule)

    def sync(self) -> None:
        if self._store is not None:
            self._store.sync()

    def close(self) -> None:
        self.sync()
        if self._store is not None:
            self._store.close()
            self._store = None
            self._file_lock.release()

    @property
    def info(self) -> str:
        return f"    . db -> {self.schedule_filename}"
