"""A real worker in a thread of the test process.

>>> with start_worker(app) as worker:
...     assert add.delay(2, 2).get(timeout=10) == 4
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import exceptions, worker
from celery.app.addresses import shown
from celery.app.utils import sanitize_url
from celery.result import allow_join_result
from celery.utils.dispatch import Signal
from celery.utils.imports import reload_from_cwd
from celery.utils.nodenames import anon_nodename

from .surroundings import surroundings_kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from celery import Celery

__all__ = (
    "WORKER_LOGLEVEL",
    "TestWorkController",
    "setup_app_for_worker",
    "start_worker",
    "test_worker_started",
    "test_worker_starting",
    "test_worker_stopped",
)

#: Log level of workers that are not given one.
WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")

#: Before a worker is made; the sender is the app.
test_worker_starting = Signal(name="test_worker_starting", providing_args=set())
#: When it takes tasks.
test_worker_started = Signal(name="test_worker_started", providing_args={"worker", "consumer"})
#: When it has ended, or could not be started (`worker` may then be None).
test_worker_stopped = Signal(name="test_worker_stopped", providing_args={"worker"})

PING = "celery.ping"
PING_MODULE = "celery.contrib.testing.tasks"
#: Seconds a worker has to get ready, if `startup_timeout` says nothing else.
STARTUP_TIMEOUT = 30.0
#: Seconds for the last steps of a worker that did not end in time and was told to drop everything.
LAST_STEPS = 5.0

STILL_RUNS = (
    "Worker thread failed to exit within the allocated timeout. "
    "Consider raising `shutdown_timeout` if your tasks take longer to execute."
)


class TestWorkController(worker.WorkController):
    """A worker whose test can wait for its start.

    Attributes:
        start_error: what ended it, if that was an exception.
    """

    __test__ = False  # for pytest: this is no test case

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._on_started = threading.Event()
        self._decided = threading.Event()
        self.start_error: BaseException | None = None
        super().__init__(*args, **kwargs)

    def start(self) -> None:
        """Work until told to stop."""
        try:
            super().start()
        except BaseException as error:
            self.start_error = error
            raise
        finally:
            self._decided.set()

    def on_consumer_ready(self, consumer: Any) -> None:
        """Say so."""
        super().on_consumer_ready(consumer)
        self._on_started.set()
        self._decided.set()
        test_worker_started.send(sender=self.app, worker=self, consumer=consumer)

    def ensure_started(self, timeout: float | None = None) -> None:
        """Wait until it takes tasks.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            TimeoutError: it neither started nor failed in time.
            RuntimeError: it ended instead; the cause is what it raised.
        """
        decided = self._decided.wait(timeout)
        if self._on_started.is_set():
            return
        if not decided:
            broker = shown(self.app.conf.broker_url)
            raise exceptions.TimeoutError(
                f"The worker {self.hostname} did not start within {timeout:g} s. Its broker: {broker}"
            )
        why = self.start_error or (self.core.failure if self.core is not None else None)
        said = f": {why}" if why else f", with exit code {self.exitcode}."
        raise RuntimeError(
            f"The worker {self.hostname} ended before it took tasks{said}"
        ) from self.start_error

    def reload(
        self, modules: Iterable[str] | None = None, reload: bool = False, reloader: Any = None
    ) -> None:
        """Import modules; what tasks are registered by now, and their options, count from here on.

        Args:
            modules: default: the task modules of the app's loader.
            reload: import again what is imported already.
            reloader: called with each such module; default `importlib.reload`.

        Raises:
            RuntimeError: tasks run in processes, which do not learn of new tasks.
        """
        if self.pool_name == "prefork":
            raise RuntimeError(
                "The processes of a prefork pool keep the tasks they were started with. "
                "Define tasks before the worker starts, or use pool 'solo' or 'threads'."
            )
        loader = self.app.loader
        for name in list(loader.task_modules if modules is None else modules):
            module = loader.import_task_module(name)
            if reload:
                reload_from_cwd(module, reloader)
        self._policies.clear()

    def _work(self) -> None:
        """The thread's function: what ended the worker is told by `ensure_started`, not by the thread."""
        try:
            self.start()
        except BaseException as error:
            if self._on_started.is_set():
                logging.getLogger("celery.worker").critical("Worker failed: %r", error, exc_info=error)


