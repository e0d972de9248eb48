"""Chains: one step after another, each with the value of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from celery.utils.functional import is_list, maybe_list

from . import calls, graphs, stamping
from .algebra import fold, kind_of, shortened
from .calls import after
from .signatures import Q, R, Res, S, Signature, maybe_signature

if TYPE_CHECKING:
    from typing import Self

    from celery.app.base import Celery
    from celery.result import AsyncResult, GroupResult

    from .groups import group
    from .plans import Plan

#: Options of a chain that concern its last step, not the first.
_OF_LAST = ("link", "chord", "group_id", "group_index")


@Signature.register_type("chain")
class _chain(Signature[R], Generic[R, Res]):
    """Steps that run one after another. Made by `chain(...)`, or by `|`."""

    def __init__(self, *tasks: Any, **options: Any) -> None:
        if len(tasks) == 1 and is_list(tasks[0]):
            tasks = tuple(tasks[0])
        app = options.pop("app", None)
        steps = [_checked(task) for task in tasks]
        super().__init__("celery.chain", (), {"tasks": steps}, app=app, subtask_type="chain", **options)

    if TYPE_CHECKING:

        def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Res: ...  # type: ignore[override]
        async def adelay(self, *partial_args: Any, **partial_kwargs: Any) -> Res: ...  # type: ignore[override]

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> _chain[Any, Any]:
        """Make a chain of its dict form."""
        made = _chain(app=app)
        made.update(d)
        made["kwargs"] = kwargs = dict(d["kwargs"])
        kwargs["tasks"] = [maybe_signature(task, app=app, clone=False) for task in kwargs.get("tasks") or ()]
        return made

    @property
    def tasks(self) -> list[Any]:
        """The steps."""
        return cast("list[Any]", self.kwargs["tasks"])

    @tasks.setter
    def tasks(self, value: Any) -> None:
        self.kwargs["tasks"] = list(value)

    @property
    def app(self) -> Celery:
        """The chain's own app, or that of its first step."""
        if self._app is None and self.tasks:
            return cast("Celery", self.tasks[0].app)
        return super().app

    def clone(self, *args: Any, **kwargs: Any) -> Self:
        """Return a copy, steps included, with these partial arguments and options."""
        cloned = super().clone(*args, **kwargs)
        cloned.tasks = [task.clone() for task in self.tasks]
        return cloned

    def unchain_tasks(self) -> list[Any]:
        """Return copies of the steps, with the options of the chain that concern all of them."""
        tasks = [task.clone() for task in self.tasks]
        for errback in maybe_list(self.options.get("link_error")) or ():
            for task in tasks:
                task.link_error(errback)
        return tasks

    # -- from how it was written to what is sent

    def _settle(self) -> None:
        """Bring the steps into the form in which they travel.

        Chains in it are opened, empty groups left out, a group that is followed by something is the header of a
        chord whose body that is, and of a chord's body that is a chain only the first step stays.
        """
        settled: list[Any] = []
        for step in _opened(self.tasks):
            _add_step(settled, step)
        self.tasks = settled or self.tasks[:1]

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Choose the ids of all steps; return the result of the last, whose `parent` is that of the one before.

        Args:
            _id: of the last step; so are `group_id`, `chord` and `group_index`.
            parent_id: of the first.
        """
        self._settle()
        if not self.tasks:
            return None
        options = self.options
        *before, last = self.tasks
        previous = None
        for step in before:
            previous = after(previous, step.freeze(root_id=root_id, parent_id=parent_id))
            parent_id = None
        index = options.get("group_index") if group_index is None else group_index
        result = last.freeze(
            options.get("task_id") or _id,
            group_id=group_id or options.get("group_id"),
            chord=chord or options.get("chord"),
            root_id=root_id,
            parent_id=parent_id,
            group_index=index,
        )
        options["task_id"] = result.id
        return after(previous, result)

    _freeze = freeze

    def _own_steps(self) -> list[Any]:
        """The steps, when the chain is opened to be a part of another: its arguments and options stay with them."""
        steps = self.tasks
        if not steps:
            return steps
        self._hand_down_links()
        own = {key: value for key, value in self.options.items() if key != "task_id"}
        if self.immutable:
            steps[0].set_immutable(True)
        if own or self.args:
            steps[0] = steps[0].clone(self.args, None, **own)
        return steps

    def _link_up(self) -> None:
        """Messages of protocol 1 cannot carry a chain: each step is the callback of the one before."""
        while len(self.tasks) > 1:
            last = self.tasks.pop()
            self.tasks[-1].link(last)

    def _hand_down_links(self) -> None:
        """What is linked to the chain belongs to its last step, errbacks to every step.

        Done when it is sent or becomes a part of another: as the body of a chord it travels with links of its own.
        """
        if not self.tasks:
            return
        for callback in maybe_list(self.options.pop("link", None)) or ():
            self.tasks[-1].link(callback)
        for errback in maybe_list(self.options.pop("link_error", None)) or ():
            for task in self.tasks:
                task.link_error(errback)

    # -- calling

    def __call__(self, *args: Any, **kwargs: Any) -> Res:  # type: ignore[override]  # sends
        """Send the first step; the rest follows."""
        return self.apply_async(args, kwargs) if self.tasks else cast("Res", None)

    def apply_async(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Res:  # type: ignore[override]  # has no route
        """Send the first step, which takes these arguments; the rest follows.

        Args:
            **options: `link` is called with the value of the last step, `link_error` for whichever step fails,
                `task_id` is the id of the last step; others concern the first step.

        Returns:
            The result of the last step, None for an empty chain.
        """
        return cast("Res", calls.launch(self, args, kwargs, options))

    async def aapply_async(  # type: ignore[override]  # has no route
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Res:
        """`apply_async` that awaits the broker instead of blocking the event loop."""
        return cast("Res", await calls.alaunch(self, args, kwargs, options))

    def run(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """`apply_async` that sends even where tasks run eagerly."""
        return calls.launch(self, args, kwargs, options, eager=False)

    def _plan(self, plan: Plan, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        args, kwargs, options = calls.given(self, args, kwargs, options)
        self.options.update({key: options.pop(key) for key in _OF_LAST if options.get(key) is not None})
        errbacks = maybe_list(options.pop("link_error", None))
        if errbacks:
            self.options["link_error"] = errbacks
        wanted = options.pop("task_id", None)
        if wanted:
            self.options["task_id"] = wanted
        self._settle()
        self._hand_down_links()
        result = self.freeze(root_id=options.get("root_id"), parent_id=options.get("parent_id"))
        if result is None:
            return None
        if any(kind_of(step) == "chord" for step in self.tasks):
            self.app.backend.ensure_chords_allowed()
        if self.app.conf.task_protocol == 1:
            self._link_up()
        rest = options.pop("chain", None) or []
        first, *others = self.tasks
        options = {key: value for key, value in options.items() if key not in _OF_LAST}
        chain = graphs.following(plan, self.app, rest, others)
        first._plan(plan, args, kwargs, {**options, "chain": chain})
        return result

    def apply(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run all steps here, in order.

        Returns:
            The result of the last step. If one failed the later ones did not run, and have failed like it.
        """
        chain = self.clone()
        args, kwargs, options = calls.given(chain, args, kwargs, options)
        links = {key: options.pop(key) for key in ("link", "link_error", "task_id") if options.get(key)}
        chain.options = links
        chain._settle()
        chain._hand_down_links()
        options = {key: value for key, value in options.items() if key not in _OF_LAST}
        if chain.freeze() is None:
            return None
        previous = None
        for at, step in enumerate(chain.tasks):
            result = step._apply(args, kwargs, options)
            calls.root_of(result).parent = previous
            if at + 1 < len(chain.tasks) and (failure := calls.failure_of(result)):
                return calls.failed_like(chain.tasks[-1], failure, parent=result)
            previous, args, kwargs = result, (calls.value_of(result),), None
            options = {key: value for key, value in options.items() if key == "throw"}
        return previous

    # -- as a part of a workflow

    def _apply(self, args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
        return self.apply(args, kwargs, **options)

    def _width(self) -> int:
        return int(self.tasks[-1]._width()) if self.tasks else 0

    def prepare_steps(
        self, args: Any, kwargs: Any, tasks: Any, **options: Any
    ) -> tuple[list[Any], list[Any]]:
        """Return the steps as they are sent, last first, and their results, last first."""
        prepared = _chain(*[task.clone() for task in tasks], app=self._app)
        wanted = {"root_id": options.get("root_id"), "parent_id": options.get("parent_id")}
        result = prepared.freeze(options.get("last_task_id"), options.get("group_id"), options.get("chord_body"),
                                 group_index=options.get("group_index"), **wanted)  # fmt: skip
        if prepared.tasks and (args or kwargs):
            prepared.tasks[0] = prepared.tasks[0].clone(args, kwargs)
        results = []
        while result is not None:
            results.append(result)
            result = result.parent
        return prepared.tasks[::-1], results

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp every step, and what is linked."""
        given = (
            headers if visitor is None else stamping.joined(headers, visitor.on_chain_start(self, **headers))
        )
        self.stamp_links(visitor, append_stamps, **given)
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **given)
        if visitor is not None:
            visitor.on_chain_end(self, **given)

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return shortened(self.tasks[0].task, " | ".join(repr(task) for task in self.tasks))


class chain(_chain[R, Res]):
    """`chain(a, b, c)`: `b` is called with the value of `a`, `c` with that of `b`.

    Takes signatures, or one list of them. The outcome is that of `a | b | c`: for instance a chord, if the first is a
    group. Calling it sends it and returns the result of the last step.
    """

    @overload
    def __new__(
        cls, *tasks: *tuple[*tuple[Signature[Any], ...], group[S]], **options: Any
    ) -> chain[list[S], GroupResult[S]]: ...
    @overload
    def __new__(
        cls, *tasks: *tuple[*tuple[Signature[Any], ...], _chain[S, Q]], **options: Any
    ) -> chain[S, Q]: ...
    @overload
    def __new__(
        cls, *tasks: *tuple[*tuple[Signature[Any], ...], Signature[S]], **options: Any
    ) -> chain[S, AsyncResult[S]]: ...
    @overload
    def __new__(cls, *tasks: Any, **options: Any) -> chain[Any, Any]: ...
    def __new__(cls, *tasks: Any, **options: Any) -> Any:  # type: ignore[misc]  # takes all of these
        """Make a chain; without options several steps are joined as `|` does."""
        if options or not tasks:
            return super().__new__(cls)
        if len(tasks) == 1 and not is_list(tasks[0]):
            return super().__new__(cls)
        steps = list(tasks[0]) if len(tasks) == 1 else list(tasks)
        return fold(_chain(), [_checked(step) for step in steps])

    def __reduce__(self) -> Any:
        return _chain.from_dict, (dict(self),)


def _checked(step: Any) -> Any:
    """A step as a signature.

    Raises:
        TypeError: it is none.
    """
    sig = maybe_signature(step) if not isinstance(step, Mapping) or "task" in step else step
    if not isinstance(sig, Signature):
        raise TypeError(f"a chain is made of signatures, as task.s() gives them, not of {step!r}")
    return sig


def _opened(steps: Any) -> Any:
    for step in steps:
        if kind_of(step) == "chain":
            yield from _opened(step._own_steps())
        else:
            yield step


def _add_step(settled: list[Any], step: Any) -> None:
    kind = kind_of(step)
    if kind == "group" and not len(step.tasks):
        return
    if settled and _is_fan(settled[-1]):
        settled[-1] = _gathered(settled[-1], step)
        step = settled.pop()
        kind = "chord"
    if kind == "chord" and kind_of(step.body) == "chain":
        first, *others = list(_opened([step.body])) or [step.body]
        step.body = first
        settled.append(step)
        for other in others:
            _add_step(settled, other)
        return
    settled.append(step)


def _is_fan(step: Any) -> bool:
    """Whether what follows has to wait for many: a group, or a chord whose body is one."""
    while kind_of(step) == "chord":
        step = step.body
    return kind_of(step) == "group"


def _gathered(step: Any, following: Any) -> Any:
    """`step`, with `following` as what gathers its values."""
    if kind_of(step) == "chord":
        step.body = _gathered(step.body, following)
        return step
    return Signature.TYPES["chord"](step, body=following, app=step._app)
