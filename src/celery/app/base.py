"""`Celery`, the application object: a facade; what it does is done by the modules around it."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections import defaultdict, deque
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from celery import _state
from celery._public import publish
from celery.app import binding, builtins, forking, hooks, making, wiring
from celery.app.annotations import prepare as prepare_annotations
from celery.app.binding import _unpickle_appattr  # noqa: F401 - for pickles
from celery.app.clock import LamportClock
from celery.app.configuration import ConfigRecord, load_settings, module_from_environment
from celery.app.discovery import discover, discover_later
from celery.app.given import OMITTED, given_options
from celery.app.identity import Identity
from celery.app.periodic import PeriodicTasks
from celery.app.pickling import _unpickle_app_v2, constructor_arguments, old_arguments
from celery.app.pools import KombuPools
from celery.app.registry import TaskRegistry
from celery.app.stores import ResultStores
from celery.app.utils import AppPickler, Settings
from celery.app.utils import bugreport as _bugreport
from celery.loaders import get_loader_cls
from celery.platforms import IS_WINDOWS, SYSTEM, IS_macOS
from celery.utils import cached_property
from celery.utils.functional import head_from_fun
from celery.utils.imports import gen_task_name, instantiate, symbol_by_name
from celery.utils.objects import mro_lookup
from celery.utils.time import timezone

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
    from datetime import tzinfo

    from celery.app.amqp import AMQP
    from celery.app.control import Control
    from celery.app.links import Links
    from celery.app.task import Task
    from celery.app.task_types import AsyncTask, BoundTaskDecorator, TaskDecorator
    from celery.brokers.base import Broker
    from celery.canvas import Signature
    from celery.canvas.plans import Plan
    from celery.result import AsyncResult as Result
    from celery.result import GroupResult as _GroupResult
    from celery.result import ResultSet as _ResultSet
    from celery.utils.dispatch import Signal

__all__ = ("Celery",)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: Kept for tools that look at it: set where processes are started by exec.
USING_EXECV = os.environ.get("FORKED_BY_MULTIPROCESSING")

#: The module whose import declares the built-in tasks.
BUILTIN_TASKS = builtins

BUILTIN_FIXUPS = {"celery.fixups.django:fixup"}


if TYPE_CHECKING:
    #: Where `Task` is an attribute of the app.
    _Task: TypeAlias = Task[P, R]


def app_has_custom(app: Any, attr: str) -> Any:
    """Whether the app's class defines `attr` itself."""
    return mro_lookup(type(app), attr, stop={Celery, object}, monkey_patched=[__name__])


