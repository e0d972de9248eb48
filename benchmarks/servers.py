"""The servers that brokers need: one private Redis and one private RabbitMQ for a whole run, emptied between scenarios."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

from .processes import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("redis", "rabbitmq")
_running: dict[str, Any] = {}
_urls: dict[str, str] = {}


def server(name: str) -> Any:
    """The running server, started when first asked for."""
    if name not in _running:
        folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        made: Any = RedisServer(folder) if name == "redis" else RabbitServer(folder)
        made.start()
        _running[name] = made
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(made.__exit__)
    return _running[name]


def url(name: str) -> str:
    """Where a contender finds it; the same until `clear`."""
    if name not in _urls:
        found = server(name)
        _urls[name] = found.url if name == "redis" else found.vhost()
    return _urls[name]


def clear(name: str) -> None:
    """Empty it: the next contender gets a clean database or vhost."""
    if name == "redis":
        server(name).cli("FLUSHALL")
    elif name:
        _urls.pop(name, None)


def cpu(name: str) -> float:
    """CPU seconds that the server has used; 0 without one."""
    return cpu_seconds(server(name).pid) if name else 0.0


@contextlib.contextmanager
def asked(name: str) -> Iterator[list[str]]:
    """What clients ask of Redis meanwhile, a line for each command; complete when the block is left.

    Those inside of scripts are not among them: Redis counts them too, but they cost nobody a round trip.
    """
    lines: list[str] = []
    command = ["redis-cli", "-u", server(name).url, "monitor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as monitor:
        assert monitor.stdout is not None
        monitor.stdout.readline()  # OK: it has begun
        try:
            yield lines
        finally:
            monitor.terminate()
            lines += [line for line in monitor.stdout if " lua] " not in line]


def bytes_read(name: str) -> int:
    """Bytes that were sent to Redis."""
    return _statistic(name, "total_net_input_bytes")


def _statistic(name: str, what: str) -> int:
    lines = server(name).cli("INFO", "stats").splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith(f"{what}:"))
