"""Results of either side, read by the other: every serializer and compression, every state, exceptions both ways."""

from __future__ import annotations

import json

import pytest

from celery import result
from tests.interop.conftest import NAMES

GROUPS = hasattr(result, "GroupResult")


@pytest.fixture
def stored(sides):
    """Both sides have stored everything."""
    for name, side in sides.items():
        side.run(f"import stored; stored.store({name!r})")
    return sides


@pytest.fixture
def answers(stored):
    """(who read, who wrote) -> what was read."""
    return {
        (reader, writer): side.json(f"import stored; stored.show(stored.read({writer!r}))")
        for reader, side in stored.items()
        for writer in NAMES
    }


def test_everybody_reads_the_same(answers):
    """Whoever wrote, whoever reads: as the real Celery reads its own."""
    oracle = answers["stock", "stock"]
    assert len(oracle) > 400
    keys = [key for key in oracle if GROUPS or not key.endswith("group")]
    for (reader, writer), found in answers.items():
        different = {
            key: (found[key], oracle[key]) for key in keys if _same(found[key]) != _same(oracle[key])
        }
        assert not different, f"{reader} reads {writer}: {json.dumps(different, indent=1)[:3000]}"


def _same(answer):
    return answer[1] if isinstance(answer, list) else answer  # a group's id depends on the writer
