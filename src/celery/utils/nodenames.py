"""Names of workers: `name@host`, and the % signs that stand for their parts."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from celery import _foreign
from celery.utils import process
from celery.utils.text import simple_format

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "anon_nodename",
    "default_nodename",
    "gethostname",
    "host_format",
    "node_format",
    "nodename",
    "nodesplit",
    "worker_direct",
)

#: Queue of one worker (setting `worker_direct`).
WORKER_DIRECT_QUEUE_FORMAT = "{hostname}.dq2"
#: Name of the exchange those queues are bound to; `WORKER_DIRECT_EXCHANGE` is the kombu object.
WORKER_DIRECT_EXCHANGE_NAME = "C.dq2"

NODENAME_SEP = "@"
NODENAME_DEFAULT = "celery"


@cache
def gethostname() -> str:
    """Name of this machine, asked once."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "localhost")


def worker_direct(hostname: Any) -> Any:
    """The queue that only the worker of this node name consumes, a `kombu.Queue`.

    Args:
        hostname: a node name; a queue is returned as it is.
    """
    if not isinstance(hostname, str):
        return hostname
    exchange = _worker_direct_exchange()
    name = WORKER_DIRECT_QUEUE_FORMAT.format(hostname=hostname)
    return _foreign.kombu_object("Queue")(name, exchange, hostname)


def _worker_direct_exchange() -> Any:
    return _foreign.kombu_object("Exchange")(WORKER_DIRECT_EXCHANGE_NAME)


def __getattr__(name: str) -> Any:
    if name == "WORKER_DIRECT_EXCHANGE":
        return _worker_direct_exchange()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def nodename(name: str, hostname: str) -> str:
    """`name@hostname`."""
    return f"{name}{NODENAME_SEP}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """A name for a program that is not a worker: `gen<pid>@host`."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[None, str] | list[str]:
    """`[name, host]`; of a text without `@`: `(None, text)`."""
    parts = name.split(NODENAME_SEP, 1)
    return (None, parts[0]) if len(parts) == 1 else parts


def default_nodename(hostname: str | None, default_name: str = NODENAME_DEFAULT) -> str:
    """A complete node name of what the user gave: whichever part is missing is added."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: Any) -> str:
    """Replace % signs in `s` by parts of a node name (`%p` all of it, `%n`, `%h`, `%d`, `%i`, `%I`)."""
    short, host = nodesplit(name)
    return host_format(s, host, short or NODENAME_DEFAULT, p=name, **extra)


def _fmt_process_index(prefix: str = "", default: str = "0") -> str:
    index = process.current().index
    return f"{prefix}{index}" if index else default


def _fmt_process_index_with_prefix() -> str:
    return _fmt_process_index("-", "")


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: Any) -> str:
    """Replace % signs in `s`: `%h` host, `%n` its first part, `%d` the rest, `%i` and `%I` process index.

    Args:
        host: default: this machine.
        name: for `%n` instead.

    Raises:
        ValueError: an unknown % sign.
    """
    host = host or gethostname()
    first, _, domain = host.partition(".")
    keys: dict[str, str | Callable[[], str]] = {
        "h": host,
        "n": name or first,
        "d": domain,
        "i": _fmt_process_index,
        "I": _fmt_process_index_with_prefix,
        **{key: str(value) for key, value in extra.items()},
    }
    return simple_format(s, keys)
