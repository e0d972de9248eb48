"""`--rounds N` repeats every fault test N times: `make soak` does, since what happens once in a hundred kills counts."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def round_number(request: pytest.FixtureRequest) -> int:
    """Which repeat this is."""
    return getattr(request, "param", 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    rounds = metafunc.config.getoption("rounds")
    if rounds > 1:
        metafunc.fixturenames.append("round_number")
        metafunc.parametrize("round_number", range(rounds), indirect=True)
