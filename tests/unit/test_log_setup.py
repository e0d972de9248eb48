"""Logging set-up: handlers, formats, signals, redirection, children."""

from __future__ import annotations

import io
import logging
import os
import sys

import pytest

from celery import Celery, signals
from celery.app.log import Logging, TaskFormatter, _close_handlers
from celery.utils.log import ColorFormatter, get_task_logger

NAMES = ("", "celery", "celery.task", "celery.redirected", "celery.worker")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Logging as in a new process, and afterwards as it was."""
    state = {
        name: (logger := logging.getLogger(name), logger.handlers[:], logger.level, logger.propagate)
        for name in NAMES
    }
    receivers = {s: list(s.receivers or ()) for s in (signals.setup_logging, signals.after_setup_logger)}
    monkeypatch.setattr(Logging, "already_setup", False)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    for name in [n for n in os.environ if n.startswith("CELERY_LOG")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    yield
    _close_handlers()
    for name in [n for n in os.environ if n.startswith("CELERY_LOG")]:
        del os.environ[name]
    for logger, handlers, level, propagate in state.values():
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    for signal, before in receivers.items():
        signal.receivers = before


def make(**settings):
    return Celery("x", set_as_current=False, fixups=[], broker="memory://", **settings)


def own_handlers():
    """The root logger's handlers that logging set-up has made."""
    return [h for h in logging.getLogger().handlers if isinstance(h.formatter, ColorFormatter)]


def test_main_and_task_format():
    out = io.StringIO()
    make().log.setup("INFO", out)
    logging.getLogger("bar").warning("there")
    logging.getLogger("bar").debug("hidden")
    get_task_logger("foo").info("hi")
    lines = out.getvalue().splitlines()
    assert [line.partition(": ")[2] for line in lines] == [
        "WARNING/MainProcess] there",
        "INFO/MainProcess] ???[???]: hi",
    ]
    assert not logging.getLogger("celery.task").propagate


def test_own_formats():
    out = io.StringIO()
    make(worker_log_format="<%(message)s>", worker_task_log_format="T %(message)s").log.setup("INFO", out)
    logging.getLogger("bar").warning("a")
    get_task_logger("foo").info("b")
    assert out.getvalue() == "<a>\nT b\n"


def test_other_handlers_are_removed_unless_told_not_to():
    mine = logging.StreamHandler(io.StringIO())
    logging.getLogger().addHandler(mine)
    make(worker_hijack_root_logger=False).log.setup("INFO", io.StringIO())
    assert mine in logging.getLogger().handlers
    assert own_handlers() == []
    Logging.already_setup = False
    make().log.setup("INFO", io.StringIO())
    assert mine not in logging.getLogger().handlers


def test_only_once_in_a_process():
    make().log.setup("INFO", io.StringIO())
    handlers = logging.getLogger().handlers[:]
    assert make().log.setup("DEBUG", io.StringIO()) is None
    assert logging.getLogger().handlers == handlers


def test_a_receiver_of_setup_logging_does_it_all():
    seen = []

    def receiver(**kw):
        seen.append(kw)

    signals.setup_logging.connect(receiver)
    assert make().log.setup("INFO", "x.log", redirect_stdouts=True)
    assert own_handlers() == []
    assert {"loglevel": 20, "logfile": "x.log", "colorize": False}.items() <= seen[0].items()
    assert "format" in seen[0]


def test_after_setup_signals():
    seen = []

    def main(logger, **kw):
        seen.append(logger)

    def tasks(logger, **kw):
        seen.append(logger)

    signals.after_setup_logger.connect(main)
    signals.after_setup_task_logger.connect(tasks)
    try:
        make().log.setup("INFO", io.StringIO())
    finally:
        signals.after_setup_task_logger.disconnect(tasks)
    assert seen == [logging.getLogger(), logging.getLogger("celery.task")]


def test_files_with_node_expansions(tmp_path):
    make().log.setup("INFO", str(tmp_path / "%n%I.log"), hostname="w1@host")
    logging.getLogger("bar").warning("hello")
    assert "hello" in (tmp_path / "w1.log").read_text()


def test_prints_go_to_the_log():
    out = io.StringIO()
    make().log.setup("INFO", out, redirect_stdouts=True, redirect_level="ERROR")
    print("printed")
    print("and this", file=sys.stderr)
    assert [line.partition(": ")[2] for line in out.getvalue().splitlines()] == [
        "ERROR/MainProcess] printed",
        "ERROR/MainProcess] and this",
    ]


def test_children_are_told_by_the_environment(tmp_path):
    path = tmp_path / "it.log"
    make().log.setup("DEBUG", str(path), redirect_stdouts=True, redirect_level="ERROR")
    told = {name: value for name, value in os.environ.items() if name.startswith("CELERY_LOG")}
    assert told == {
        "CELERY_LOG_LEVEL": "10",
        "CELERY_LOG_FILE": str(path),
        "CELERY_LOG_REDIRECT": "1",
        "CELERY_LOG_REDIRECT_LEVEL": "ERROR",
    }
    (before,) = own_handlers()
    make().log.setup_in_child("w1@host")
    (after,) = own_handlers()
    assert after is not before
    assert logging.getLogger().level == logging.DEBUG


def test_colour():
    log = make().log
    assert not log.supports_color(True, "x.log")
    assert not make(worker_log_color=False).log.supports_color()
    assert str(log.colored(enabled=False).red("x")) == "x"


def test_task_formatter_names_the_running_task():
    app = make()

    @app.task(name="the.task", bind=True)
    def task(self):
        record = logging.LogRecord("x", 20, "x", 1, "hi", (), None)
        return TaskFormatter("%(task_name)s[%(task_id)s]: %(message)s", use_color=False).format(record)

    assert task.apply(task_id="the-id").get() == "the.task[the-id]: hi"
