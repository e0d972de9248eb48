"""Fixtures of all suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project."""
    return Project(tmp_path)


@pytest.fixture(scope="module")
def module_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project shared by the tests of a module."""
    return Project(tmp_path_factory.mktemp("project"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often to run every fault test")
