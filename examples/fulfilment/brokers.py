"""Where the shop's messages go: the embedded store, or a private Redis or RabbitMQ that is started for the demo."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

# The servers of the test suite: private, on free ports of this machine, ended with this process.
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Name -> what the demo says about it, and the Debian package that brings it.
KNOWN = {
    "embedded": ("embedded broker, no server", ""),
    "redis": ("a private Redis, for messages and results", "redis-server"),
    "rabbitmq": ("a private RabbitMQ, confirmed publishing", "rabbitmq-server"),
}


@contextlib.contextmanager
def broker(name: str, home: Path) -> Iterator[None]:
    """Have the broker run until the block ends, and everything started inside find it by its environment.

    Raises:
        SystemExit: its server is not installed; the message says how to.
    """
    if name == "embedded":
        os.environ["CELERY_EMBEDDED_STORE"] = str(home / "store.db")
        yield
        return
    package = KNOWN[name][1]
    if not (shutil.which(package) or Path("/usr/lib/rabbitmq/bin", package).exists()):
        raise SystemExit(
            f"demo: {package} is not installed. Debian: apt-get install {package}; or run `make demo` without BROKER."
        )
    with (RedisServer if name == "redis" else RabbitServer)(home / package) as server:
        os.environ["CELERY_BROKER_URL"] = server.url
        if name == "redis":
            os.environ["CELERY_RESULT_BACKEND"] = server.url
        yield
