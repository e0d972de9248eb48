"""Where the embedded store is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from celery.brokers.sqlite import claims
from celery.brokers.sqlite.location import embedded_url, find_store, path_from_url, synchronous_from_url


@pytest.fixture(autouse=True)
def _clean(monkeypatch, tmp_path):
    monkeypatch.delenv("CELERY_EMBEDDED_STORE", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_current_folder_by_default(tmp_path):
    assert find_store() == tmp_path / ".celery" / "store.db"
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_folder_upwards(tmp_path, monkeypatch):
    (tmp_path / ".celery").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_store() == tmp_path / ".celery" / "store.db"
    (tmp_path / "a" / ".celery").mkdir()
    assert find_store() == tmp_path / "a" / ".celery" / "store.db"


def test_setting_before_environment_before_folder(tmp_path, monkeypatch):
    (tmp_path / ".celery").mkdir()
    monkeypatch.setenv("CELERY_EMBEDDED_STORE", "env.db")
    assert find_store() == tmp_path / "env.db"
    assert find_store("/srv/set.db") == Path("/srv/set.db")


@pytest.mark.parametrize(
    "path", ["/srv/x/store.db", "/srv/with blank/größe%.db", os.fsdecode(b"/srv/no\xff text/store.db")]
)
def test_urls_round_trip(path):
    assert path_from_url(embedded_url(path)) == Path(path)


def test_relative_and_empty_urls(tmp_path):
    assert path_from_url("sqlite:///rel/x.db") == tmp_path / "rel" / "x.db"
    assert path_from_url("sqlite://") == tmp_path / ".celery" / "store.db"


def test_synchronous():
    assert synchronous_from_url("sqlite:///x.db?synchronous=full") == "FULL"
    assert synchronous_from_url("sqlite:///x.db") is None


def test_the_claims_of_any_path_are_proper_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"\xff", b"store.db")
    assert claims.prefix(os.fsdecode(path)).encode()
    assert claims.prefix("/srv/größe/store.db") == "sqlite:/srv/größe/store.db:"
