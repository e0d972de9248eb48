"""Chords: a group (the header), and a body that is called with the list of its values when all are there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from celery.exceptions import CPendingDeprecationWarning
from celery.utils.functional import is_list, maybe_list, regen

from . import calls, graphs, stamping
from .algebra import kind_of, shortened
from .groups import group, signatures_of
from .plans import Opening
from .signatures import Q, R, Res, S, Signature, maybe_signature

if TYPE_CHECKING:
    from typing import Self

    from celery.app.base import Celery
    from celery.result import AsyncResult, GroupResult

    from .chains import _chain
    from .plans import Plan

W_ERRBACKS = (
    "task_allow_error_cb_on_chord_header=True will be the default: then an error callback of a chord is also called "
    "for each member of the header that fails"
)
#: Options of a call that concern the body alone, and the header alone.
_OF_BODY = ("task_id", "link", "link_error", "chain", "chord", "group_id", "group_index")
_OF_HEADER = ("countdown", "eta", "interval", "max_retries", "add_to_parent")


@Signature.register_type("chord")
class _chord(Signature[R], Generic[R, Res]):
    """`chord(header, body)`, or `chord(header)(body)`, or `group(...) | body`.

    Calling it sends the header; the body is sent, once, when every member of the header is over. If one failed the body
    fails with `ChordError` instead of being called. The result is that of the body.

    Args:
        header: signatures, or a group.
        body: any signature.
    """

    @overload
    def __init__(
        self: _chord[list[S], GroupResult[S]], header: Any, body: group[S], *args: Any, **options: Any
    ) -> None: ...
    @overload
    def __init__(self: _chord[S, Q], header: Any, body: _chain[S, Q], *args: Any, **options: Any) -> None: ...
    @overload
    def __init__(
        self: _chord[S, AsyncResult[S]], header: Any, body: Signature[S], *args: Any, **options: Any
    ) -> None: ...
    @overload
    def __init__(
        self: _chord[Any, Any], header: Any = ..., body: Any = ..., *args: Any, **options: Any
    ) -> None: ...
    def __init__(
        self,
        header: Any = (),
        body: Any = None,
        task: Any = "celery.chord",
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Celery | None = None,
        **options: Any,
    ) -> None:
        tasks = _tasks_of(header)
        if body is not None and not isinstance(body, Mapping):
            raise TypeError(f"the body of a chord is a signature, as task.s() gives it, not {body!r}")
        parts = {"kwargs": dict(kwargs or {}), "header": tasks, "body": maybe_signature(body, app=app)}
        super().__init__(task, args or (), parts, app=app, subtask_type="chord", **options)

    if TYPE_CHECKING:

        def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Res: ...  # type: ignore[override]
        async def adelay(self, *partial_args: Any, **partial_kwargs: Any) -> Res: ...  # type: ignore[override]

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> _chord[Any, Any]:
        """Make a chord of its dict form."""
        made = _chord(app=app)
        made.update(d)
        given = dict(d["kwargs"])
        tasks = given.get("header") or ()
        if type(tasks).__name__ != "_regen":
            tasks = (
                maybe_signature(tasks, app=app)
                if isinstance(tasks, Mapping)
                else [maybe_signature(task, app=app) for task in tasks]
            )
        body = maybe_signature(given.get("body"), app=app)
        made["kwargs"] = {**given, "kwargs": given.get("kwargs") or {}, "header": tasks, "body": body}
        return made

    @property
    def tasks(self) -> Any:
        """The header: a list or tuple of signatures, or a group."""
        return self.kwargs["header"]

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["header"] = value

    @property
    def body(self) -> Any:
        """What is called with the values of the header; None if it is not known yet."""
        return self.kwargs["body"]

    @body.setter
    def body(self, value: Any) -> None:
        self.kwargs["body"] = value

    @property
    def app(self) -> Celery:
        """The chord's own app, or that of its header or body."""
        if self._app is None:
            for part in (*self._members()[:1], self.body):
                if part is not None:
                    return cast("Celery", part.app)
        return super().app

    def _partial(self) -> dict[str, Any]:
        """The keyword arguments of its members that it was made with, or that a copy was given."""
        own = {key: value for key, value in self.kwargs.items() if key not in ("kwargs", "header", "body")}
        return {**self.kwargs["kwargs"], **own}

    def _members(self) -> Any:
        tasks = self.tasks
        return tasks.tasks if isinstance(tasks, group) else tasks

    def clone(self, *args: Any, **kwargs: Any) -> Self:
        """Return a copy, header and body included, with these partial arguments and options."""
        cloned = super().clone(*args, **kwargs)
        tasks = self.tasks
        if isinstance(tasks, group):
            cloned.tasks = tasks.clone()
        else:
            copies = [maybe_signature(task, app=self._app, clone=True) for task in tasks]
            cloned.tasks = tuple(copies) if type(tasks) is tuple else copies
        cloned.body = maybe_signature(self.body, app=self._app, clone=True)
        return cloned

    # -- changing

    def link(self, callback: Any) -> Any:
        """Call `callback` with the value of the body; return it."""
        if self.body is None:
            return super().link(callback)
        return self.body.link(callback)

    def link_error(self, errback: Any) -> Any:
        """Call `errback` when the chord fails (and for each failing member, with the setting
        `task_allow_error_cb_on_chord_header`); return it."""
        if not self.app.conf.task_allow_error_cb_on_chord_header:
            warnings.warn(W_ERRBACKS, CPendingDeprecationWarning, stacklevel=2)
        else:
            for task in self._members():
                task.link_error(maybe_signature(errback, app=self._app).clone())
        return self._link_error_of_bodies(errback)

    def _link_error_of_bodies(self, errback: Any) -> Any:
        """Chords in the header call it too, as in Celery."""
        for task in self._members():
            if kind_of(task) == "chord":
                task._link_error_of_bodies(maybe_signature(errback, app=self._app).clone())
        return super().link_error(errback) if self.body is None else self.body.link_error(errback)

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members of the header ignore arguments given at the call."""
        for task in self._members():
            task.set_immutable(immutable)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Choose the ids of header and body; return the result of the body, whose `parent` is that of the header.

        Args:
            _id: of the body; `group_id`, `chord`, `group_index`: it is a member of an outer chord.
        """
        header = self._header()
        header_result = header.freeze(parent_id=parent_id, root_id=root_id)
        self.options["task_id"] = header.id
        if self.body is None:
            return header_result
        result = self.body.freeze(
            _id, group_id=group_id, chord=chord, root_id=root_id, group_index=group_index
        )
        return calls.after(header_result, result)

    _freeze = freeze

    def _header(self) -> group[Any]:
        if not isinstance(self.tasks, group):
            self.tasks = group(self.tasks, app=self._app)
        header: group[Any] = self.tasks
        if header.options.get("task_id") is None and self.options.get("task_id"):
            header.options["task_id"] = self.options["task_id"]
        return header

    # -- calling

    @overload
    def __call__(self, body: group[S], **options: Any) -> GroupResult[S]: ...
    @overload
    def __call__(self, body: _chain[S, Q], **options: Any) -> Q: ...
    @overload
    def __call__(self, body: Signature[S], **options: Any) -> AsyncResult[S]: ...
    @overload
    def __call__(self, body: None = None, **options: Any) -> Res: ...
    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send the header; `body`, if given, is called when it is over."""
        return self.apply_async((), {"body": body} if body is not None else {}, **options)

    def apply_async(  # type: ignore[override]  # has no route
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        publisher: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        **options: Any,
    ) -> Res:
        """Send the header, whose members all take these arguments, and return the result of the body.

        Args:
            task_id: of the body.
            **options: `link` and `link_error` are those of the body, `countdown` and `eta` delay the header, others
                concern both.

        Raises:
            NotImplementedError: the result backend cannot count the members.
            TypeError: there is no body.
        """
        named = {"task_id": task_id, "producer": producer or publisher, "connection": connection}
        named |= {"router": router, "result_cls": result_cls}
        return cast("Res", calls.launch(self, args, kwargs, {**options, **named}))

    async def aapply_async(  # type: ignore[override]  # has no route
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Res:
        """`apply_async` that awaits the broker instead of blocking the event loop."""
        return cast("Res", await calls.alaunch(self, args, kwargs, options))

    def run(
        self,
        header: Any,
        body: Any,
        partial_args: Any,
        app: Celery | None = None,
        interval: float | None = None,
        countdown: float = 1,
        max_retries: int | None = None,
        eager: bool = False,
        task_id: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        header_delay: float | None = None,
        **options: Any,
    ) -> Any:
        """Send `header`, and `body` after it; see `apply_async`.

        Args:
            interval, max_retries, countdown: seconds and number of the looks at the header, where that is needed.
            header_delay: seconds before the header starts.
        """
        one = _chord(header, body, app=app or self._app)
        more = {
            "interval": interval,
            "max_retries": max_retries,
            "countdown": header_delay,
            "task_id": task_id,
        }
        return calls.launch(one, partial_args, kwargs, {**options, **more}, eager=eager)

    def _plan(self, plan: Plan, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        kwargs = dict(kwargs or {})
        self._take_body(kwargs.pop("body", None))
        own = self.options.pop("task_id", None)  # the header's; an option of the call is the body's
        args, kwargs, options = calls.given(self, args, {**self._partial(), **kwargs}, options)
        if own:
            self._header().options.setdefault("task_id", own)
        self.app.backend.ensure_chords_allowed()
        body = self.body
        both = {k: v for k, v in options.items() if k not in (*_OF_BODY, *_OF_HEADER, "root_id", "parent_id")}
        _add_options(body, both, options)
        if options.get("add_to_parent") is False:
            body.options["add_to_parent"] = False
        result = self.freeze(
            options.get("task_id"), options.get("group_id"), options.get("chord"),
            options.get("root_id"), options.get("parent_id"), options.get("group_index"),
        )  # fmt: skip
        header = self._header()
        body.freeze(group_id=header.id)
        if not header.tasks:
            body._plan(
                plan, ([],), None, {k: options.get(k) for k in ("root_id", "parent_id", "add_to_parent")}
            )
            return result
        first = {k: v for k, v in options.items() if k in ("countdown", "eta", "root_id", "parent_id")}
        carried = graphs.body_for(plan, self.app, header.id or "", body, len(header.tasks))
        header_result = header._plan(plan, args, kwargs, {**both, **first, "chord": carried})
        plan.open(Opening(header.id or "", header._width(), header_result, body, options))
        result.parent = header_result  # also if there are steps between, as in Celery
        return result

    def _take_body(self, body: Any) -> None:
        """Use a copy of `body`; its own links and those given to the chord before it was known stay."""
        if body is not None:
            self.body = maybe_signature(body, app=self._app).clone()
        if self.body is None:
            raise TypeError(
                "This chord has no body: chord(header, body), chord(header)(body), or group(...) | body"
            )
        for callback in maybe_list(self.options.pop("link", None)) or ():
            self.body.link(callback)
        for errback in maybe_list(self.options.pop("link_error", None)) or ():
            self.body.link_error(errback)

    def apply(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        propagate: bool = True,
        body: Any = None,
        **options: Any,
    ) -> Any:
        """Run the header and then the body here; return the result of the body.

        Args:
            propagate: a member that failed fails the body; else its exception is among the values.
        """
        copy = self.clone()
        kwargs = dict(kwargs or {})
        copy._take_body(body if body is not None else kwargs.pop("body", None))
        args, kwargs, options = calls.given(copy, args, {**copy._partial(), **kwargs}, options)
        both = {k: v for k, v in options.items() if k not in (*_OF_BODY, *_OF_HEADER, "root_id", "parent_id")}
        _add_options(copy.body, both, {k: v for k, v in options.items() if k in ("link", "link_error")})
        copy.freeze(options.get("task_id"))
        header = copy._header()._apply(args, kwargs, both)
        failure = calls.failure_of(header) if propagate else None
        if failure is None:
            result = copy.body._apply((calls.value_of(header),), None, {})
        else:
            result = copy._failed(failure)
        calls.root_of(result).parent = header
        return result

    def _failed(self, failure: Any) -> Any:
        """The body's result if a member failed; its errbacks are called."""
        exc = failure.result if kind_of(self.body) == "group" else calls.chord_failure(failure)
        self.app.backend.fail_signature(self.body, exc, eager=True)
        failure = type(failure)(failure.id, exc, "FAILURE", traceback=failure.traceback)
        return calls.failed_like(self.body, failure)

    # -- as a part of a workflow

    def _apply(self, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        return self.apply(args, kwargs, **options)

    def _width(self) -> int:
        return int(self.body._width()) if self.body is not None else 0

    def __length_hint__(self) -> int:
        tasks = self.tasks
        return sum(task._width() for task in (tasks.tasks if isinstance(tasks, group) else tasks))

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp the members of the header, then the body."""
        given = headers
        if visitor is not None:
            if not isinstance(self.tasks, group):
                self.tasks = group(self.tasks, app=self._app)
            given = stamping.joined(headers, visitor.on_chord_header_start(self, **headers))
        holder = self.tasks if isinstance(self.tasks, group) else self
        holder.tasks = stamping.each(holder.tasks, visitor, append_stamps, given)
        if visitor is not None:
            visitor.on_chord_header_end(self, **given)
        if self.body is not None:
            if visitor is not None:  # the stamps of the header are the body's too, as in Celery
                given = stamping.joined(given, visitor.on_chord_body(self, **given))
            self.body.stamp(visitor, append_stamps, **given)

    def __repr__(self) -> str:
        body, tasks = self.body, self._members()
        if body is None:
            return f"<chord without body: {tasks!r}>"
        if kind_of(body) == "chain" and body.tasks:
            first, *rest = body.tasks
            text = " | ".join([first.reprcall(tasks), *map(repr, rest)])
            return shortened(first.task, f"%({text})")
        return shortened(body.task, f"%{body.reprcall(tasks)}")


def _checked(members: Any) -> Any:
    for member in members:
        if not isinstance(member, Signature):
            raise TypeError(
                f"the header of a chord is made of signatures, as task.s() gives them, not of {member!r}"
            )
    return members


def _tasks_of(header: Any) -> Any:
    """What a header is made of. The steps of a chain given as header are its members, as in Celery."""
    if isinstance(header, group):
        return header.tasks if not header.options else header
    if isinstance(header, Signature):
        return list(header["kwargs"]["tasks"]) if kind_of(header) == "chain" else [header]
    if is_list(header) and isinstance(header, (list, tuple)):
        return header if type(header).__name__ == "_regen" else _checked(signatures_of(header))
    if not isinstance(header, Iterable) or isinstance(header, (str, Mapping)):
        raise TypeError(f"the header of a chord is a list of signatures or a group, not {header!r}")
    return regen(header)


def _add_options(body: Any, both: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Give the body its part of the options of the call."""
    for key, value in both.items():
        body.options.setdefault(key, value)
    if options.get("chain"):
        body.options["chain"] = list(options["chain"])
    for callback in maybe_list(options.get("link")) or ():
        body.link(callback)
    for errback in maybe_list(options.get("link_error")) or ():
        body.link_error(errback)


chord = _chord
