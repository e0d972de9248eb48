"""Names that published packages import from Celery's modules: those that this version has."""

from __future__ import annotations

import importlib
from functools import reduce

import pytest

from tests.spec.probes import HERE

NAMES = [
    (module, name)
    for module, _, names in (
        line.partition(": ") for line in (HERE / "answers" / "imports.txt").read_text().splitlines()
    )
    for name in names.split()
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of old homes
@pytest.mark.parametrize(("module", "name"), NAMES)
def test_name(module: str, name: str) -> None:
    try:
        found = reduce(getattr, name.split("."), importlib.import_module(module))
    except AttributeError:
        found = importlib.import_module(f"{module}.{name}")
    assert found is not NotImplemented
