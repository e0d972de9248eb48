"""Results in a relational database, through SQLAlchemy: `db+postgresql://...`, `db+mysql://...`, `db+sqlite:///...`."""

from __future__ import annotations

from celery._public import publish
from celery.backends.extras import need

need("sqlalchemy", extra="sqlalchemy", store="a database")

from sqlalchemy.exc import DatabaseError, InterfaceError, InvalidRequestError  # noqa: E402 - after the check
from sqlalchemy.orm.exc import StaleDataError  # noqa: E402

from . import session  # noqa: E402
from .backend import DatabaseBackend  # noqa: E402
from .session import SessionManager, session_cleanup  # noqa: E402

__all__ = (
    "DatabaseBackend",
    "DatabaseError",
    "InterfaceError",
    "InvalidRequestError",
    "SessionManager",
    "StaleDataError",
    "session",
    "session_cleanup",
)

publish(globals(), "DatabaseBackend")