class Celery:
    """An application: its configuration, its tasks, and its ways to broker and results.

    Making one reads no configuration, opens no connection and makes no task; each happens when first needed.

    Args:
        main: stands for `__main__` in automatic task names.
        loader: class of the loader, or its path; default: environment `CELERY_LOADER`, then the app loader.
        backend: where results go: URL, alias or class.
        amqp, events, log, control, task_cls: a class, or its path, in place of the usual one.
        set_as_current: make this the current app of this thread.
        tasks: the registry, or a class of registries, or its path.
        broker: URL of the broker.
        include: modules that a worker imports.
        changes: settings, stronger than the configuration source.
        config_source: as for `config_from_object`.
        fixups: paths of adaptations to frameworks.
        autofinalize: False: using a task before `finalize()` is an error.
        namespace: prefix of the names of settings in the configuration source.
        strict_typing: the default of `Task.typing`.
        config_source_silent: a configuration source that cannot be imported is no error.
        **kwargs: settings.
    """

    SYSTEM = SYSTEM
    IS_macOS = IS_macOS
    IS_WINDOWS = IS_WINDOWS
    Pickler = AppPickler

    main: str | None = None
    amqp_cls: Any = "celery.app.amqp:AMQP"
    backend_cls: Any = None
    events_cls: Any = "celery.app.events:Events"
    loader_cls: Any = None
    log_cls: Any = "celery.app.log:Logging"
    control_cls: Any = "celery.app.control:Control"
    task_cls: Any = "celery.app.task:Task"
    registry_cls: Any = "celery.app.registry:TaskRegistry"
    builtin_fixups: ClassVar[Iterable[str]] = BUILTIN_FIXUPS
    #: Bootsteps to add to the worker's and the consumer's.
    steps: defaultdict[str, set[Any]] = None  # type: ignore[assignment]
    #: Options (of click) to add to commands.
    user_options: defaultdict[str, set[Any]] = None  # type: ignore[assignment]

    #: Before the configuration is read.
    on_configure: Any = None
    #: After it was read; `source` is the configuration.
    on_after_configure: Signal = cast("Signal", None)
    #: When every task exists.
    on_after_finalize: Signal = cast("Signal", None)
    #: In a child after a fork.
    on_after_fork: Signal = cast("Signal", None)

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: Any = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Any = None,
        broker: Any = None,
        include: Any = None,
        changes: Mapping[str, Any] | None = None,
        config_source: Any = None,
        fixups: Iterable[str] | None = None,
        task_cls: Any = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        **kwargs: Any,
    ) -> None:
        self.clock = LamportClock()
        self.main = main
        self.amqp_cls = amqp or self.amqp_cls
        self.events_cls = events or self.events_cls
        self.loader_cls = loader or self._get_default_loader()
        self.log_cls = log or self.log_cls
        self.control_cls = control or self.control_cls
        self._custom_task_cls_used = bool(task_cls)
        self.task_cls = task_cls or self.task_cls
        self.set_as_current = set_as_current
        self.registry_cls = symbol_by_name(self.registry_cls)
        self.user_options = defaultdict(set)
        self.steps = defaultdict(set)
        self.autofinalize = autofinalize
        self.namespace = namespace
        self.strict_typing = strict_typing
        self.configured = False
        self.finalized = False
        #: Proxies of tasks that are not made yet.
        self.pending_tasks: deque[Any] = deque()
        self.duplicates_warned: set[str] = set()
        self._periodic = PeriodicTasks(self)
        self._finalize_mutex = threading.RLock()
        self._identity = Identity(self)
        self._stores = ResultStores(self)
        self._pools = KombuPools(self)
        self._task_class: Any = None
        hooks.make_signals(self)
        self._registry: TaskRegistry = self._make_registry(tasks)
        self.config_record = ConfigRecord(
            source=config_source, silent=config_source_silent, namespace=namespace
        )
        given = {"broker_url": broker, "result_backend": backend, "include": include, **kwargs}
        presets = {**(changes or {}), **{key: value for key, value in given.items() if value is not None}}
        self._conf: Settings = Settings.pending(presets, self._load_config)
        if set_as_current:
            self.set_current()
        self.fixups = set(self.builtin_fixups) if fixups is None else fixups
        self._fixups = [fixup for fixup in map(self._load_fixup, self.fixups) if fixup is not None]
        self.on_init()
        _state._register_app(self)
        forking.track(self)

    def _make_registry(self, tasks: Any) -> TaskRegistry:
        tasks = symbol_by_name(tasks) if isinstance(tasks, str) else tasks
        if isinstance(tasks, TaskRegistry):
            return tasks
        return cast("TaskRegistry", self.registry_cls(tasks or {}))

    def _load_fixup(self, path: Any) -> Any:
        # Django's does nothing elsewhere: do not even import it.
        if path in BUILTIN_FIXUPS and not os.environ.get("DJANGO_SETTINGS_MODULE"):
            return None
        return symbol_by_name(path)(self)

    def _get_default_loader(self) -> Any:
        return os.environ.get("CELERY_LOADER") or self.loader_cls or "celery.loaders.app:AppLoader"

    def on_init(self) -> None:
        """Called at the end of construction; for subclasses."""

    # -- being current

    def set_current(self) -> None:
        """Make this the current app of this thread."""
        _state._set_current_app(self)

    def set_default(self) -> None:
        """Make this the app of every thread that has no current one."""
        _state.set_default_app(self)

    def __enter__(self) -> Celery:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open, and be no longer among the apps. It can still be used: things are opened again."""
        self._close_links()
        _state._deregister_app(self)

    def _close_links(self) -> None:
        links = self.__dict__.pop("_links", None)
        if links is not None:
            links.close()
        self._pools.close()

    # -- the command line

    def start(self, argv: Sequence[str] | None = None) -> Any:
        """Run the `celery` command for this app; return its exit code.

        Args:
            argv: default: those of the process.
        """
        main = wiring.resolve("main")
        try:
            return main(argv=None if argv is None else list(argv), app=self)
        except SystemExit as exc:
            return exc.code

    def worker_main(self, argv: Sequence[str] | None = None) -> Any:
        """Run `celery worker` for this app; the word `worker` is added to `argv` if it is not there."""
        argv = list(sys.argv[1:] if argv is None else argv)
        if "worker" not in argv:
            argv.insert(0, "worker")
        return self.start(argv=argv)

    # -- tasks

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]
    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, *, bind: Literal[True], **opts: Any) -> BoundTaskDecorator: ...
    @overload
    def task(self, /, *, bind: Literal[False] = ..., **opts: Any) -> TaskDecorator: ...
    @overload
    def task(self, fun: Callable[..., R], /, **opts: Any) -> Task[..., R]: ...
    def task(self, /, *args: Any, **opts: Any) -> Any:
        """Make a task of a function; usable as `@app.task` and `@app.task(...)`.

        Args:
            *args: the function, at most.
            **opts: `name`, `base` (class), `bind` (the task itself is the first argument), `shared` (make it a
                task of every other app too), `lazy` (make it when the app is finalized), `filter` (called
                with the result), `pydantic...`, those of automatic retries, `typing`; any other becomes
                an attribute of the task.

        Raises:
            TypeError: something other than one callable was given.
        """
        return making.decorate(self, args, opts)

    def _task_from_fun(self, fun: Callable[..., Any], **options: Any) -> Any:
        return making.task_from_fun(self, fun, **options)

    @overload
    def register_task(self, task: type[T], **options: Any) -> T: ...
    @overload
    def register_task(self, task: T, **options: Any) -> T: ...
    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a class-based task, in place of one of the same name.

        Args:
            task: an instance or a class; without a name it is given one by `gen_task_name`.
            **options: those of automatic retries.
        """
        return making.register(self, task, **options)

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the automatic name of a task; may be overridden."""
        return gen_task_name(self, name, module)

    def type_checker(self, fun: Callable[..., Any], bound: bool = False) -> Callable[..., Any]:
        """Return what raises TypeError for arguments that `fun` does not take."""
        return head_from_fun(fun, bound=bound)

    @property
    def registry(self) -> TaskRegistry:
        """The tasks made so far; unlike `tasks` this finalizes nothing."""
        return self._registry

    @property
    def tasks(self) -> TaskRegistry:
        """Every task of this app, by name.

        Raises:
            RuntimeError: the app is not finalized, and does not finalize by itself.
        """
        if not self.finalized:
            self.finalize(auto=True)
        return self._registry

    def finalize(self, auto: bool = False) -> None:
        """Make every task that was declared, and bind it. Does nothing the second time.

        Args:
            auto: this is because something needed a task.

        Raises:
            RuntimeError: `auto`, but the app does not finalize by itself.
        """
        making.finalize(self, auto=auto)

    @property
    def Task(self) -> Any:
        """The base class of this app's tasks; may be assigned."""
        if self._task_class is None:
            self._task_class = self.create_task_cls()
        return self._task_class

    @Task.setter
    def Task(self, cls: Any) -> None:
        self._custom_task_cls_used = True
        self.task_cls = cls
        self._task_class = None

    def create_task_cls(self) -> Any:
        """Make the base class of this app's tasks, of `task_cls`."""
        return self.subclass_with_self(
            self.task_cls, name="Task", attribute="_app", keep_reduce=True, abstract=True
        )

    @property
    def annotations(self) -> Iterable[Any]:
        """The setting `task_annotations`, as objects."""
        return prepare_annotations(self.conf.task_annotations)

    def autodiscover_tasks(
        self, packages: Any = None, related_name: str | None = "tasks", force: bool = False
    ) -> None:
        """Have the module `related_name` of each package imported when tasks are needed.

        Args:
            packages: names, or a function that returns them; none: those that a framework's fixup knows.
            related_name: None: the packages themselves.
            force: import now.
        """
        (discover if force else discover_later)(self, packages, related_name)

    def add_periodic_task(
        self, schedule: Any, sig: Any, args: Any = (), kwargs: Any = (), name: str | None = None, **opts: Any
    ) -> str:
        """Add an entry to `beat_schedule`, now or when the configuration is read; return its key.

        Args:
            schedule: seconds, a timedelta or a schedule.
            sig: the signature (or task) to send.
            args, kwargs: added to the signature's own.
            name: the key; default: the text of the call.
            **opts: options of `apply_async`.
        """
        return self._periodic.add(schedule, sig, args, kwargs, name, opts)

    # -- configuration

    @property
    def conf(self) -> Settings:
        """The settings; reading any of them reads the configuration."""
        return self._conf

    @conf.setter
    def conf(self, settings: Any) -> None:
        if isinstance(settings, Settings):
            self._conf = settings
        else:
            self._conf.clear()
            self._conf.update(settings)

    def _load_config(self, conf: Settings) -> None:
        self.on_configure.send(sender=self)
        load_settings(self)
        self.configured = True
        self._periodic.settle()
        self.on_after_configure.send(sender=self, source=conf)
        self._periodic.settle()  # what the receivers have added

    def prepare_config(self, c: Any) -> Any:
        """Return the configuration as read from its source, changed or not; may be overridden."""
        return c

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Any:
        """Take the configuration from an object, in place of any earlier source. It is read when first needed.

        Args:
            obj: name of a module (or of an attribute in one), module, class, instance or mapping.
            silent: that it cannot be imported is no error.
            force: read it now, and return the settings.
            namespace: prefix of the names; only these are read.
        """
        self.config_record.source = obj
        self.config_record.silent = silent
        if namespace is not None:
            self.namespace = self.config_record.namespace = namespace
        was_loaded = self._conf.loaded
        self._conf.forget()
        return self._conf.finalize() if force or was_loaded else None

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> Any:
        """Take the configuration from the module that an environment variable names.

        Raises:
            ImproperlyConfigured: the variable is not set, and `silent` is false.
        """
        module = module_from_environment(variable_name, silent=silent)
        return self.config_from_object(module, silent=silent, force=force) if module else False

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Set what arguments of the form `family.name=value` say."""
        self._conf.update(self.loader.cmdline_config_parser(argv, namespace))

    def add_defaults(self, fun: Any) -> Any:
        """Add settings, stronger than the configuration source, weaker than changes made by code.

        Args:
            fun: a mapping, or a function that returns one and is called when the configuration is read.
        """
        self.config_record.defaults.append(fun)
        if self._conf.loaded:
            return self._conf.add_defaults(fun)
        return None

    def either(self, default_key: str, *defaults: Any) -> Any:
        """Return the first of `defaults` that is not None, else the setting `default_key`."""
        for value in defaults:
            if value is not None:
                return value() if callable(value) and not isinstance(value, type) else value
        return self.conf[default_key]

    def bugreport(self) -> str:
        """Text about versions and settings, for reports of errors."""
        return _bugreport(self)

    # -- sending

    def _send_call(self, task: Any, args: Any, kwargs: Any, given: Mapping[str, Any]) -> Any:
        """Send a call of one of our tasks: `send_task`, without the long way unless somebody has replaced that.

        Args:
            given: options; not to be changed.
        """
        if not self._sends_calls():
            return self.send_task(
                task.name, args, kwargs, **{"result_cls": task.AsyncResult, "task_type": task, **given}
            )
        return self._calling.send_call(self, task, args, kwargs, given)

    def _sends_calls(self) -> bool:
        """Whether nobody has replaced `send_task`."""
        return type(self).send_task is Celery._plain_send_task and "send_task" not in self.__dict__

    def _sends_as_usual(self, task: Any) -> bool:
        """Whether no code but ours sees with which options a task is called."""
        snapshot = self.amqp.snapshot
        usual = snapshot.static_routes and not snapshot.always_eager
        return usual and self._sends_calls() and bool(task._is_called_as_usual())

    @functools.cached_property
    def _calling(self) -> Any:
        from celery.app import calling  # noqa: PLC0415 - programs that only define tasks send none

        return calling

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        expires: Any = OMITTED,
        publisher: Any = None,
        link: Any = None,
        link_error: Any = None,
        add_to_parent: bool = True,
        group_id: str | None = None,
        group_index: int | None = None,
        retries: int = 0,
        chord: Any = None,
        reply_to: str | None = None,
        time_limit: Any = OMITTED,
        soft_time_limit: Any = OMITTED,
        root_id: str | None = None,
        parent_id: str | None = None,
        route_name: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        task_type: Any = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> Result[Any]:
        """Send a task by name; it need not be known here. See `Task.apply_async` for the options.

        Returns:
            The result of the call; `result_cls` makes it.

        Raises:
            OperationalError: the broker did not take the message.
            EncodeError: an argument cannot be serialized.
        """
        given = given_options(locals())
        from celery.app import calling  # noqa: PLC0415 - programs that only define tasks send none

        given.update(options)
        result = calling.send_task(
            self, name, args, kwargs, given, result_cls=result_cls, add_to_parent=add_to_parent
        )
        return cast("Result[Any]", result)

    _plain_send_task = send_task

    async def asend_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *,
        result_cls: Any = None,
        add_to_parent: bool = True,
        **options: Any,
    ) -> Result[Any]:
        """`send_task` that awaits the broker instead of blocking the event loop."""
        from celery.app import calling  # noqa: PLC0415 - programs that only define tasks send none

        result = await calling.asend_task(
            self, name, args, kwargs, options, result_cls=result_cls, add_to_parent=add_to_parent
        )
        return cast("Result[Any]", result)

    @overload
    def send_many(self, name: _Task[..., R], calls: Iterable[Any], **options: Any) -> list[Result[R]]: ...
    @overload
    def send_many(self, name: str, calls: Iterable[Any], **options: Any) -> list[Result[Any]]: ...
    def send_many(self, name: Any, calls: Iterable[Any], **options: Any) -> list[Result[Any]]:
        """Send a task many times with few round trips to the broker.

        Args:
            name: of the task, or the task itself: then arguments are checked, and the task's own options count.
            calls: the positional arguments of each call as a list or tuple, its keyword arguments as a
                mapping, or `celery.app.sending.Call` objects.
            **options: of `apply_async`, for all calls. Unlike there, the results are remembered as those of tasks
                called by the running one only with `add_to_parent=True`.

        Raises:
            TypeError: the task does not take these arguments; calls before that may have been sent.
            OperationalError: some were not sent; its attribute `sent` says how many certainly were.
        """
        from celery.app import calling  # noqa: PLC0415 - programs that only define tasks send none

        return calling.send_many(self, name, calls, options)

    @overload
    async def asend_many(
        self, name: _Task[..., R], calls: Iterable[Any], **options: Any
    ) -> list[Result[R]]: ...
    @overload
    async def asend_many(self, name: str, calls: Iterable[Any], **options: Any) -> list[Result[Any]]: ...
    async def asend_many(self, name: Any, calls: Iterable[Any], **options: Any) -> list[Result[Any]]:
        """`send_many` that awaits the broker instead of blocking the event loop."""
        from celery.app import calling  # noqa: PLC0415 - programs that only define tasks send none

        return await calling.asend_many(self, name, calls, options)

    def _launch(self, plan: Plan) -> None:
        from celery.app import launching  # noqa: PLC0415 - not every program has workflows

        launching.launch(self, plan)

    async def _alaunch(self, plan: Plan) -> None:
        from celery.app import launching  # noqa: PLC0415 - not every program has workflows

        await launching.alaunch(self, plan)

    def signature(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """Make a signature bound to this app. See `celery.signature`."""
        from celery import canvas  # noqa: PLC0415 - not every program has signatures

        kwargs["app"] = self
        return canvas.signature(*args, **kwargs)

    def select_queues(self, queues: Any = None) -> Any:
        """Consume only from these queues (names; a list or separated by commas)."""
        return self.amqp.queues.select(queues)

    # -- parts

    @cached_property
    def loader(self) -> Any:
        """Reads the configuration and imports modules."""
        return get_loader_cls(self.loader_cls)(app=self)

    # The parts that every call looks at are kept as plain attributes: ours costs a function call at each look.
    @functools.cached_property
    def amqp(self) -> AMQP:
        """Queues, routes and messages."""
        return cast("AMQP", instantiate(self.amqp_cls, app=self))

    @cached_property
    def log(self) -> Any:
        """Sets logging up."""
        return instantiate(self.log_cls, app=self)

    @cached_property
    def events(self) -> Any:
        """Receivers and senders of events."""
        return instantiate(self.events_cls, app=self)

    @property
    def backend(self) -> Any:
        """Where results are: one object for each thread, unless `result_backend_thread_safe`."""
        return self._stores.get()

    @backend.setter
    def backend(self, value: Any) -> None:
        self._stores.share(value)

    @functools.cached_property
    def control(self) -> Control:
        """Remote control of workers."""
        made: Control = instantiate(self.control_cls, app=self)
        return made

    if TYPE_CHECKING:
        AsyncResult: type[Result[Any]]
        ResultSet: type[_ResultSet[Any]]
        GroupResult: type[_GroupResult[Any]]
        WorkController: Any
        Worker: Any
        Beat: Any
    else:

        @functools.cached_property
        def AsyncResult(self) -> Any:
            """`celery.result.AsyncResult` bound to this app."""
            return self.subclass_with_self("celery.result:AsyncResult")

        @cached_property
        def ResultSet(self) -> Any:
            """`celery.result.ResultSet` bound to this app."""
            return self.subclass_with_self("celery.result:ResultSet")

        @cached_property
        def GroupResult(self) -> Any:
            """`celery.result.GroupResult` bound to this app."""
            return self.subclass_with_self("celery.result:GroupResult")

        @cached_property
        def WorkController(self) -> Any:
            """The embeddable worker, bound to this app."""
            return self.subclass_with_self(wiring.TABLE["WorkController"])

        @cached_property
        def Worker(self) -> Any:
            """The worker program, bound to this app."""
            return self.subclass_with_self(wiring.TABLE["Worker"])

        @cached_property
        def Beat(self) -> Any:
            """The program that sends periodic tasks, bound to this app."""
            return self.subclass_with_self(wiring.TABLE["Beat"])

    def subclass_with_self(
        self,
        Class: Any,
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,
        **kw: Any,
    ) -> Any:
        """Make a subclass that has this app as a class attribute.

        Args:
            Class: the class or its path.
            name: of the new class; default: the same.
            attribute: where the app is kept.
            reverse: the attribute of the app that gives this class, for pickling; default: its name.
            keep_reduce: leave pickling to the class.
            **kw: more attributes.
        """
        return binding.subclass(
            self, Class, name=name, attribute=attribute, reverse=reverse, keep_reduce=keep_reduce, **kw
        )

    # -- brokers

    @functools.cached_property
    def _links(self) -> Links:
        from celery.app.links import Links  # noqa: PLC0415 - programs that only define tasks open none

        return Links(self)

    def broker_for_write(self) -> Broker:
        """The broker that messages are sent to, through our own ports."""
        return self._links.broker(self.amqp.snapshot.broker_url)

    def broker_for_read(self) -> Broker:
        """The broker that workers consume from, through our own ports."""
        return self._links.broker(self.conf.broker_read_url)

    def broker_at(self, url: str) -> Broker:
        """The broker at a URL, through our own ports."""
        return self._links.broker(url)

    def connection_for_read(self, url: str | None = None, **kwargs: Any) -> Any:
        """Make a kombu connection to consume by. See `connection`."""
        return self._pools.connection(url or self.conf.broker_read_url, **kwargs)

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Any:
        """Make a kombu connection to publish by. See `connection`."""
        return self._pools.connection(url or self.conf.broker_write_url, **kwargs)

    def connection(
        self,
        hostname: str | None = None,
        userid: str | None = None,
        password: str | None = None,
        virtual_host: str | None = None,
        port: int | None = None,
        ssl: Any = None,
        connect_timeout: float | None = None,
        transport: str | None = None,
        transport_options: Mapping[str, Any] | None = None,
        heartbeat: float | None = None,
        login_method: str | None = None,
        failover_strategy: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Make a kombu connection to the broker; it connects when first used. What is not given is configured.

        Args:
            hostname: a host, or a whole URL.
            heartbeat: seconds.
            connect_timeout: seconds.
        """
        return self._pools.connection(
            hostname or self.conf.broker_write_url,
            userid=userid,
            password=password,
            virtual_host=virtual_host,
            port=port,
            ssl=ssl,
            connect_timeout=connect_timeout,
            transport=transport,
            transport_options=transport_options,
            heartbeat=heartbeat,
            login_method=login_method,
            failover_strategy=failover_strategy,
            **kwargs,
        )

    broker_connection = connection

    def connection_or_acquire(self, connection: Any = None, pool: bool = True, *_: Any, **__: Any) -> Any:
        """Context manager: `connection` if given, else one from the pool (or a new one, without `pool`)."""
        return self._pools.connection_or_acquire(connection, pool=pool)

    default_connection = connection_or_acquire

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """Context manager: `producer` if given, else one from the pool."""
        return self._pools.producer_or_acquire(producer)

    default_producer = producer_or_acquire

    @property
    def pool(self) -> Any:
        """kombu connections, at most `broker_pool_limit` at a time."""
        return self._pools.connections()

    @property
    def producer_pool(self) -> Any:
        """kombu producers, at most `broker_pool_limit` at a time."""
        return self._pools.producers()

    # -- identity and time

    @property
    def oid(self) -> str:
        """The id of this app in this process."""
        return self._identity.process()

    @property
    def thread_oid(self) -> str:
        """The id of this app in this thread: where replies to it go."""
        return self._identity.thread()

    @property
    def reply_address(self) -> str:
        """Where replies to what this thread sends go: `thread_oid`, or a queue of the result backend's, which need not
        exist yet."""
        if not self.amqp.snapshot.replies:
            return self.thread_oid
        address: str = self.backend.oid
        return address

    def replies_to(self, said: str | None) -> str:
        """Where replies go to something that names `said` for them: there, or to this process if that is a process from
        which it was forked (a signature frozen before)."""
        if said and not (self.amqp.snapshot.replies and self.backend.is_inherited(said)):
            return said
        return self.reply_address

    def listen_for_replies(self) -> str:
        """`reply_address`, at which replies are heard from now on: before something is sent.

        Raises:
            OperationalError: results come as messages, and the broker cannot be reached.
        """
        if not self.amqp.snapshot.replies:
            return self.thread_oid
        address: str = self.backend.reply_address()
        return address

    def now(self) -> datetime:
        """The time, in the app's time zone."""
        return datetime.now(UTC).astimezone(self.timezone)

    @cached_property
    def timezone(self) -> tzinfo:
        """The setting `timezone`; UTC, or the system's if `enable_utc` is off, if it is not set."""
        conf = self.conf
        if not conf.timezone:
            return timezone.utc if conf.enable_utc else timezone.local
        return timezone.get_timezone(conf.timezone)

    def uses_utc_timezone(self) -> bool:
        """Whether the app's time zone is UTC."""
        return self.timezone == timezone.utc

    @property
    def current_task(self) -> Any:
        """The task that is running here, None outside of tasks."""
        return _state.get_current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task that a worker is running here, whatever it has called itself; None outside of tasks."""
        return _state.get_current_worker_task()

    # -- forks

    def _after_fork(self) -> None:
        """In a child: connections are the parent's; make new ones when needed."""
        links = self.__dict__.get("_links")
        if links is not None:
            links.forget()
        self._pools.forget()
        self._identity.forget()
        self._finalize_mutex = threading.RLock()
        self._stores.share(None)
        if self.on_after_fork.receivers:
            self.on_after_fork.send(sender=self)

    # -- as an object

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def __reduce__(self) -> Any:
        return _unpickle_app_v2, (type(self), self.__reduce_keys__())

    def __reduce_keys__(self) -> dict[str, Any]:
        """Constructor arguments that make this app again; for subclasses."""
        return constructor_arguments(self)

    def __reduce_args__(self) -> tuple[Any, ...]:
        """The positional form of old pickles; for subclasses."""
        return old_arguments(self)


# Pickles name it here.
publish(globals(), "_unpickle_appattr")

App = Celery
