"""The same on stores other than Redis: what either side stored is read by the other."""

from __future__ import annotations

import json

import pytest

from tests.interop.conftest import NAMES
from tests.interop.test_results import _same


@pytest.fixture(params=["postgresql", "mariadb", "db-sqlite", "memcached", "file"])
def results(request, tmp_path):
    """Where both sides store their results."""
    if request.param == "postgresql":
        return "db+" + request.getfixturevalue("postgres_url")
    if request.param == "mariadb":
        return "db+" + request.getfixturevalue("mariadb_url")
    if request.param == "memcached":
        return f"cache+memcached://{request.getfixturevalue('memcached_server').address}/"
    if request.param == "file":
        (tmp_path / "results").mkdir()
        return f"file://{tmp_path}/results"
    return f"db+sqlite:///{tmp_path}/results.db"


@pytest.mark.timeout(290)
def test_everybody_reads_the_same(sides, results):
    """Whoever wrote, whoever reads: as the real Celery reads its own."""
    compressed = "yes" if results.startswith("file") else "no"
    for name, side in sides.items():
        side.run(
            f"import stored; stored.store({name!r})", RESULTS=results, COMPRESSED=compressed, timeout=120
        )
    answers = {
        (reader, writer): side.json(
            f"import stored; stored.show(stored.read({writer!r}))",
            RESULTS=results,
            COMPRESSED=compressed,
            timeout=120,
        )
        for reader, side in sides.items()
        for writer in NAMES
    }
    oracle = answers["stock", "stock"]
    assert len(oracle) > 40
    for (reader, writer), found in answers.items():
        different = {
            key: (found[key], oracle[key]) for key in oracle if _same(found[key]) != _same(oracle[key])
        }
        assert not different, f"{reader} reads {writer}: {json.dumps(different, indent=1)[:3000]}"
