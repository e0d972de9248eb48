import io
import logging
import multiprocessing
import threading

import pytest

from celery.utils import log, process
from celery.utils.log import ColorFormatter, LoggingProxy, get_logger, get_task_logger, mlevel


@pytest.fixture
def logger():
    found = logging.getLogger("tests.log")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    found.addHandler(handler)
    found.propagate = False
    found.setLevel(logging.DEBUG)
    found.stream = stream
    yield found
    found.removeHandler(handler)


@pytest.mark.parametrize(
    ("given", "level"),
    [(10, 10), ("DEBUG", 10), ("info", 20), (None, None), (0, 0), ("FATAL", 50), ("WARN", 30)],
)
def test_mlevel(given, level):
    assert mlevel(given) == level


def test_mlevel_refuses_other_words():
    with pytest.raises(KeyError):
        mlevel("loud")


def test_task_loggers_are_below_celery_task():
    found = get_task_logger("tests.some.tasks")
    assert found.parent is log.task_logger
    assert log.task_logger.parent is log.base_logger
    assert log.logger_isa(found, log.base_logger)
    assert not log.logger_isa(log.base_logger, found)
    for name in ("celery", "celery.task"):
        with pytest.raises(RuntimeError, match="reserved"):
            get_task_logger(name)


def test_loggers_are_below_root_or_celery():
    assert get_logger("tests_alone").parent is logging.root
    logging.getLogger("tests_pkg")
    assert get_logger("tests_pkg.sub").parent is log.base_logger
    assert get_logger("celery") is log.base_logger
    assert get_logger("tests_alone").handlers


def test_a_circle_of_parents_is_an_error():
    first, second = logging.getLogger("tests_first"), logging.getLogger("tests_second")
    first.parent, second.parent = second, first
    with pytest.raises(RuntimeError, match="recursive"):
        log.logger_isa(first, logging.getLogger("tests_other"))


def record(level, msg="hello %s", args=("w",)):
    return logging.LogRecord("n", level, "p", 1, msg, args, None)


def test_colours_by_level():
    formatter = ColorFormatter("%(levelname)s %(message)s")
    assert formatter.format(record(logging.DEBUG)) == "\x1b[1;34mDEBUG hello w\x1b[0m"
    assert formatter.format(record(logging.INFO)) == "INFO hello w"
    assert formatter.format(record(logging.WARNING)) == "\x1b[1;33mWARNING hello w\x1b[0m"
    assert formatter.format(record(logging.ERROR)) == "\x1b[1;31mERROR hello w\x1b[0m"
    assert formatter.format(record(logging.CRITICAL)) == "\x1b[1;35mCRITICAL hello w\x1b[0m"
    assert ColorFormatter("%(message)s", use_color=False).format(record(logging.ERROR)) == "hello w"


def test_a_file_that_logs(logger):
    proxy = LoggingProxy(logger, logging.WARNING)
    assert proxy.write("hi\n") == 3
    assert proxy.write(b"by\n") == 3
    proxy.write("\n")
    proxy.writelines(["x", "y\n", "z"])
    assert logger.stream.getvalue() == "hi\nby\nxy\n", "a line is one record"
    proxy.flush()
    proxy.flush()
    assert logger.stream.getvalue() == "hi\nby\nxy\nz\n"
    assert not proxy.isatty()
    assert proxy.writable()
    assert not proxy.readable()
    proxy.close()
    proxy.write("more")
    assert proxy.closed
    assert "more" not in logger.stream.getvalue()
    assert LoggingProxy(logger, "INFO").loglevel == logging.INFO
    assert LoggingProxy(logger).loglevel == logging.DEBUG


def test_a_percent_sign_is_only_text(logger):
    LoggingProxy(logger, logging.WARNING).write("100%d\n")
    assert logger.stream.getvalue() == "100%d\n"


def test_a_handler_that_prints_does_not_loop(logger):
    proxy = LoggingProxy(logger, logging.WARNING)
    printed = []

    class Printing(logging.Handler):
        def emit(self, record):
            printed.append(proxy.write("again\n"))

    handler = Printing()
    logger.addHandler(handler)
    try:
        proxy.write("once\n")
    finally:
        logger.removeHandler(handler)
    assert printed == [0]
    assert logger.stream.getvalue() == "once\n"


def test_lines_of_two_files_and_two_threads_do_not_mix(logger):
    out, err = LoggingProxy(logger, "INFO"), LoggingProxy(logger, "ERROR")
    out.write("o")
    err.write("e")
    thread = threading.Thread(target=out.write, args=("t\n",))
    thread.start()
    thread.join()
    out.write("1\n")
    err.write("2\n")
    assert logger.stream.getvalue() == "t\no1\ne2\n"


def test_in_a_signal_handler_nothing_is_logged(logger, monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr("sys.__stderr__", stderr)
    with log.in_sighandler():
        LoggingProxy(logger, logging.WARNING).write("danger")
    assert stderr.getvalue() == "danger\n"
    assert logger.stream.getvalue() == ""
    assert not log._in_sighandler


def test_process_index(monkeypatch):
    assert log.current_process_index() is None
    monkeypatch.setattr(process, "_current", process.ProcessIdentity("ForkPoolWorker-2", 2))
    assert log.current_process_index() == 2
    assert log.current_process_index(base=0) == 1
    assert log.current_process().name == "ForkPoolWorker-2"


def test_become_names_the_process_for_logging(monkeypatch):
    monkeypatch.setattr(process, "_current", process.ProcessIdentity())
    me = multiprocessing.current_process()
    before = me.name
    try:
        process.become("ForkPoolWorker-7", 7)
        assert logging.LogRecord("n", 20, "p", 1, "m", (), None).processName == "ForkPoolWorker-7"
        assert process.current() == process.ProcessIdentity("ForkPoolWorker-7", 7)
    finally:
        me.name = before


def test_open_files_of_loggers(logger):
    assert logger.stream in list(log.iter_open_logger_fds())


def test_multiprocessing_logger():
    found = log.get_multiprocessing_logger()
    handler = logging.NullHandler()
    found.addHandler(handler)
    log.reset_multiprocessing_logger()
    assert found.handlers == []