class _Overheard(logging.Handler):
    """The last errors that workers have logged: they explain why one does not answer."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._lines: deque[str] = deque(maxlen=3)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage().strip())

    def __str__(self) -> str:
        return "".join(f"\nThe worker logged: {line}" for line in dict.fromkeys(self._lines))


@contextmanager
def start_worker(
    app: Celery,
    concurrency: int = 1,
    pool: Any = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: Any = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    **kwargs: Any,
) -> Iterator[Any]:
    """Run a worker in a thread while the block lasts. Gives the worker.

    In the block `app` is the current and the default app; afterwards those of before, and logging too.

    Args:
        concurrency: number of slots.
        pool: `solo`, `threads`, `asyncio`, `prefork` ... Processes need a result backend that they share.
        perform_ping_check: have it run the task `celery.ping` first.
        ping_task_timeout: seconds it has for that.
        shutdown_timeout: seconds that running tasks have at the end. Then they are ended, and it is an error.
        **kwargs: of the worker (`queues`, `exclude_queues`, `hostname` ...); `WorkController`: its class;
            `startup_timeout`: seconds it has to start, default 30.

    Raises:
        TimeoutError: it did not start, or did not answer the ping, in time.
        RuntimeError: it could not start, or did not end in time.
        ImproperlyConfigured: an unknown queue.
    """
    test_worker_starting.send(sender=app)
    started = None
    try:
        with (
            surroundings_kept(),
            _overhearing() as overheard,
            _start_worker_thread(
                app,
                concurrency=concurrency,
                pool=pool,
                loglevel=loglevel,
                logfile=logfile,
                perform_ping_check=perform_ping_check,
                shutdown_timeout=shutdown_timeout,
                overheard=overheard,
                **kwargs,
            ) as started,
        ):
            if perform_ping_check:
                _check_ping(app, started, ping_task_timeout, overheard)
            yield started
    finally:
        test_worker_stopped.send(sender=app, worker=started)


@contextmanager
def _overhearing() -> Iterator[_Overheard]:
    logger, ear = logging.getLogger("celery"), _Overheard()
    logger.addHandler(ear)
    try:
        yield ear
    finally:
        logger.removeHandler(ear)


@contextmanager
def _start_worker_thread(
    app: Celery,
    concurrency: int = 1,
    pool: Any = "solo",
    loglevel: str | int = WORKER_LOGLEVEL,
    logfile: Any = None,
    WorkController: Any = TestWorkController,
    perform_ping_check: bool = True,
    shutdown_timeout: float = 10.0,
    startup_timeout: float = STARTUP_TIMEOUT,
    overheard: object = "",
    **kwargs: Any,
) -> Iterator[Any]:
    """Run a worker in a thread; give it when it has started."""
    setup_app_for_worker(app, loglevel, logfile)
    if perform_ping_check:
        app.loader.import_task_module(PING_MODULE)
    running = WorkController(
        app=app,
        hostname=kwargs.pop("hostname", None) or anon_nodename(),
        concurrency=concurrency,
        pool=pool,
        loglevel=loglevel,
        logfile=logfile,
        **kwargs,
    )
    thread = threading.Thread(target=running._work, name=f"worker {running.hostname}", daemon=True)
    thread.start()
    try:
        try:
            running.ensure_started(startup_timeout)
        except exceptions.TimeoutError as error:
            raise exceptions.TimeoutError(f"{error}{overheard}") from None
        yield running
    finally:
        _end(running, thread, shutdown_timeout)


def _end(running: Any, thread: threading.Thread, timeout: float) -> None:
    running.stop()
    thread.join(timeout)
    if thread.is_alive():
        running.terminate()
        thread.join(LAST_STEPS)
        raise RuntimeError(STILL_RUNS)


def _check_ping(app: Celery, running: Any, timeout: float, overheard: object) -> None:
    """Have the worker run a task, by the first queue that it consumes.

    Raises:
        TimeoutError: it did not answer in time.
        RuntimeError: nobody could see its answer.
    """
    queues = [queue.name for queue in running.consumed_queues()]
    result = app.tasks[PING].apply_async(queue=queues[0], ignore_result=False)
    try:
        with allow_join_result():
            answer = result.get(timeout=timeout)
    except NotImplementedError as error:
        raise RuntimeError(f"The ping check of start_worker() needs results: {error}\n{_NO_CHECK}") from error
    except exceptions.TimeoutError:
        raise exceptions.TimeoutError(_unanswered(app, running, queues, timeout) + str(overheard)) from None
    if answer != "pong":
        raise RuntimeError(f"The worker {running.hostname} answered {answer!r} to {PING}, not 'pong'.")


_NO_CHECK = "`perform_ping_check=False` starts without it."


def _unanswered(app: Celery, running: Any, queues: list[str], timeout: float) -> str:
    backend = app.conf.result_backend
    text = (
        f"The worker {running.hostname} did not answer {PING} within {timeout:g} s. "
        f"It consumes {', '.join(queues)} of {shown(app.conf.broker_url)}; "
        f"results: {sanitize_url(backend)}. {_NO_CHECK}"
    )
    if running.pool_name == "prefork" and str(backend).startswith(("cache+memory", "memory")):
        text += f"\nResults in {backend} are not seen outside the process that stores them, here a child of the pool."
    return text


def setup_app_for_worker(app: Celery, loglevel: str | int, logfile: Any) -> None:
    """Make `app` ready to work in this process: final, current, the default, its logging set up.

    Handlers that the root logger has, such as those of the test runner, stay.
    """
    app.finalize()
    app.set_current()
    app.set_default()
    root = logging.getLogger()
    handlers = list(root.handlers)
    type(app.log).already_setup = False
    app.log.setup(loglevel=loglevel, logfile=logfile)
    for handler in handlers:
        root.addHandler(handler)
