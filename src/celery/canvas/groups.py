"""Groups: members that run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from celery.utils import uuid
from celery.utils.functional import is_list, maybe_list, regen

from . import calls, graphs, stamping
from .algebra import kind_of, shortened
from .signatures import Q, S, Signature, maybe_signature

if TYPE_CHECKING:
    from typing import Self

    from celery.app.base import Celery
    from celery.result import EagerResult, GroupResult

    from .chains import _chain
    from .chords import _chord
    from .plans import Plan

#: Options of a call that concern the group, not each of its members.
_OF_GROUP = ("task_id", "group_id", "group_index", "chord", "chain")
NO_LINKS = "Cannot add link to group: use a chord"


if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


def signatures_of(tasks: Any, app: Celery | None = None) -> Any:
    """A list or tuple with everything in it a signature."""
    found = [maybe_signature(task, app=app) for task in tasks]
    return tuple(found) if isinstance(tasks, tuple) else found


def maybe_unroll_group(group: Any) -> Any:
    """The member of a group of one; anything else is returned as it is."""
    try:
        size = len(group.tasks)
    except TypeError:
        size = group.tasks.__length_hint__()
    return next(iter(group.tasks)) if size == 1 else group


@Signature.register_type()
class group(Signature[list[S]], Generic[S]):
    """Members that run side by side: `group(a, b)`, `group([a, b])`, `group(add.s(i, i) for i in range(10))`.

    Calling it sends them all, with few round trips, and returns a `GroupResult`. Arguments given then are
    prepended to those of every member.
    """

    @overload
    def __init__(self, only: group[S], /, **options: Any) -> None: ...
    @overload
    def __init__(self, *tasks: Signature[S], **options: Any) -> None: ...
    @overload
    def __init__(self, tasks: Iterable[Signature[S]], /, **options: Any) -> None: ...
    @overload
    def __init__(self: group[Any], *tasks: Any, **options: Any) -> None: ...
    def __init__(self, *tasks: Any, **options: Any) -> None:  # type: ignore[misc]  # takes all of these
        app = options.pop("app", None)
        members: Any = tasks
        if len(tasks) == 1:
            (only,) = tasks
            if isinstance(only, group):
                members = only.clone().tasks
            elif isinstance(only, Mapping) or not isinstance(only, Iterable):
                members = [only]
            else:
                members = only if isinstance(only, (list, tuple)) else regen(only)
        if isinstance(members, (list, tuple)) and type(members).__name__ != "_regen":
            members = signatures_of(members)
        super().__init__("celery.group", (), {"tasks": members}, app=app, subtask_type="group", **options)

    if TYPE_CHECKING:

        def delay(self, *partial_args: Any, **partial_kwargs: Any) -> GroupResult[S]: ...  # type: ignore[override]
        async def adelay(self, *partial_args: Any, **partial_kwargs: Any) -> GroupResult[S]: ...  # type: ignore[override]

        @overload  # type: ignore[override]
        def __or__(self, other: group[Q]) -> _chord[list[Q], GroupResult[Q]]: ...  # type: ignore[overload-overlap]
        @overload
        def __or__(self, other: _chain[Q, T]) -> _chord[Q, T]: ...  # type: ignore[overload-overlap]
        @overload
        def __or__(self, other: Signature[Q]) -> _chord[Q]: ...
        def __or__(self, other: object) -> Any: ...

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> group[Any]:
        """Make a group of its dict form."""
        made: group[Any] = group(app=app)
        made.update(d)
        made["kwargs"] = kwargs = dict(d["kwargs"])
        tasks = kwargs.get("tasks") or ()
        if isinstance(tasks, Mapping):  # a single one
            tasks = [tasks]
        if type(tasks).__name__ != "_regen":
            tasks = signatures_of(tasks, app)
        kwargs["tasks"] = tasks
        return made

    @property
    def tasks(self) -> Any:
        """The members: a list, a tuple, or what makes them when it is read for the first time."""
        return self.kwargs["tasks"]

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["tasks"] = value

    @property
    def app(self) -> Celery:
        """The group's own app, or that of its first member."""
        if self._app is None:
            for task in self.tasks:
                return cast("Celery", task.app)
        return super().app

    def clone(self, *args: Any, **kwargs: Any) -> Self:
        """Return a copy, members included, with these partial arguments and options."""
        cloned = super().clone(*args, **kwargs)
        copies = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]
        cloned.tasks = tuple(copies) if type(self.tasks) is tuple else copies
        return cloned

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True  # although an empty one has the length 0

    # -- changing

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the members ignore arguments given at the call."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Let the members start one after another: countdowns of `start`, `start + step` ... below `stop`.

        When `stop` is reached the last countdown is repeated.
        """
        countdown = float(start)
        for task in self.tasks:
            task.set(countdown=countdown)
            if stop is None or countdown + step <= stop:
                countdown += step
        return self

    def link(self, sig: Any) -> Any:
        """Call `sig`, without arguments, when the first member has succeeded; return what was linked."""
        immutable = maybe_signature(sig, app=self._app).clone()
        immutable.set_immutable(True)
        for task in self.tasks:
            return task.link(immutable)
        return immutable

    def link_error(self, sig: Any) -> Any:
        """Call a copy of `sig` for each member that fails; return `sig`."""
        for task in self.tasks:
            task.link_error(maybe_signature(sig, app=self._app).clone())
        return sig

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Choose the ids of the group and its members; return the `GroupResult`.

        Args:
            group_id: the members belong to this group, of which they are number `group_index` and following: they
                are members of an outer chord, whose body is `chord`.
        """
        options = self.options
        options["task_id"] = options.get("task_id") or _id or uuid()
        options["root_id"], options["parent_id"] = root_id, parent_id
        if group_id and "group_id" not in options:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        self.tasks = list(_flat(self.tasks, self._app))
        for callback in maybe_list(options.pop("link", None)) or ():
            self.link(callback)
        for errback in maybe_list(options.pop("link_error", None)) or ():
            self.link_error(errback)
        at = options.get("group_index") or 0
        results = []
        for task in self.tasks:
            results.append(
                task.freeze(
                    group_id=options.get("group_id"),
                    chord=options.get("chord"),
                    root_id=root_id,
                    parent_id=parent_id,
                    group_index=at,
                )
            )
            at += task._width()
        return self.app.GroupResult(options["task_id"], results)

    _freeze = freeze

    # -- calling

    def __call__(self, *partial_args: Any, **options: Any) -> GroupResult[S]:  # type: ignore[override]  # sends
        """Send all members."""
        return self.apply_async(partial_args, **options)

    def apply_async(  # type: ignore[override]  # has no route
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        add_to_parent: bool = True,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> GroupResult[S]:
        """Send all members, which all take these arguments, and return the `GroupResult`.

        If there is one member, and its result is a group's (a chain that ends in a group), then it is that.

        Raises:
            TypeError: `link` or `link_error` was given: a group has no value of its own.
        """
        options = self._checked_options(add_to_parent, producer, link, link_error, options)
        result = calls.launch(self, args, kwargs, options)
        return cast("GroupResult[S]", result if self.app.conf.task_always_eager else _only(result))

    async def aapply_async(  # type: ignore[override]  # has no route
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        add_to_parent: bool = True,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> GroupResult[S]:
        """`apply_async` that awaits the broker instead of blocking the event loop."""
        options = self._checked_options(add_to_parent, None, link, link_error, options)
        result = await calls.alaunch(self, args, kwargs, options)
        return cast("GroupResult[S]", result if self.app.conf.task_always_eager else _only(result))

    @staticmethod
    def _checked_options(
        add_to_parent: bool, producer: Any, link: Any, link_error: Any, options: dict[str, Any]
    ) -> dict[str, Any]:
        if link is not None:
            raise TypeError(NO_LINKS)
        if link_error is not None:
            raise TypeError("Cannot add link to group: do that on individual tasks")
        return {**options, "add_to_parent": add_to_parent, "producer": producer}

    def _plan(self, plan: Plan, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        args, kwargs, options = calls.given(self, args, kwargs, options)
        if options.get("chain"):
            return self._as_chord(options.pop("chain"))._plan(plan, args, kwargs, options)
        self.options.update({key: options[key] for key in _OF_GROUP if options.get(key) is not None})
        result = self.freeze(root_id=options.get("root_id"), parent_id=options.get("parent_id"))
        own = self.options.get("group_id") or self.id
        options = {key: value for key, value in options.items() if key not in _OF_GROUP}
        for task in self.tasks:
            task._plan(plan, args, kwargs, {**options, "group_id": own, "add_to_parent": False})
        return result

    def _as_chord(self, rest: list[Any]) -> Any:
        """The chord whose header this is, if `rest` (last first) is to follow."""
        steps = list(graphs.steps(self.app, rest))
        make: Any = Signature.TYPES
        body = steps[0] if len(steps) == 1 else make["chain"](*steps, app=self._app)
        return make["chord"](self, body=body, app=self._app)

    def apply(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run all members here, one after another, and return a `GroupResult` of what they gave; see `apply_async`."""
        return _only(self._apply(args, kwargs or {}, options))

    # -- as a part of a workflow

    def _apply(self, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        copy = self.clone()
        args, kwargs, options = calls.given(copy, args, kwargs, options)
        if options.get("link") or options.get("link_error"):
            raise TypeError(NO_LINKS)
        copy.options["task_id"] = options.get("task_id")
        copy.freeze()
        options = {
            key: value for key, value in options.items() if key not in (*_OF_GROUP, "root_id", "parent_id")
        }
        options["group_id"] = copy.id
        results: list[EagerResult[Any]] = [task._apply(args, kwargs, options) for task in copy.tasks]
        return self.app.GroupResult(copy.id, results)

    def _width(self) -> int:
        return sum(task._width() for task in self.tasks)

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp every member, and what is linked. Members that are not made yet are stamped when they are."""
        given = (
            headers if visitor is None else stamping.joined(headers, visitor.on_group_start(self, **headers))
        )
        self.stamp_links(visitor, append_stamps, **given)
        self.tasks = stamping.each(self.tasks, visitor, append_stamps, given)
        if visitor is not None:
            visitor.on_group_end(self, **given)

    def __repr__(self) -> str:
        if is_list(self.tasks) and type(self.tasks).__name__ != "_regen":
            first = next(iter(self.tasks), None)
            if first is None:
                return "group(<empty>)"
            return shortened(first.task, f"group({self.tasks!r})")
        return f"group({self.tasks!r})"


def _only(result: Any) -> Any:
    """The result of the only member, if that is one of a group, too."""
    results = result.results
    return results[0] if len(results) == 1 and hasattr(results[0], "results") else result


def _flat(tasks: Iterable[Any], app: Celery | None) -> Iterable[Any]:
    """Members, with groups among them opened and empty chains left out."""
    for one in tasks:
        task = maybe_signature(one, app=app)
        kind = kind_of(task)
        if kind == "group":
            yield from _flat(_with_options(task), app)
        elif kind != "chain" or task.tasks:
            yield task


def _with_options(inner: group[Any]) -> Iterable[Any]:
    """The members of a group that is about to be opened, with its options and arguments."""
    options = {
        key: value for key, value in inner.options.items() if key not in (*_OF_GROUP, "root_id", "parent_id")
    }
    for task in inner.tasks:
        if options or inner.args:
            task = maybe_signature(task, app=inner._app).clone(inner.args, None, **options)
        yield task
