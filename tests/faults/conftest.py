"""`--rounds N` repeats every fault test N times: `make soak` does, since what happens once in a hundred kills counts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support import Project

#: Where the fault tests run that are about every broker.
BROKERS = ("sqlite", "redis", "rabbitmq")
#: Seconds of a worker's lease: short, so that tests need not wait for the ten that users have.
LEASE = 3


@pytest.fixture(params=BROKERS)
def site(request: pytest.FixtureRequest, project: Project) -> str:
    """A broker of each driver for the project, results beside it; its name."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        project.env |= {
            "CELERY_BROKER_URL": url,
            "CELERY_RESULT_BACKEND": url,
            "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": LEASE}),
        }
    elif request.param == "rabbitmq":
        project.env |= {
            "CELERY_BROKER_URL": request.getfixturevalue("amqp_url"),
            "CELERY_RESULT_BACKEND": f"sqlite:///{project.path}/results.db",
            "CELERY_BROKER_TRANSPORT_OPTIONS": json.dumps({"lease": LEASE}),
        }
    return str(request.param)


def on(*brokers: str) -> pytest.MarkDecorator:
    """Run a test over these brokers only: the others would show nothing else."""
    return pytest.mark.parametrize("site", brokers, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is shown already: how the pools differ does not depend on a server being the broker's."""
    shown = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("site") == "rabbitmq"
        and item.callspec.params.get("pool", "prefork") != "prefork"
    ]
    if shown:
        config.hook.pytest_deselected(items=shown)
        items[:] = [item for item in items if item not in shown]


@pytest.fixture(autouse=True)
def round_number(request: pytest.FixtureRequest) -> int:
    """Which repeat this is."""
    return getattr(request, "param", 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rounds = metafunc.config.getoption("rounds")
    if rounds > 1:
        metafunc.fixturenames.append("round_number")
        metafunc.parametrize("round_number", range(rounds), indirect=True)
