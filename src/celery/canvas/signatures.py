"""A call as data: a task's name, its (perhaps still partial) arguments and its options.

A `Signature` is a dict, so that it travels in messages as what it is. The kinds of workflow (chain, group,
chord ...) are subclasses that find one another by `Signature.TYPES`; this module knows none of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableSequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast, overload

from celery import _state
from celery.utils import uuid
from celery.utils.functional import maybe_list, reprcall

from . import explaining, stamping
from .algebra import compose

if TYPE_CHECKING:
    from typing import Never, Self

    from typing_extensions import TypeVar

    from celery.app.base import Celery
    from celery.result import AsyncResult as Result
    from celery.result import EagerResult, GroupResult

    from .chains import _chain
    from .groups import group
    from .plans import Plan
    from .stamping import StampingVisitor

    R = TypeVar("R", covariant=True, default=Any)
    #: What a call of a workflow returns: a `GroupResult` if it ends in a group.
    Res = TypeVar("Res", covariant=True, default=Result[R])
    #: The value, and what a call returns, of what follows.
    S = TypeVar("S")
    Q = TypeVar("Q")
    #: A kind of workflow.
    C = TypeVar("C", bound=type["Signature[Any]"])
else:
    from typing import TypeVar

    R = TypeVar("R", covariant=True)
    Res = TypeVar("Res", covariant=True)
    S = TypeVar("S")
    Q = TypeVar("Q")


class Signature(dict[str, Any], Generic[R]):
    """One task call, to be made later, elsewhere, or by somebody else.

    Calling (`apply_async`, `delay`, `()`) *prepends* the arguments given then to those the signature holds, and
    merges keyword arguments and options; what is given at the call wins. An immutable signature takes
    no arguments at the call.

    Args:
        task: a task, its name, or a mapping that already is a signature in dict form.
        args: positional arguments.
        kwargs: keyword arguments.
        options: options of `Task.apply_async`.
        type: the task itself if `task` is a name.
        subtask_type: the registered name of the kind of workflow; None for a single task.
        immutable: ignore arguments given at the call (as those from a linked task's result).
        app: the app whose registry knows the task; default: the current one.
        **ex: more options.
    """

    #: Kinds of workflow by `subtask_type`.
    TYPES: ClassVar[dict[str, type[Signature[Any]]]] = {}
    #: Options that a call cannot replace once they are set.
    _IMMUTABLE_OPTIONS: ClassVar[frozenset[str]] = frozenset({"group_id", "stamped_headers"})

    _app: Celery | None = None
    _type: Any = None

    def __init__(
        self,
        task: Any = None,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,  # noqa: A002 - the public name
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Celery | None = None,
        **ex: Any,
    ) -> None:
        if app is not None:
            self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            return
        name = getattr(task, "name", None)
        if name is None:
            name = task
            self._type = type
        else:
            self._type = task
        super().__init__(
            task=name,
            args=tuple(args or ()),
            kwargs=kwargs or {},
            options=dict(options or {}, **ex),
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[C], C]:
        """Class decorator: let `from_dict` make this class for `subtask_type` `name` (default: its own name)."""

        def register(subclass: C) -> C:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature[Any]:
        """Make the right kind of signature from its dict form.

        Raises:
            KeyError: `subtask_type` names a kind that is not registered.
        """
        kind = d.get("subtask_type")
        if kind:
            target = cls.TYPES[kind]
            if target is not cls:
                return target.from_dict(d, app=app)
        return Signature(d, app=app)

    # -- what it holds

    @property
    def task(self) -> str:
        """The task's name."""
        return cast("str", self["task"])

    @task.setter
    def task(self, value: str) -> None:
        self["task"] = value

    @property
    def args(self) -> tuple[Any, ...]:
        """Positional arguments; a tuple here, a list once it came out of a message."""
        return cast("tuple[Any, ...]", self.get("args", ()))

    @args.setter
    def args(self, value: tuple[Any, ...]) -> None:
        self["args"] = value

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return cast("dict[str, Any]", self.setdefault("kwargs", {}))

    @kwargs.setter
    def kwargs(self, value: dict[str, Any]) -> None:
        self["kwargs"] = value

    @property
    def options(self) -> dict[str, Any]:
        """Options of the call."""
        return cast("dict[str, Any]", self.setdefault("options", {}))

    @options.setter
    def options(self, value: dict[str, Any]) -> None:
        self["options"] = value

    @property
    def subtask_type(self) -> str | None:
        """The kind of workflow, None for a single task."""
        return self.get("subtask_type")

    @subtask_type.setter
    def subtask_type(self, value: str | None) -> None:
        self["subtask_type"] = value

    @property
    def immutable(self) -> bool:
        """True if arguments given at the call are ignored."""
        return bool(self.get("immutable", False))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def id(self) -> str | None:
        """The task id, once it was chosen (by option or `freeze`)."""
        return self.options.get("task_id")

    @id.setter  # noqa: A003
    def id(self, value: str | None) -> None:
        self.options["task_id"] = value

    @property
    def parent_id(self) -> str | None:
        """Id of the task that starts this one, if it was set."""
        return self.options.get("parent_id")

    @parent_id.setter
    def parent_id(self, value: str | None) -> None:
        self.options["parent_id"] = value

    @property
    def root_id(self) -> str | None:
        """Id of the first task of the workflow, if it was set."""
        return self.options.get("root_id")

    @root_id.setter
    def root_id(self, value: str | None) -> None:
        self.options["root_id"] = value

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task

    @property
    def app(self) -> Celery:
        """The app that sends this; the current one unless it was bound."""
        return self._app or _state.get_current_app()

    @property
    def type(self) -> Any:
        """The task object.

        Raises:
            NotRegistered: this app does not know the task.
        """
        if self._type is None:
            self._type = self.app.tasks[self.task]
        return self._type

    @property
    def AsyncResult(self) -> Callable[..., Result[R]]:
        """Makes results of this task's class, or of the app's if the task is not known here."""
        try:
            return cast("Callable[..., Result[R]]", self.type.AsyncResult)
        except KeyError:
            return cast("Callable[..., Result[R]]", self.app.AsyncResult)

    # -- calling

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> R:
        """Run the task's body here and now."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs, None)
        return cast("R", self.type(*args, **kwargs))

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Result[R]:
        """`apply_async` with the arguments given as in a plain call."""
        return self.apply_async(partial_args, partial_kwargs)

    async def adelay(self, *partial_args: Any, **partial_kwargs: Any) -> Result[R]:
        """`delay` that awaits the broker instead of blocking the event loop."""
        return await self.aapply_async(partial_args, partial_kwargs)

    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[R]:
        """Run here and now as a worker would, and return an `EagerResult`."""
        args, kwargs, options = self._merge(args, kwargs, options)
        return cast("EagerResult[R]", self.type.apply(args, kwargs, **options))

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Result[R]:
        """Send the task.

        Args:
            args: prepended to the signature's own.
            kwargs: merged over the signature's own.
            route_name: route as if the task had this name.
            **options: as `Task.apply_async`; None means: as the signature says.
        """
        args, kwargs, options = self._for_sending(args, kwargs, route_name, options)
        return cast("Result[R]", self._sender("apply_async", "send_task")(args, kwargs, **options))

    async def aapply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Result[R]:
        """`apply_async` that awaits the broker instead of blocking the event loop."""
        args, kwargs, options = self._for_sending(args, kwargs, route_name, options)
        send = self._sender("aapply_async", "asend_task")
        return cast("Result[R]", await send(args, kwargs, **options))

    def _for_sending(
        self, args: Any, kwargs: Mapping[str, Any] | None, route_name: str | None, options: dict[str, Any]
    ) -> tuple[Any, Mapping[str, Any], dict[str, Any]]:
        given = {key: value for key, value in options.items() if value is not None}
        merged_args, merged_kwargs, merged = self._merge(args, kwargs, given)
        if route_name:
            merged["route_name"] = route_name
        return merged_args, merged_kwargs, merged

    def _sender(self, of_task: str, of_app: str) -> Callable[..., Any]:
        try:
            return cast("Callable[..., Any]", getattr(self.type, of_task))
        except KeyError:
            return partial(getattr(self.app, of_app), self.task)

    def _merge(
        self,
        args: Any,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any] | None,
        force: bool = False,
    ) -> tuple[Any, Mapping[str, Any], dict[str, Any]]:
        """Return args, kwargs and options of a call with these partials; never the signature's own options dict."""
        merged = dict(self.options)
        if options:
            fixed = self._fixed_options()
            merged.update({key: value for key, value in options.items() if key not in fixed})
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            tuple(args) + tuple(self.args) if args else self.args,
            dict(self.kwargs, **kwargs) if kwargs else self.kwargs,
            merged,
        )

    def _fixed_options(self) -> set[str]:
        own = self.options
        fixed = {key for key in self._IMMUTABLE_OPTIONS if key in own}
        fixed.update(own.get("stamped_headers") or ())
        return fixed & own.keys()

    # -- as a part of a workflow

    def _plan(
        self, plan: Plan, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
    ) -> Result[R]:
        """Add to `plan` what a call of this sends first, and return the result of the call.

        The signature is the caller's own copy, and frozen; kinds of workflow do this each in their way.

        Args:
            options: of the call; None means: as the signature says.
        """
        args, kwargs, options = self._for_sending(args, kwargs, None, options)
        task_id = options.setdefault("task_id", None) or uuid()
        plan.send(self, args, kwargs, {**options, "task_id": task_id})
        return self.AsyncResult(task_id)

    def _apply(self, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        """Run in place as a part of a workflow that does."""
        return self.apply(args, kwargs, **options)

    def _width(self) -> int:
        """How many members of a chord this is, as part of its header."""
        return 1

    def __length_hint__(self) -> int:
        return self._width()

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Put stamps on this, and all that is linked to it: message headers that workers and events show.

        Args:
            visitor: asked for the stamps of each signature.
            append_stamps: what is stamped already becomes a list, instead of being replaced.
            **headers: stamps; with `stamped_headers`, which of them are.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        given = headers
        if visitor is not None:  # what is said by keyword wins
            given = stamping.joined(visitor.on_signature(self, **headers) or {}, headers)
        stamping.put(self, given, visitor is not None, append=append_stamps)

    def stamp_links(
        self, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Stamp callbacks and errbacks only."""
        stamping.stamp_links(self, visitor, append_stamps, headers, maybe_signature)

    def election(self) -> Result[R]:
        """Let the workers of the cluster elect one of them that runs this."""
        result = self.freeze()
        cast("Any", self.app).control.election(
            self.options["task_id"], "task", self.clone(task_id=self.options["task_id"]), connection=None
        )
        return result

    # -- changing

    def clone(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **opts: Any) -> Self:
        """Return a copy with these partial arguments and options; options are copied deeply."""
        args, kwargs, options = self._merge(args, kwargs, opts)
        cloned = self.from_dict(
            {
                "task": self.task,
                "args": tuple(args),
                "kwargs": dict(kwargs),
                "options": copy.deepcopy(options),
                "subtask_type": self.subtask_type,
                "immutable": self.immutable,
            },
            app=self._app,
        )
        cloned._type = self._type
        return cast("Self", cloned)

    partial = clone

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Result[R]:
        """Choose the task id now (keeping one already chosen) and return the result that will have it."""
        options = self.options
        task_id = options.get("task_id")
        if task_id is None:
            task_id = options["task_id"] = _id or uuid()
        if root_id:
            options["root_id"] = root_id
        if parent_id:
            options["parent_id"] = parent_id
        options["reply_to"] = self.app.replies_to(options.get("reply_to"))
        if group_id and "group_id" not in options:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        return self.AsyncResult(task_id)

    _freeze = freeze

    def replace(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a copy with whatever is given in place of the signature's own."""
        changed = self.clone()
        if args is not None:
            changed.args = args
        if kwargs is not None:
            changed.kwargs = cast("dict[str, Any]", kwargs)
        if options is not None:
            changed.options = cast("dict[str, Any]", options)
        return changed

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Update options in place, and return the signature itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether arguments given at the call are ignored."""
        self.immutable = immutable

    def link(self, callback: Any) -> Any:
        """Call `callback` with this task's result when it succeeded; return `callback`."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Call `errback` when this task failed; return `errback`."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Self:
        """`link_error`, but return the signature itself, for chaining."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Append `value` to the option `key` unless it is there already; return `value`."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Append every item of `value` (or `value` itself, if it is no list) to the option `key`."""
        self._list_option(key).extend(maybe_list(value) or ())

    def _list_option(self, key: str) -> MutableSequence[Any]:
        items: Any = self.options.setdefault(key, [])
        if not isinstance(items, MutableSequence):
            items = self.options[key] = [items]
        return cast("MutableSequence[Any]", items)

    def flatten_links(self) -> list[Signature[Any]]:
        """Return this signature and all that is linked to it, and to those, and so on."""
        found: list[Signature[Any]] = [self]
        for linked in maybe_list(self.options.get("link")) or ():
            found.extend(cast("Signature[Any]", maybe_signature(linked, app=self._app)).flatten_links())
        return found

    # -- as an object

    def explain(self) -> str:
        """Say in words what a call of this would run, and in which order.

        >>> print((add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()).explain())
        one after another (2 steps)
        1. add(1, 1)
        2. side by side (2), then, with the list of their values:
           - add(1)
           - add(2)
           = total()
        """
        copy = self.clone()
        copy._settle()
        return "\n".join(explaining.explained(copy))

    def _settle(self) -> None:
        """Bring the parts into the form in which they are sent; kinds of workflow do."""

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the text of the call with these partial arguments: `add(2, 2)`."""
        merged_args, merged_kwargs, _ = self._merge(args, kwargs, None, force=True)
        return reprcall(self.task, merged_args, merged_kwargs)

    def __repr__(self) -> str:
        return self.reprcall()

    def __invert__(self) -> R:
        """`~sig`: send it and wait for its result."""
        return self.apply_async().get()

    @overload  # type: ignore[override]  # not the merging of dicts
    def __or__(self, other: group[S]) -> _chain[list[S], GroupResult[S]]: ...  # type: ignore[overload-overlap]
    @overload
    def __or__(self, other: _chain[S, Q]) -> _chain[S, Q]: ...  # type: ignore[overload-overlap]
    @overload
    def __or__(self, other: Signature[S]) -> _chain[S]: ...
    def __or__(self, other: object) -> Any:
        return compose(self, other) if isinstance(other, Signature) else NotImplemented

    def __ror__(self, other: Never) -> Any:  # type: ignore[override]
        return NotImplemented  # never the merging of dicts

    def __ior__(self, other: object) -> Any:  # type: ignore[override,misc,unused-ignore]
        return cast("Any", self) | other

    def __deepcopy__(self, memo: dict[int, Any]) -> Signature[Any]:
        plain = {key: copy.deepcopy(value, memo) for key, value in self.items()}
        copied = self.from_dict(plain, app=self._app)
        memo[id(self)] = copied
        copied._type = self._type
        return copied

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> Any:
        return signature, (dict(self),)


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
    """Make a signature.

    Args:
        varies: a task or its name (then the rest is as for `Signature`), a signature (a clone is returned) or
            its dict form.
    """
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies, app=kwargs.get("app"))
    return Signature(varies, *args, **kwargs)


subtask = signature


def maybe_signature(d: Any, app: Celery | None = None, clone: bool = False) -> Any:
    """Make sure `d` is a signature if it is a dict; leave anything else (None, too) alone.

    Args:
        app: bind the signature to this app.
        clone: return a copy if it already was a signature.
    """
    if isinstance(d, dict):
        if not isinstance(d, Signature):
            d = signature(d)
        elif clone:
            d = d.clone()
        if app is not None:
            d._app = app
    return d


__all__ = ("Signature", "maybe_signature", "signature", "subtask")
