"""Fixtures of all suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.servers.databases import MariaServer, MemcachedServer, PostgresServer
from tests.servers.emulators import AWS, AzuriteServer, GoogleStorageServer, MotoServer, azurite
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.stock import StockCelery
from tests.support import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# The same examples in every run, however busy the machine is.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


@pytest.fixture(scope="module")
def module_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project shared by the tests of a module."""
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for all tests of this process."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty database."""
    redis_server.cli("FLUSHALL")
    return redis_server.url


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, whose data survive when it is killed."""
    with RedisServer(tmp_path / "redis", persistent=True) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A RabbitMQ for all tests of this process."""
    with RabbitServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def amqp_url(rabbitmq_server: RabbitServer) -> str:
    """A vhost of the test's own."""
    return rabbitmq_server.vhost()


@pytest.fixture(scope="module")
def private_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A RabbitMQ that the tests of a module may kill, freeze and restart."""
    with RabbitServer(tmp_path_factory.mktemp("private-rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests of this process."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A database of the test's own."""
    return postgres_server.database()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaServer]:
    """A MariaDB for all tests of this process."""
    with MariaServer() as server:
        yield server


@pytest.fixture
def mariadb_url(mariadb_server: MariaServer) -> str:
    """A database of the test's own."""
    return mariadb_server.database()


@pytest.fixture(scope="session")
def memcached_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemcachedServer]:
    """A memcached for all tests of this process."""
    with MemcachedServer(tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    """Amazon's services for all tests of this process."""
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def aws_url(moto_server: MotoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint of empty services, and somebody who may use them."""
    moto_server.reset()
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    return moto_server.url


@pytest.fixture(scope="session")
def google_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleStorageServer]:
    """Google's storage for all tests of this process."""
    with GoogleStorageServer(tmp_path_factory.mktemp("google")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteServer]:
    """Azure's blob storage for all tests of this process."""
    if azurite() is None:
        pytest.skip("azurite cannot be installed here (it needs npm)")
    with AzuriteServer(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def stock_celery() -> StockCelery:
    """The real Celery 5.7.0."""
    return StockCelery()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often to run every fault test")
