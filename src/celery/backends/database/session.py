"""Engines and sessions: one engine for each database and process, which forked children leave alone."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: How often to try to make tables that others make at the same moment.
PREPARE_MODELS_MAX_RETRIES = 10

_lock = threading.Lock()
_engines: dict[tuple[str, str], sa.Engine] = {}


def _leave_to_parent() -> None:
    """In a forked child: forget the engines without closing their connections, which are the parent's."""
    global _lock
    _lock = threading.Lock()
    for engine in _engines.values():
        engine.dispose(close=False)
    _engines.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


class SessionManager:
    """Makes engines and sessions.

    Args:
        callback: called with every engine that is made (`database_engine_callback`).
    """

    def __init__(self, callback: Callable[[sa.Engine], object] | None = None) -> None:
        self._callback = callback

    def get_engine(self, dburi: str, *, short_lived: bool = False, **options: Any) -> sa.Engine:
        """The engine of a database in this process, made at the first call.

        Args:
            short_lived: keep no connections (`database_short_lived_sessions`).
            options: for `sqlalchemy.create_engine`.
        """
        key = (dburi, repr((short_lived, sorted(options.items(), key=str), self._callback)))
        with _lock:
            engine = _engines.get(key)
            if engine is None:
                engine = _engines[key] = self._make(dburi, short_lived, options)
        return engine

    def _make(self, dburi: str, short_lived: bool, options: Mapping[str, Any]) -> sa.Engine:
        if short_lived:
            pooling = (
                "pool_size",
                "max_overflow",
                "pool_timeout",
                "pool_recycle",
                "pool_pre_ping",
                "pool_use_lifo",
            )
            options = {**{k: v for k, v in options.items() if k not in pooling}, "poolclass": NullPool}
        engine = sa.create_engine(dburi, **options)
        if self._callback is not None:
            self._callback(engine)
        return engine

    def create_session(self, dburi: str, **options: Any) -> tuple[sa.Engine, Callable[[], Session]]:
        """The engine, and what makes sessions on it."""
        engine = self.get_engine(dburi, **options)
        return engine, sessionmaker(bind=engine)

    def session_factory(self, dburi: str, **options: Any) -> Session:
        """A new session."""
        return self.create_session(dburi, **options)[1]()

    @staticmethod
    def prepare_models(engine: sa.Engine, metadata: sa.MetaData) -> None:
        """Make the tables that are not there. Others may be doing the same.

        Raises:
            DBAPIError: it does not work, not even after a few tries.
        """
        for left in reversed(range(PREPARE_MODELS_MAX_RETRIES)):
            try:
                metadata.create_all(engine)
                return
            except DBAPIError:
                if not left:
                    raise
                time.sleep(random.uniform(0.005, 0.05))


@contextlib.contextmanager
def session_cleanup(session: Session) -> Iterator[None]:
    """Roll back what a block did if it raises, and close the session in any case."""
    try:
        yield
    except BaseException:
        session.rollback()
        raise
    finally:
        session.close()
