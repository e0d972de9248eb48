"""A project that the real Celery and ours share, on one Redis."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.sides import Side

if TYPE_CHECKING:
    from tests.servers.redis import RedisServer
    from tests.servers.stock import StockCelery

SHARED = Path(__file__).parent / "shared"
NAMES = ("ours", "stock")


@pytest.fixture
def sides(redis_url: str, stock_celery: StockCelery, tmp_path: Path) -> dict[str, Side]:
    """`ours` and `stock`, on the same project and an emptied Redis."""
    env = {"BROKER": redis_url, "RESULTS": redis_url, "PYTHONPATH": str(SHARED)}
    return {
        "ours": Side("ours", Path(sys.executable), tmp_path, env),
        "stock": Side("stock", stock_celery.python, tmp_path, env),
    }


@pytest.fixture
def ours(sides: dict[str, Side]) -> Side:
    return sides["ours"]


@pytest.fixture
def stock(sides: dict[str, Side]) -> Side:
    return sides["stock"]


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    """The Redis of `sides`, to look into."""
    return redis_server
