"""From `result_backend` to a class."""

from __future__ import annotations

import os.path

import pytest

from celery import Celery
from celery.app.backends import by_name, by_url
from celery.backends.base import DisabledBackend
from celery.backends.cache import CacheBackend
from celery.backends.sqlite import SqliteBackend
from celery.exceptions import ImproperlyConfigured


@pytest.fixture
def app():
    return Celery("t", broker="memory://", set_as_current=False)


@pytest.mark.parametrize(
    ("given", "cls", "url"),
    [
        (None, DisabledBackend, None),
        ("", DisabledBackend, None),
        ("disabled", DisabledBackend, None),
        ("disabled://", DisabledBackend, "disabled://"),
        ("cache+memory://", CacheBackend, "memory://"),
        ("memory://", CacheBackend, "memory://"),
        ("sqlite:////a/b.db", SqliteBackend, "sqlite:////a/b.db"),
        ("celery.backends.base:DisabledBackend", DisabledBackend, None),
        ("celery.backends.base.DisabledBackend", DisabledBackend, None),
        ("celery.backends.cache.CacheBackend+memory://", CacheBackend, "memory://"),
        (DisabledBackend, DisabledBackend, None),
        ("os.path:join", os.path.join, None),
    ],
)
def test_what_a_name_stands_for(app, given, cls, url):
    assert by_url(given, app.loader) == (cls, url)


@pytest.mark.parametrize("name", ["nosuch", "nosuch://x", "mod:Nope", "celery.nosuch.Cls", "x+y://", "riak"])
def test_no_such_module(app, name):
    with pytest.raises(ModuleNotFoundError):
        by_url(name, app.loader)


def test_a_module_is_no_class(app):
    with pytest.raises(ImproperlyConfigured) as info:
        by_name("os:path", app.loader)
    assert str(info.value) == (
        "Unknown result backend: 'os:path'.  Did you spell that correctly? "
        "('is a Python module, not a backend class.')"
    )


def test_a_name_that_cannot_be_parsed(app):
    for name in (":", "..x"):
        with pytest.raises(ImproperlyConfigured, match="Unknown result backend: '"):
            by_name(name, app.loader)


def test_overrides(app):
    app.loader.override_backends = {"redis": "celery.backends.cache:CacheBackend", "mine": DisabledBackend}
    assert by_name("redis", app.loader) is CacheBackend
    assert by_name("mine", app.loader) is DisabledBackend


def test_the_entry_points_of_other_distributions(app, tmp_path, monkeypatch):
    (tmp_path / "theirs_backend.py").write_text(
        "from celery.backends.base import KeyValueStoreBackend\nclass Theirs(KeyValueStoreBackend): pass\n"
    )
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[celery.result_backends]\ntheirs = theirs_backend:Theirs\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert by_url("theirs://host", app.loader)[0].__name__ == "Theirs"
    app = Celery("t", broker="memory://", backend="theirs://host", set_as_current=False)
    assert app.backend.as_uri() == "theirs://host"


def test_unknown_caches():
    with pytest.raises(ImproperlyConfigured, match="The cache backend 'nosuch' is unknown"):
        _ = Celery("t", broker="memory://", backend="cache+nosuch://", set_as_current=False).backend
    with pytest.raises(ImproperlyConfigured, match="The cache backend None is unknown"):
        _ = Celery("t", broker="memory://", backend="cache", set_as_current=False).backend
