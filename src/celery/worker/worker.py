"""`WorkController`: one worker, from its options to its exit code.

    >>> worker = app.WorkController(pool_cls="solo")
    >>> worker.start()          # returns when the worker has ended
    >>> worker.exitcode
    0

It may be started in any thread: then it installs no signal handlers, and `stop` ends it from another.
`celery.apps.worker.Worker` is the program: banner, logging and signals on top of it.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

from celery import concurrency, signals
from celery._state import get_current_app
from celery.brokers.topology import Exchange, Queue, queue_from_any
from celery.concurrency.base import PoolOptions
from celery.exceptions import ImproperlyConfigured, WorkerTerminate
from celery.message.serializers import prepare_accept_content
from celery.utils.nodenames import default_nodename

from . import state
from .consumer import Consumer
from .heartbeat import INTERVAL
from .loops import Core, Stop, load_loop
from .notices import (
    check_time_limits,
    warn_not_cancelled,
    warn_not_effective,
    warn_of_long_tasks,
    warn_of_strategies,
)
from .options import WorkerOptions
from .policy import TaskPolicy, policy_for
from .sizing import concurrency_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from celery.brokers.base import Outgoing

    from .events import EventSender
    from .statedb import Persistent
    from .timer import WorkerTimer

logger = logging.getLogger("celery.worker")

EX_OK = 0
EX_FAILURE = 1
#: Seconds a lost task's retry may take to be published.
RESEND_WITHIN = 10.0

SELECT_UNKNOWN_QUEUE = (
    "Trying to select queue subset of {0!r}, but queue {1} isn't defined in the `task_queues` setting.\n\n"
    "If you want to automatically declare unknown queues you can enable the `task_create_missing_queues` setting."
)
DESELECT_UNKNOWN_QUEUE = (
    "Trying to deselect queue subset of {0!r}, but queue {1} isn't defined in the `task_queues` setting."
)


class WorkController:
    """A worker that consumes, runs and settles until it is told to stop.

    Args:
        app: default: the current application.
        hostname: node name; default `celery@HOST`.
        **kwargs: options of `setup_defaults` and `setup_instance`.

    Attributes:
        pool: where tasks run; None before `start`.
        exitcode: None while running, then the exit code the process should have.
    """

    app: Any = None
    pool: Any = None
    consumer: Any = None
    exitcode: int | None = None
    pidlock: Any = None
    pidfile: str | None = None
    semaphore: Any = None
    hub: Any = None
    #: Orders the application's steps; None if it has none.
    blueprint: Any = None
    autoscaler: Any = None
    #: Whether OS signal handlers may be installed; only programs do.
    installs_signal_handlers = False

    def __init__(self, app: Any = None, hostname: str | None = None, **kwargs: Any) -> None:
        self.app = app or self.app or get_current_app()
        self.hostname: str = default_nodename(hostname)
        self.startup_time = time.time()
        self._state = state.WorkerState()
        self._policies: dict[str, TaskPolicy] = {}
        self._stop_wanted = Stop.NO
        self._ended = threading.Event()
        self._timer: WorkerTimer | None = None
        self._persistent: Persistent | None = None
        #: Steps of the application's that start and stop with this worker.
        self.steps: list[Any] = []
        self.core: Core | None = None
        #: The worker's own beat, if it has one and was started.
        self.beat: Any = None
        # Before anything looks at tasks or stores: projects (Django's, for one) get ready when their modules are imported.
        self.app.loader.init_worker()
        self.app.finalize()
        self.on_before_init(**kwargs)
        self.setup_defaults(**kwargs)
        self.on_after_init(**kwargs)
        self.setup_instance(**self.prepare_args(**kwargs))

    # -- hooks of subclasses ----------------------------------------------------------------------
    def on_before_init(self, **kwargs: Any) -> None:
        """Called first."""

    def on_after_init(self, **kwargs: Any) -> None:
        """Called when the options are known and nothing else."""

    def on_init_blueprint(self) -> None:
        """Called when queues and includes are set up."""

    def on_start(self) -> None:
        """Called by `start`, before anything is started."""

    def on_consumer_ready(self, consumer: Any) -> None:
        """Called (on the extension thread) once tasks are being taken."""

    def on_close(self) -> None:
        """Called when the worker has ended its work."""

    def on_stopped(self) -> None:
        """Called last."""

    def prepare_args(self, **kwargs: Any) -> dict[str, Any]:
        """Change the options before `setup_instance` gets them."""
        return kwargs

    # -- setting up -------------------------------------------------------------------------------
    def setup_defaults(
        self,
        concurrency: Any = None,
        loglevel: Any = "WARN",
        logfile: str | None = None,
        pool: Any = None,
        optimization: str | None = None,
        O: str | None = None,  # noqa: E741, N803, RUF100 - Celery's name
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        pool_cls: Any = None,
        task_time_limit: float | None = None,
        task_soft_time_limit: float | None = None,
        max_tasks_per_child: int | None = None,
        prefetch_multiplier: int | None = None,
        disable_rate_limits: bool | None = None,
        worker_lost_wait: float | None = None,
        max_memory_per_child: int | None = None,
        pool_start_method: str | None = None,
        disable_prefetch: bool | None = None,
        task_events: bool | None = None,
        without_heartbeat: bool = False,
        heartbeat_interval: float | None = None,
        statedb: str | None = None,
        beat: bool = False,
        schedule_filename: str | None = None,
        scheduler: Any = None,
        **_kw: Any,
    ) -> None:
        """Read the options; what is None comes from the settings."""
        conf, either = self.app.conf, self._either
        self.loglevel = loglevel
        self.logfile = logfile
        self.pool_cls = either("worker_pool", pool, pool_cls)
        self.optimization = optimization or O or "default"
        self.concurrency = concurrency_of(either("worker_concurrency", concurrency), self.pool_name)
        self.time_limit = either("task_time_limit", time_limit, task_time_limit)
        self.soft_time_limit = either("task_soft_time_limit", soft_time_limit, task_soft_time_limit)
        self.max_tasks_per_child = either("worker_max_tasks_per_child", max_tasks_per_child)
        self.max_memory_per_child = either("worker_max_memory_per_child", max_memory_per_child)
        self.pool_start_method = either("worker_pool_start_method", pool_start_method)
        self.disable_rate_limits = either("worker_disable_rate_limits", disable_rate_limits)
        self.disable_prefetch = either("worker_disable_prefetch", disable_prefetch)
        self.task_events = bool(either("worker_send_task_events", task_events))
        self.heartbeat_interval = None if without_heartbeat else (heartbeat_interval or INTERVAL)
        self.statedb = either("worker_state_db", statedb)
        self.worker_lost_wait = either("worker_lost_wait", worker_lost_wait)
        self.with_beat = beat
        self.schedule_filename = schedule_filename
        self.scheduler = scheduler
        self._prefetch_given = prefetch_multiplier is not None or conf.value_set_for(
            "worker_prefetch_multiplier"
        )
        self.prefetch_multiplier = int(either("worker_prefetch_multiplier", prefetch_multiplier) or 0)

    def _either(self, setting: str, *given: Any) -> Any:
        for value in given:
            if value is not None:
                return value
        return getattr(self.app.conf, setting)

    @property
    def pool_name(self) -> str:
        """The pool's short name: `prefork`, `solo`, ..., or its class path."""
        cls = self.pool_cls
        name = cls if isinstance(cls, str) else f"{cls.__module__}:{cls.__qualname__}"
        if name == "processes":
            return "prefork"
        module, _, attribute = name.partition(":")
        if attribute == "TaskPool" and module.startswith("celery.concurrency."):
            return module.rpartition(".")[2]
        return name

    def setup_instance(
        self,
        queues: Any = None,
        ready_callback: Any = None,
        pidfile: str | None = None,
        include: Any = None,
        exclude_queues: Any = None,
        **kwargs: Any,
    ) -> None:
        """Select queues, import what is included besides.

        Raises:
            ImproperlyConfigured: an unknown queue.
        """
        self.pidfile = pidfile
        self.ready_callback = ready_callback
        self.options = kwargs
        self.setup_queues(queues, exclude_queues)
        self.setup_includes(_names(include))
        self.on_init_blueprint()
        self.consumer = Consumer(self)

    def setup_queues(self, include: Any, exclude: Any = None) -> None:
        """Consume only `include` (-Q), and not `exclude` (-X).

        Raises:
            ImproperlyConfigured: one of them is not configured.
        """
        include, exclude = _names(include), _names(exclude)
        queues = self.app.amqp.queues
        try:
            queues.select(include)
        except KeyError as exc:
            raise ImproperlyConfigured(SELECT_UNKNOWN_QUEUE.strip().format(include, exc)) from exc
        try:
            queues.deselect(exclude)
        except KeyError as exc:
            raise ImproperlyConfigured(DESELECT_UNKNOWN_QUEUE.strip().format(exclude, exc)) from exc
        if self.app.conf.worker_direct:
            queues.select_add(Queue(f"{self.hostname}.dq2", Exchange("C.dq2"), self.hostname))

    def setup_includes(self, includes: list[str]) -> None:
        """Import more task modules (-I)."""
        if includes:
            known = list(self.app.conf.include or ())
            self.app.conf.include = tuple(known + [name for name in includes if name not in known])
        self.include = includes
        for name in includes:
            self.app.loader.import_task_module(name)

    def consumed_queues(self) -> list[Queue]:
        """The queues this worker takes messages from."""
        return [queue_from_any(queue) for queue in self.app.amqp.queues.consume_from.values()]

    # -- running ----------------------------------------------------------------------------------
    def start(self) -> None:
        """Work until told to stop. `exitcode` says how it ended.

        Raises:
            ImproperlyConfigured: the options cannot be kept, for example a time limit in a pool without limits.
        """
        try:
            self.on_start()
            core = self.core = self._build()
            state.use(self._state)
            signals.worker_init.send(sender=self)
            self._add_control(core)
            self._add_steps(core)
            if self.installs_signal_handlers:  # the process is the worker's own
                self._settle_memory()
            self.pool.prefork()
            core.stop(self._stop_wanted)
            self._start_beat()
            self._run(core)
        except WorkerTerminate as exc:
            self._note_exit(exc.code)
        except BaseException:
            self._note_exit(EX_FAILURE)
            raise
        finally:
            self._finish()

    def _add_control(self, core: Core) -> None:
        """Let others ask and tell, and keep what they have revoked."""
        conf = self.app.conf
        if self.statedb:
            from .statedb import Persistent  # noqa: PLC0415 - few workers keep a file

            self._persistent = core.statedb = Persistent(state, self.statedb, self.app.clock)
        if conf.worker_enable_remote_control:
            if conf.control_queue_durable and conf.control_queue_exclusive:
                raise ImproperlyConfigured(
                    "control_queue_durable and control_queue_exclusive cannot both be True: an exclusive queue ends with "
                    "its connection."
                )
            from .pidbox import Pidbox  # noqa: PLC0415 - may be switched off

            core.pidbox = Pidbox(self, self.app.broker_for_read())
            core.mingles = not self.options.get("without_mingle")
            if core.mingles:
                from . import mingle  # noqa: F401, PLC0415 - its processes share what is loaded before they are forked

    def _start_beat(self) -> None:
        """Start the worker's own beat (`-B`), after the fork of what forks children."""
        if self.with_beat:
            from celery.beat import EmbeddedService  # noqa: PLC0415 - few workers have one

            self.beat = EmbeddedService(
                self.app, schedule_filename=self.schedule_filename, scheduler_cls=self.scheduler
            )
            self.beat.start()

    def _add_steps(self, core: Core) -> None:
        if any(self.app.steps.values()):
            from .steps import UserSteps  # noqa: PLC0415 - most applications have none

            core.steps = UserSteps(self, self.options)

    def _settle_memory(self) -> None:
        """Load what the core needs and take all that is loaded out of garbage collection.

        Pool processes then share it: what is imported after their fork is paid for alone, and a collection writes
        to every object it looks at.
        """
        load_loop()
        self.app.broker_for_read().consumer(self.hostname)  # made, not started: its driver is loaded
        gc.collect()
        gc.freeze()

    def _build(self) -> Core:
        """Make pool and core; nothing is started yet."""
        app = self.app
        tasks = list(app.tasks.values())
        for task in tasks:
            self._policy(task.name)  # what is wrong with one is said now, not when a message comes
        try:
            pool_cls = concurrency.get_implementation(self.pool_cls)
        except ImportError as exc:
            raise ImproperlyConfigured(f"Setting 'worker_pool': {exc}") from exc
        self.pool = concurrency.make_pool(
            pool_cls, app, limit=self.concurrency, hostname=self.hostname, options=self._pool_options()
        )
        check_time_limits(self.pool, self.pool_name, self.time_limit, self.soft_time_limit, tasks)
        warn_of_long_tasks(app.broker_for_read().capabilities.held_at_most, self.time_limit, tasks)
        warn_of_strategies(tasks)
        warn_not_effective(app.conf)
        warn_not_cancelled(app.conf, self.pool, self.pool_name)
        return Core(
            app,
            self.pool,
            app.broker_for_read(),
            self.consumed_queues(),
            self._core_options(),
            self._policy,
            self._state,
            publish=self._publish,
            sender=self.consumer,
            on_ready=self._ready,
        )

    def _pool_options(self) -> PoolOptions:
        return PoolOptions(
            max_tasks_per_child=self.max_tasks_per_child or None,
            max_memory_per_child=self.max_memory_per_child or None,
            start_method=self.pool_start_method or "fork",
            soft_time_limit=self.soft_time_limit,
            time_limit=self.time_limit,
            alive_timeout=self.app.conf.worker_proc_alive_timeout,
            initializer=self.child_initializer(),
        )

    def child_initializer(self) -> Any:
        """What every pool process calls as `(app, hostname)` before it is ready; None for nothing."""
        return None

    def _core_options(self) -> WorkerOptions:
        conf = self.app.conf
        slots = 1 if self.pool.needs_main_thread else self.concurrency
        bound = None
        if self._prefetch_given and self.prefetch_multiplier > 0:
            bound = self.prefetch_multiplier * slots
        retry_at_start, zone = conf.broker_connection_retry_on_startup, self._zone()
        return WorkerOptions(
            hostname=self.hostname,
            concurrency=slots,
            prefetch_bound=bound,
            fetch_ahead=not self.disable_prefetch,
            time_limit=self.time_limit,
            soft_time_limit=self.soft_time_limit,
            max_deliveries=conf.task_max_deliveries or 0,
            park_unknown=conf.task_unknown == "park",
            deduplicate=bool(conf.worker_deduplicate_successful_tasks),
            cancel_on_loss=bool(conf.worker_cancel_long_running_tasks_on_connection_loss),
            soft_shutdown_timeout=conf.worker_soft_shutdown_timeout or 0.0,
            soft_shutdown_on_idle=bool(conf.worker_enable_soft_shutdown_on_idle),
            shutdown_grace=conf.worker_shutdown_grace,
            connection_retry=bool(conf.broker_connection_retry),
            connection_retry_on_startup=bool(
                conf.broker_connection_retry if retry_at_start is None else retry_at_start
            ),
            connection_max_retries=(
                conf.broker_connection_max_retries
                if conf.value_set_for("broker_connection_max_retries")
                else None
            ),
            heartbeat=conf.broker_heartbeat or 0.0,
            local=UTC if conf.enable_utc else zone,
            accept=prepare_accept_content(conf.accept_content, setting="accept_content"),
            guarded=self.pool_name != "prefork",
            task_events=self.task_events,
            heartbeat_interval=self.heartbeat_interval,
        )

    def _zone(self) -> tzinfo:
        if self.app.conf.enable_utc and not self.app.conf.timezone:
            return UTC  # without the database of zones
        try:
            zone: tzinfo = self.app.timezone
        except (KeyError, ValueError, OSError) as exc:
            raise ImproperlyConfigured(
                f"Setting 'timezone' is {self.app.conf.timezone!r}: expected the name of a time zone, such as "
                "'Europe/Oslo' (a system without time zone data needs the package tzdata)."
            ) from exc
        return zone

    def _policy(self, name: str) -> TaskPolicy | None:
        """The policy of a task; None if it is not registered. Read once, then kept."""
        policy = self._policies.get(name)
        if policy is None:
            task = self.app.tasks.get(name)
            if task is None:
                return None
            defaults = {
                "time_limit": self.time_limit,
                "soft_time_limit": self.soft_time_limit,
                "rate_limits": not self.disable_rate_limits,
                "deduplicate": self.app.conf.worker_deduplicate_successful_tasks,
                "announce": any(self.app.steps.values()),  # a step may look at `time_start` of requests
            }
            policy = self._policies[name] = policy_for(task, defaults)
        return policy

    def reread_policy(self, name: str) -> None:
        """Attributes of a task have changed; on the core's loop. Runs that are here keep what they had."""
        self._policies.pop(name, None)

    def resize(self, change: int) -> None:
        """Run more tasks at once, or fewer (a negative number). Not for the core's loop.

        Raises:
            ValueError: the pool keeps its size, or would have none left.
        """
        if self.core is not None:
            self.core.ask(self._resize, change)

    def _resize(self, change: int) -> None:
        assert self.core is not None
        size = self.concurrency + change
        if size < 1:
            raise ValueError(f"a pool of {self.concurrency} cannot shrink by {-change}")
        self.pool.resize(size)
        self.concurrency = size
        dispatcher = self.core.crew.dispatcher
        dispatcher.slots = size
        if dispatcher.bound is not None:
            dispatcher.bound = self.prefetch_multiplier * size
        dispatcher.pump()

    def restart_pool(self) -> None:
        """Replace the processes of the pool; each ends its task first. Not for the core's loop.

        Raises:
            ValueError: the pool has none that could be replaced.
        """
        restart = getattr(self.pool, "restart", None)
        if restart is None or self.core is None:
            raise ValueError(f"the {self.pool_name} pool cannot be restarted")
        self.core.ask(restart)

    def _publish(self, message: Outgoing) -> None:
        """Send a lost task's retry."""
        publisher = self.app.broker_for_write().publisher()
        (error,) = publisher.publish([message], deadline=time.monotonic() + RESEND_WITHIN)
        if error is not None:
            raise error

    def _run(self, core: Core) -> None:
        if not self.pool.needs_main_thread:
            core.run()
            return
        thread = threading.Thread(target=core.run, name="celery-core", daemon=True)
        thread.start()
        try:
            self.pool.run_in_main()
        except BaseException:
            core.stop(Stop.COLD)
            raise
        finally:
            while thread.is_alive():
                thread.join(1.0)  # signals must be heard meanwhile

    def _ready(self) -> None:
        """Tasks are being taken."""
        self.consumer.on_ready()
        self.on_consumer_ready(self.consumer)
        if self.ready_callback is not None:
            self.ready_callback(self.consumer)

    def _finish(self) -> None:
        if self.core is not None and self.core.failed:
            self._note_exit(EX_FAILURE)
        self._note_exit(EX_OK)
        if self.beat is not None:
            self.beat.stop()
        if self._timer is not None:
            self._timer.stop()
        self._save_state()
        if self.events is not None:
            self.events.close()
        try:
            self.on_close()
            signals.worker_shutdown.send(sender=self)
            self.app.loader.shutdown_worker()
        finally:
            if self.pidlock is not None:
                self.pidlock.release()
            self._ended.set()
            self.on_stopped()

    def _save_state(self) -> None:
        if self._persistent is not None:
            self._persistent.keep()

    def _note_exit(self, code: Any) -> None:
        """Remember the first exit code that was decided on."""
        if self.exitcode is None:
            self.exitcode = code if isinstance(code, int) else EX_FAILURE

    # -- stopping ---------------------------------------------------------------------------------
    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """End when what runs has ended (warm). Returns at once; `start` returns when it is over.

        Safe from any thread, and from a signal handler.
        """
        if exitcode is not None:
            self.exitcode = exitcode
        self.shut_down(Stop.WARM)

    def terminate(self, in_sighandler: bool = False) -> None:
        """End now: running tasks are killed; late-acknowledged ones go back in the queue."""
        self.shut_down(Stop.COLD)

    def shut_down(self, how: Stop) -> None:
        """End in a given way, or more urgently than before."""
        self._stop_wanted = max(self._stop_wanted, how)
        if self.core is not None:
            self.core.stop(how)

    def obey(self, request: SystemExit) -> None:
        """End because code of the user's raised `SystemExit`, `WorkerShutdown` or `WorkerTerminate`."""
        if self.exitcode is None and isinstance(request.code, int):
            self.exitcode = request.code
        self.shut_down(Stop.COLD if isinstance(request, WorkerTerminate) else Stop.WARM)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the worker has ended; False if that took longer than `timeout` seconds."""
        return self._ended.wait(timeout)

    # -- asking -----------------------------------------------------------------------------------
    @property
    def events(self) -> EventSender | None:
        """Sends this worker's events; None before `start`."""
        return None if self.core is None else self.core.crew.events

    @property
    def timer(self) -> WorkerTimer | None:
        """Makes calls at their time, on the extension thread (`celery.utils.timer2.Timer`); None before `start`."""
        if self._timer is None and self.core is not None:
            from .timer import WorkerTimer  # noqa: PLC0415 - most workers need none

            self._timer = WorkerTimer(self.core.crew.extension, self.obey)
        return self._timer

    @property
    def active_requests(self) -> Any:
        """The requests that the pool has; see `celery.worker.state.active_requests`."""
        return state.active_requests

    @property
    def state(self) -> Any:
        """The module `celery.worker.state`, which shows this worker's state."""
        return state

    def rusage(self) -> dict[str, Any]:
        """What this process has used: `utime`, `stime`, `maxrss`, ..."""
        import resource  # noqa: PLC0415 - not on every platform

        used = resource.getrusage(resource.RUSAGE_SELF)
        return {name[3:]: getattr(used, name) for name in dir(used) if name.startswith("ru_")}

    def info(self) -> dict[str, Any]:
        """What this worker has done: `total` runs by task, its `pid`, `clock` and `uptime` in seconds."""
        return {
            "total": dict(self._state.totals),
            "pid": os.getpid(),
            "clock": str(self.app.clock),
            "uptime": round(time.time() - self.startup_time),
        }

    def stats(self) -> dict[str, Any]:
        """`info`, with the pool, the window in force and resource usage."""
        info = self.info()
        if self.pool is not None:
            shown = self.pool.info
            info["pool"] = shown() if callable(shown) else shown
        info["prefetch_count"] = self.consumer.max_prefetch_count
        if sys.platform != "win32":
            info["rusage"] = self.rusage()
        return info

    def __repr__(self) -> str:
        running = self.core is not None and not self._ended.is_set()
        return f"<Worker: {self.hostname} ({'running' if running else 'not running'})>"


def _names(given: str | Iterable[str] | None) -> list[str]:
    """A list from a list or comma-separated text."""
    if not given:
        return []
    if isinstance(given, str):
        return [name.strip() for name in given.split(",") if name.strip()]
    return list(given)
