"""The store that is used when nobody configured a broker: when that is so, where it is, and saying it loudly."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery.utils import process

from .checks import check, variable_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_BROKER = ("broker_url", "broker_read_url", "broker_write_url", "broker_host", "broker_transport")
_NO_BACKEND = ("disabled", "disabled://")

#: A forked child has it from its parent, and with it the terminal or log that has the line already.
_said = False
_saying = threading.Lock()


def needs_embedded_store(conf: Mapping[str, Any]) -> bool:
    """True if neither a broker nor a place for results is configured anywhere."""
    if any(_set(conf, name) for name in _BROKER):
        return False
    backend = _set(conf, "result_backend")
    return backend is None or backend in _NO_BACKEND


def _set(conf: Mapping[str, Any], name: str) -> Any:
    raw = conf.raw(name) if hasattr(conf, "raw") else conf.get(name)
    return os.environ.get(variable_of(name)) or raw or None


def embedded_url_of(conf: Mapping[str, Any]) -> str:
    """The embedded store's URL, by the setting `embedded_store` or the project's folder."""
    from celery.brokers.sqlite.location import (  # noqa: PLC0415 - only programs without a broker need it
        embedded_url,
        find_store,
    )

    return embedded_url(find_store(check("embedded_store", conf["embedded_store"])))


def warn_embedded(app: Any) -> bool:
    """Say that messages go to the embedded store, where it is and how to change that; once in this process and those
    forked from it.

    Called by producers and workers before they first use their broker.

    Returns:
        True if `app` uses the embedded store because nothing is configured.
    """
    global _said  # noqa: PLW0603, RUF100 - once per process is the point
    conf = app.conf
    if not conf.uses_embedded_store:
        return False
    if process.current().index is not None:
        return True  # a pool's child: its worker has said so
    if _said:
        return True
    with _saying:
        if _said:
            return True
        _said = True
    text = (
        f"No broker is configured: messages and results are kept in {conf.broker_url.removeprefix('sqlite:///')}, "
        "for programs on this machine only. To use a server, set broker_url and result_backend "
        "(or CELERY_BROKER_URL and CELERY_RESULT_BACKEND)."
    )
    logger = logging.getLogger("celery")
    if _is_heard(logger):
        logger.warning("%s", text)
    else:
        # Loud also in programs that have not set logging up.
        sys.stderr.write(f"WARNING: {text}\n")
    return True


def _is_heard(logger: logging.Logger) -> bool:
    if not logger.isEnabledFor(logging.WARNING):
        return True  # the program asked for silence
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False
