"""`Task`: what a decorated function becomes, and what class-based tasks derive from."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

from celery import _state, canvas, exceptions
from celery._public import publish
from celery.app import arguments, routing_attributes
from celery.app.annotations import resolve_all
from celery.app.context import Context
from celery.app.execution_options import EXECUTION_OPTIONS
from celery.app.registry import _unpickle_task_v2
from celery.local import class_property
from celery.utils import uuid
from celery.utils.threads import LocalStack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from typing_extensions import ParamSpec, TypeVar

    from celery.app.base import Celery
    from celery.canvas import Signature
    from celery.result import AsyncResult as Result
    from celery.result import EagerResult

    P = ParamSpec("P", default=...)
    R = TypeVar("R", covariant=True, default=Any)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    R = TypeVar("R", covariant=True)

__all__ = ("Context", "Task")


class Task(Generic[P, R]):
    """A unit of work that can be called from anywhere and runs in a worker.

    `@app.task` makes an instance of a subclass of this; a class of one's own defines `run` and is registered by
    `app.register_task`. There is one instance in a process, whatever happens. An attribute that is None
    here takes the value of the setting that `from_config` names, when the task is bound to its app.
    """

    __trace__: Callable[..., Any] | None = None
    __v2_compat__ = False

    #: Registry name; `module.function` by default.
    name: str = None  # type: ignore[assignment]
    #: Check arguments at the call against the function's own; None: the app's `strict_typing`.
    typing: bool | None = None
    #: Retries after which `MaxRetriesExceededError` is raised; None: no limit.
    max_retries: int | None = 3
    #: Seconds until a retry.
    default_retry_delay: float = 3 * 60
    #: For instance `10/s`, `100/m`; per worker.
    rate_limit: str | float | None = None
    ignore_result: bool | None = None
    #: Remember the results of tasks that this task calls.
    trail = True
    send_events = True
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    serializer: str | None = None
    #: Seconds; the process that runs the task is killed.
    time_limit: float | None = None
    #: Seconds; `SoftTimeLimitExceeded` is raised in the task.
    soft_time_limit: float | None = None
    #: An abstract class is never registered.
    abstract = True
    #: Report STARTED.
    track_started: bool | None = None
    #: Acknowledge after the run, not before.
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    #: A failed task is a dead letter: late acknowledgement, and none of failures.
    reject_on_failure: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    #: Exceptions that are expected: logged at INFO, without traceback.
    throws: tuple[type[BaseException], ...] = ()
    #: Seconds or a time, after which the task is not run any more.
    expires: Any = None
    priority: int | None = None
    #: Longest text of a result in logs and events.
    resultrepr_maxsize = 1024
    Strategy: Any = "celery.worker.strategy:default"
    Request: Any = "celery.worker.request:Request"
    request_stack: LocalStack[Context] = LocalStack()
    MaxRetriesExceededError = exceptions.MaxRetriesExceededError
    OperationalError = exceptions.OperationalError

    #: Attribute -> setting whose value it takes if it is None.
    from_config: ClassVar[tuple[tuple[str, str], ...]] = (
        ("serializer", "task_serializer"),
        ("rate_limit", "task_default_rate_limit"),
        ("priority", "task_default_priority"),
        ("time_limit", "task_time_limit"),
        ("soft_time_limit", "task_soft_time_limit"),
        ("track_started", "task_track_started"),
        ("acks_late", "task_acks_late"),
        ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
        ("acks_on_failure", "task_acks_on_failure"),
        ("acks_on_timeout", "task_acks_on_timeout"),
        ("reject_on_failure", "task_reject_on_failure"),
        ("reject_on_worker_lost", "task_reject_on_worker_lost"),
        ("retry_on_worker_lost", "task_retry_on_worker_lost"),
        ("ignore_result", "task_ignore_result"),
        ("store_eager_result", "task_store_eager_result"),
        ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
    )

    __bound__ = False
    #: It was declared with another app (see `shared`).
    _is_guest = False
    _app: Any = None
    _backend: Any = None
    _exec_options: dict[str, Any] | None = None
    #: `ignore_result` and `priority` that were in force, and what calls say that say nothing.
    _call_defaults: tuple[Any, Any, dict[str, Any]] | None = None
    _default_request: Context | None = None
    #: Raises TypeError for arguments that the function does not take.
    __header__: Callable[..., Any] | None = None
    _dump_pydantic_arguments: Callable[..., Any] | None = None

    # -- binding to an app

    @classmethod
    def bind(cls, app: Celery) -> Celery:
        """Make `app` this task's app: read the settings it takes, apply annotations. Returns the app."""
        was_bound, cls.__bound__ = cls.__bound__, True
        cls._app = app
        cls._exec_options = cls._call_defaults = None
        if cls.typing is None:
            cls.typing = app.strict_typing
        routing_attributes.warn_about(cls)
        conf = app.conf
        for attribute, setting in cls.from_config:
            if getattr(cls, attribute, None) is None:
                setattr(cls, attribute, conf[setting])
        cls._complete_acks()
        if not was_bound:
            cls.annotate()
        cls.request_stack = LocalStack()
        cls.on_bound(app)
        return app

    @classmethod
    def _complete_acks(cls) -> None:
        """What is not said about failures and timeouts alone follows what is said about both."""
        if cls.reject_on_failure:
            cls.acks_late, cls.acks_on_failure = True, False
        for attribute in ("acks_on_failure", "acks_on_timeout"):
            if getattr(cls, attribute) is None:
                setattr(cls, attribute, cls.acks_on_failure_or_timeout)

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Called when the class was bound to an app; for subclasses."""

    @classmethod
    def _get_app(cls) -> Celery:
        if cls._app is None:
            cls._app = _state.get_current_app()
        if not cls.__bound__:
            cls.bind(cls._app)
        app: Celery = cls._app
        return app

    if TYPE_CHECKING:
        app: Celery
    else:
        app = class_property(_get_app, bind)

    @classmethod
    def annotate(cls) -> None:
        """Apply `task_annotations`: set attributes, and wrap those given as `@name`."""
        for found in resolve_all(cls.app.annotations, cls):
            for key, value in found.items():
                if key.startswith("@"):
                    cls.add_around(key[1:], value)
                else:
                    setattr(cls, key, value)

    @classmethod
    def add_around(cls, attr: str, around: Callable[[Any], Any]) -> None:
        """Wrap an attribute: it becomes `around(what it was)`."""
        original = getattr(cls, attr)
        if not hasattr(original, "__wrapped__"):
            wrapped = around(original)
            wrapped.__wrapped__ = original
            # What takes no task must not be given one because it was wrapped.
            static = isinstance(inspect.getattr_static(cls, attr), staticmethod)
            setattr(cls, attr, staticmethod(wrapped) if static else wrapped)

    # -- running

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here and now, as a plain function."""
        request = self.request_stack.top
        if request is not None and request.entering:
            # A worker calls a subclass's `__call__`, which calls this one: it is still the same call.
            request.entering = False
            return self.run(*args, **kwargs)
        _state.push_current_task(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            value = self.run(*args, **kwargs)
        finally:
            self.pop_request()
            _state.pop_current_task()
        if inspect.iscoroutine(value):
            return cast("R", self._await_as_current(value, args, kwargs))
        return value

    async def _await_as_current(self, coroutine: Coroutine[Any, Any, Any], args: Any, kwargs: Any) -> Any:
        _state.push_current_task(self)
        self.push_request(args=args, kwargs=kwargs)
        try:
            return await coroutine
        finally:
            self.pop_request()
            _state.pop_current_task()

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The body; defined by the decorated function or the subclass."""
        raise NotImplementedError("Tasks must define the run method.")

    def apply(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: str | None = None,
        loglevel: int | None = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the task here and now as a worker would, retries and links included.

        Args:
            throw: raise what the task raises; default: the setting `task_eager_propagates`.
            retries: how often it has been retried already.
            **options: of `apply_async`; those about sending are only kept in the request.

        Returns:
            An `EagerResult`, ready.
        """
        from celery.app import eager  # noqa: PLC0415 - tracing is not needed to define tasks

        request = eager.make_request(
            self, args or (), kwargs or {}, task_id=task_id or uuid(), retries=retries or 0,
            link=link, link_error=link_error, logfile=logfile, loglevel=loglevel, headers=headers,
            options=options,
        )  # fmt: skip
        return cast("EagerResult[R]", eager.apply(self, request, throw=throw))

    # -- calling

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """Send the task with these arguments: `apply_async` without options."""
        return self.apply_async(args, kwargs)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """`delay` that awaits the broker instead of blocking the event loop."""
        return await self.aapply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Result[R]:
        """Send the task.

        Args:
            args: a list or tuple.
            kwargs: a mapping.
            task_id: default: a new one.
            producer: a kombu producer to publish with.
            link: signature(s) to call with the result.
            link_error: signature(s) to call when the task fails.
            shadow: name to show in logs and monitors.
            **options: `countdown`, `eta`, `expires`, `queue`, `exchange`, `routing_key`, `priority`,
                `serializer`, `compression`, `headers`, `retry`, `retry_policy`, `time_limit`,
                `soft_time_limit`, `ignore_result`, `add_to_parent` ...

        Raises:
            TypeError: the task does not take these arguments.
            ValueError: an option is out of range.
            OperationalError: the broker did not take the message.
            EncodeError: an argument cannot be serialized.
        """
        app = self._get_app()
        args, kwargs = arguments.of_call(self, args, kwargs, options)
        if app.amqp.snapshot.always_eager:
            from celery.app import eager  # noqa: PLC0415 - only where tasks are run in place

            return eager.call(self, args, kwargs, task_id, link, link_error, options)
        shadow = shadow or self.shadow_name(args, kwargs, options)
        if options or task_id or producer or link or link_error or shadow:
            given = self._with_defaults(
                options, task_id=task_id, producer=producer, link=link, link_error=link_error, shadow=shadow
            )
        else:
            given = self._defaults_of_calls()
        result: Result[R] = app._send_call(self, args, kwargs, given)
        return result

    _plain_apply_async = apply_async

    def _is_called_as_usual(self) -> bool:
        """Whether nobody has put anything in the place of what is called to send it, here or in all tasks."""
        kind, own = type(self), vars(self)
        stock: Any = Task
        plain = kind.apply_async is stock._plain_apply_async and kind.shadow_name is stock._plain_shadow_name
        return plain and "apply_async" not in own and "shadow_name" not in own

    async def aapply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Result[R]:
        """`apply_async` that awaits the broker instead of blocking the event loop."""
        app = self._get_app()
        args, kwargs = arguments.of_call(self, args, kwargs, options)
        if app.amqp.snapshot.always_eager:
            from celery.app import eager  # noqa: PLC0415 - only where tasks are run in place

            return await eager.acall(self, args, kwargs, task_id, link, link_error, options)
        shadow = shadow or self.shadow_name(args, kwargs, options)
        return cast(
            "Result[R]",
            await app.asend_task(
                self.name,
                args,
                kwargs,
                result_cls=self.AsyncResult,
                task_type=self,
                **self._with_defaults(
                    options, task_id=task_id, link=link, link_error=link_error, shadow=shadow
                ),
            ),
        )

    def _with_defaults(self, options: dict[str, Any], **named: Any) -> dict[str, Any]:
        """The options of a call over those of the task."""
        defaults = self._defaults_of_calls()
        said = {key: value for key, value in named.items() if value is not None}
        return {**defaults, **said, **options} if options or said else defaults

    def _defaults_of_calls(self) -> dict[str, Any]:
        """The options of calls that say nothing; the same mapping as long as they are the same. Not to be changed."""
        known = self._call_defaults
        if known is None or known[0] is not self.ignore_result or known[1] != self.priority:
            known = self._call_defaults = (self.ignore_result, self.priority, self._make_defaults())
        return known[2]

    def _make_defaults(self) -> dict[str, Any]:
        defaults = dict(self._get_exec_options())
        defaults.setdefault("ignore_result", self.ignore_result)
        if self.priority:
            defaults.setdefault("priority", self.priority)
        return defaults

    def _get_exec_options(self) -> dict[str, Any]:
        if self._exec_options is None:
            self._exec_options = {name: getattr(self, name, None) for name in EXECUTION_OPTIONS}
        return self._exec_options

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Return another name to show for this call, or None; for subclasses."""
        return None

    _plain_shadow_name = shadow_name

    # -- signatures

    def signature(self, args: Any = None, *starargs: Any, **starkwargs: Any) -> Signature[R]:
        """Make a signature: `signature(args, kwargs, options)` or with options as keywords."""
        starkwargs.setdefault("app", self.app)
        return cast("Signature[R]", canvas.signature(self, args, *starargs, **starkwargs))

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Make a signature of a call with these (perhaps not all) arguments."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Make an immutable signature: it takes no arguments from a task it is linked to."""
        return self.signature(args, kwargs, immutable=True)

    def chunks(self, it: Any, n: int) -> canvas.chunks:
        """Make tasks of `n` calls each: `add.chunks(zip(range(100), range(100)), 10)`."""
        return canvas.chunks(self.s(), it, n, app=self.app)

    def map(self, it: Any) -> canvas.xmap:
        """Make one task that calls this for each item: `[task(item) for item in it]`."""
        return canvas.xmap(self.s(), it, app=self.app)

    def starmap(self, it: Any) -> canvas.xstarmap:
        """Make one task that calls this for each item: `[task(*item) for item in it]`."""
        return canvas.xstarmap(self.s(), it, app=self.app)

    # -- workflows

    def send_event(
        self,
        type_: str,
        retry: bool = True,
        retry_policy: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Send an event about the task that runs: monitors get it with this task's id as `uuid`.

        Args:
            type_: for example `task-progress`; a type that begins with `task-` belongs to the task in monitors.
            retry, retry_policy: try again if the broker cannot be reached; as for `apply_async`.

        Raises:
            OperationalError: it could not be sent.
        """
        request = self.request
        with self._get_app().events.default_dispatcher(hostname=request.hostname) as dispatcher:
            dispatcher.send(type_, uuid=request.id, retry=retry, retry_policy=retry_policy, **fields)

    def replace(self, sig: Signature[Any]) -> Any:
        """Let `sig` take the place of the task that is running: its id, its callbacks, its place in chain and chord.

        Use it as `raise self.replace(sig)` or `return self.replace(sig)`.

        Raises:
            Ignore: to tell the worker.
            ImproperlyConfigured: `sig` is a member of a chord, or an empty chain.
        """
        from celery.app import replacing  # noqa: PLC0415 - workers only

        return self.on_replace(replacing.replacement(self, sig))

    async def areplace(self, sig: Signature[Any]) -> Any:
        """`replace` that does not block the event loop, for `async def` tasks: `raise await self.areplace(sig)`.

        Raises:
            Ignore, ImproperlyConfigured: as `replace`.
        """
        from celery.app import coroutines  # noqa: PLC0415 - asyncio, which only some tasks need

        return await coroutines.in_thread(True, self.replace, sig)

    def on_replace(self, sig: Signature[Any]) -> Any:
        """Send what takes the place of the running task; may be overridden."""
        from celery.app import replacing  # noqa: PLC0415 - workers only

        return replacing.send(self, sig)

    def add_to_chord(self, sig: Signature[Any], lazy: bool = False) -> Any:
        """Add a member to the chord that the running task is a member of.

        Args:
            lazy: do not send it; return the signature instead of its result. The chord waits for it from now on, so
                it has to be sent.

        Raises:
            ValueError: the task is in no chord.
            NotImplementedError: the result backend cannot.
            OperationalError: it could not be sent. If it was refused, the chord does not wait for it; if the broker did
                not answer, another worker sends it.
        """
        from celery.app import replacing  # noqa: PLC0415 - workers only

        return replacing.add_to_chord(self, sig, lazy=lazy)

    async def aadd_to_chord(self, sig: Signature[Any], lazy: bool = False) -> Any:
        """`add_to_chord` that does not block the event loop, for `async def` tasks.

        Raises:
            ValueError, NotImplementedError: as `add_to_chord`.
        """
        from celery.app import coroutines  # noqa: PLC0415 - asyncio, which only some tasks need

        return await coroutines.in_thread(True, self.add_to_chord, sig, lazy)

    def signature_from_request(
        self,
        request: Context | None = None,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: Any = None,
        **extra_options: Any,
    ) -> Signature[R]:
        """Make a signature that calls the same task again, with the same id, in the same place."""
        from celery.app import retrying  # noqa: PLC0415 - workers only

        return cast(
            "Signature[R]",
            retrying.signature_of(self, request or self.request, args, kwargs, queue, extra_options),
        )

    subtask_from_request = signature_from_request

    # -- retrying

    def retry(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> exceptions.Retry:
        """Send this task again, for later: `raise self.retry(exc=error)`.

        Args:
            args: other positional arguments. (An exception given here is taken as `exc`.)
            kwargs: other keyword arguments.
            exc: why; raised when there are no retries left.
            throw: raise `Retry`; else return it, and go on.
            eta: when, a datetime.
            countdown: seconds; default: `default_retry_delay`.
            max_retries: instead of the task's own, for this attempt; None: the task's own.
            **options: of `apply_async`.

        Raises:
            Retry: to tell the worker; always, unless `throw` is false.
            MaxRetriesExceededError: the limit is reached and `exc` was not given.
            Reject: the message could not be sent.
        """
        from celery.app import retrying  # noqa: PLC0415 - workers only

        retry = retrying.next_attempt(self, args, kwargs, exc, eta, countdown, max_retries, options)
        retrying.send(self, retry)
        if throw:
            raise retry
        return retry

    async def aretry(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> exceptions.Retry:
        """`retry` that awaits the broker, for `async def` tasks: `raise await self.aretry(exc=error)`."""
        from celery.app import retrying  # noqa: PLC0415 - workers only

        retry = retrying.next_attempt(self, args, kwargs, exc, eta, countdown, max_retries, options)
        await retrying.asend(self, retry)
        if throw:
            raise retry
        return retry

    # -- state and results

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Result[R]:
        """Make the result object of a call of this task."""
        app = self._get_app()
        result: Result[R] = app.AsyncResult(task_id, backend=self.backend, task_name=self.name, **kwargs)
        return result

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state of one's own with data for those who look at the result.

        Args:
            task_id: default: the call that is running.
            state: for instance `"PROGRESS"`.
            meta: what `AsyncResult.info` will be.
        """
        request = self.request
        self.backend.store_result(task_id or request.id, meta, state, request=request, **kwargs)

    def add_trail(self, result: Any) -> Any:
        """Remember a result as that of a task called by this one; return it."""
        if self.trail:
            self.request.children.append(result)
        return result

    def push_request(self, *args: Any, **kwargs: Any) -> None:
        """Make a request current, for tests: attributes as keywords."""
        self.request_stack.push(Context(*args, **kwargs))

    def pop_request(self) -> None:
        """Undo `push_request`."""
        self.request_stack.pop()

    @property
    def request(self) -> Context:
        """The request of the call that is running; outside of one, an empty one."""
        request = self.request_stack.top
        if request is None:
            if self._default_request is None:
                self._default_request = Context()
            return self._default_request
        return request

    @property
    def backend(self) -> Any:
        """Where results of this task are stored: the app's backend, unless another was assigned."""
        return self._backend if self._backend is not None else self.app.backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def get_logger(self) -> Any:
        """The logger of this task, by its name."""
        from celery.utils.log import get_task_logger  # noqa: PLC0415 - for old code only

        return get_task_logger(self.name)

    def get_publisher(self, connection: Any = None, **kwargs: Any) -> Any:
        """A kombu producer, as a context manager, for `publisher=` of `apply_async`."""
        if connection is None:
            return self.app.producer_or_acquire()
        return connection.Producer(**kwargs)

    # -- handlers

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the worker just before the body; raising here fails the task."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called in the worker when the task has succeeded and the result is stored."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker when the task is to be retried."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the worker when the task has failed and that is stored."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called in the worker after success and failure, when all else is done."""

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        """Make what a consumer calls with each message of this task."""
        from celery.utils.imports import instantiate  # noqa: PLC0415 - workers only

        return instantiate(self.Strategy, self, app, consumer, **kwargs)

    # -- as an object

    if not TYPE_CHECKING:

        @property
        def __name__(self) -> str:
            return type(self).__name__

    def __repr__(self) -> str:
        app = self._app or _state.get_current_app()
        return f"<@task: {self.name} of {app.main or '__main__'} at {id(app):#x}>"

    def __reduce__(self) -> Any:
        module = type(self).__module__
        return _unpickle_task_v2, (self.name, module), None


BaseTask = Task
publish(globals(), "Context")
