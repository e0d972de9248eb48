"""The embedded store as the default: when it applies, what the settings then read, and the warning."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from celery import Celery
from celery.app import embedded


@pytest.fixture(autouse=True)
def in_a_project(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("CELERY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "_said", False)


def make(**kwargs):
    return Celery("x", set_as_current=False, fixups=[], **kwargs)


def test_both_urls_name_the_project_s_store(tmp_path):
    conf = make().conf
    url = f"sqlite:///{tmp_path}/.celery/store.db"
    assert conf.uses_embedded_store
    assert (conf.broker_url, conf.result_backend) == (url, url)
    assert (conf["broker_url"], conf.broker_read_url, conf.broker_write_url) == (url, url, url)
    assert not (tmp_path / ".celery").exists(), "reading settings creates nothing"


def test_an_empty_text_is_as_good_as_nothing(tmp_path):
    """`Celery(broker=os.environ.get("BROKER", ""))`."""
    url = f"sqlite:///{tmp_path}/.celery/store.db"
    app = make(broker="", backend="")
    assert (app.conf.broker_url, app.conf.result_backend) == (url, url)
    assert app.backend.url == url
    assert make(broker="amqp://", backend="").backend.as_uri() == "disabled://"


def test_it_stays_where_it_was_found(tmp_path, monkeypatch):
    conf = make().conf
    url = conf.broker_url
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert conf.broker_url == url


@pytest.mark.parametrize("how", ["setting", "environment"])
def test_the_file_may_be_named(tmp_path, monkeypatch, how):
    app = make()
    if how == "setting":
        app.conf.embedded_store = str(tmp_path / "my.db")
    else:
        monkeypatch.setenv("CELERY_EMBEDDED_STORE", str(tmp_path / "my.db"))
    assert app.conf.broker_url == f"sqlite:///{tmp_path}/my.db"


@pytest.mark.parametrize(
    "settings",
    [
        {"broker_url": "amqp://"},
        {"broker_read_url": "amqp://"},
        {"broker_host": "h"},
        {"broker_transport": "redis"},
        {"BROKER_URL": "amqp://"},
    ],
)
def test_a_broker_and_no_backend_means_no_results(settings):
    conf = make(config_source=settings).conf
    assert not conf.uses_embedded_store
    assert conf.result_backend is None


def test_a_backend_and_no_broker_is_as_in_celery():
    conf = make(backend="redis://h").conf
    assert (conf.uses_embedded_store, conf.broker_url) == (False, None)


def test_results_may_be_disabled_on_the_embedded_store():
    conf = make(backend="disabled://").conf
    assert conf.uses_embedded_store
    assert conf.result_backend == "disabled://"


@pytest.mark.parametrize(
    "variable", ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_BROKER_WRITE_URL"]
)
def test_the_environment_configures_too(monkeypatch, variable):
    monkeypatch.setenv(variable, "redis://h")
    assert not make().conf.uses_embedded_store


class TestWarning:
    def test_once_in_a_process_to_the_log(self, caplog, tmp_path):
        app = make()
        with caplog.at_level(logging.WARNING):
            assert embedded.warn_embedded(app)
            assert embedded.warn_embedded(app)
        (record,) = [r for r in caplog.records if "No broker is configured" in r.getMessage()]
        assert f"{tmp_path}/.celery/store.db" in record.getMessage()
        assert "broker_url" in record.getMessage()

    def test_to_stderr_where_logging_is_not_set_up(self, capsys, monkeypatch):
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        embedded.warn_embedded(make())
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("WARNING: No broker is configured")

    def test_not_again_in_a_forked_child(self, tmp_path):
        code = (
            "import os; from celery import Celery; from celery.app.embedded import warn_embedded\n"
            "app = Celery('t'); warn_embedded(app)\n"
            "pid = os.fork(); warn_embedded(app)\n"
            "if pid: os.waitpid(pid, 0)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stderr.count("No broker is configured") == 1

    def test_silent_when_a_broker_is_configured(self, caplog):
        assert not embedded.warn_embedded(make(broker="memory://"))
        assert not caplog.records
