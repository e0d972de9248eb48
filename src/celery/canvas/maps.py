"""Many calls in one task: `map`, `starmap`, and `chunks` of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.utils.functional import chunks as pieces
from celery.utils.functional import regen

from .groups import group
from .signatures import Signature, maybe_signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from celery.app.base import Celery


class _basemap(Signature[Any]):
    """A task that calls another for each item of an iterable, and returns the list of values.

    Args:
        task: a task or signature.
        it: the items; read when the map is called.
    """

    _task_name = ""

    def __init__(self, task: Any = None, it: Any = (), **options: Any) -> None:
        app = options.pop("app", None)
        sig = task if isinstance(task, Signature) or task is None else _as_signature(task)
        super().__init__(
            self._task_name, (), {"task": sig, "it": regen(it)}, app=app, immutable=True, **options
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature[Any]:
        """Make a map of its dict form."""
        made = cls(app=app)
        made.update(d, subtask_type=None)  # a task like others, to who reads it
        return made

    def clone(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **opts: Any) -> Self:
        """Return a copy with these options."""
        copy = type(self)(app=self._app)
        plain = Signature.clone(self, args, kwargs, **opts)
        copy.update(plain)
        copy._type = self._type
        return copy

    def _merge(
        self, args: Any, kwargs: Any, options: Mapping[str, Any] | None, force: bool = False
    ) -> tuple[Any, Any, dict[str, Any]]:
        _, own, merged = super()._merge(None, None, options)
        task = own["task"]
        # What is sent is what there is now: an iterator is used up here.
        return (
            (),
            {**own, "task": task.clone() if isinstance(task, Signature) else task, "it": list(own["it"])},
            merged,
        )


def _as_signature(task: Any) -> Any:
    return maybe_signature(task) if isinstance(task, dict) else task.s()


@Signature.register_type()
class xmap(_basemap):
    """`task.map(it)`: `[task(item) for item in it]` in one task."""

    _task_name = "celery.map"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class xstarmap(_basemap):
    """`task.starmap(it)`: `[task(*item) for item in it]` in one task."""

    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}(*x) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class chunks(Signature[Any]):
    """`task.chunks(it, n)`: a group of `starmap` tasks of `n` items each. The result is a list of lists.

    Args:
        task: a task or signature.
        it: tuples of arguments; read when the chunks are called.
        n: items of each task.
    """

    def __init__(self, task: Any = None, it: Any = (), n: int = 1, **options: Any) -> None:
        app = options.pop("app", None)
        sig = task if isinstance(task, Signature) or task is None else _as_signature(task)
        super().__init__(
            "celery.chunks", (), {"task": sig, "it": regen(it), "n": n}, app=app, immutable=True, **options
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> chunks:
        """Make chunks of their dict form."""
        made = chunks(app=app)
        made.update(d, subtask_type=None)  # a task like others, to who reads it
        return made

    def clone(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **opts: Any) -> Self:
        """Return a copy with these options."""
        copy = type(self)(app=self._app)
        copy.update(Signature.clone(self, args, kwargs, **opts))
        return copy

    def __call__(self, **options: Any) -> Any:
        """Send all chunks."""
        return self.apply_async(**options)

    def apply_async(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **opts: Any) -> Any:  # type: ignore[override]  # has no route
        """Send all chunks and return the `GroupResult`."""
        return self.group().apply_async(args, kwargs, **{**self.options, **opts})

    async def aapply_async(  # type: ignore[override]  # has no route
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **opts: Any
    ) -> Any:
        """`apply_async` that awaits the broker instead of blocking the event loop."""
        return await self.group().aapply_async(args, kwargs, **{**self.options, **opts})

    def apply(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run all chunks here."""
        return self.group().apply(args, kwargs, **options)

    def group(self) -> group[Any]:
        """The group of `starmap` tasks."""
        task, n = self.kwargs["task"], self.kwargs["n"]
        task = maybe_signature(task, app=self._app)
        parts = pieces(iter(self.kwargs["it"]), n)
        return group((xstarmap(task, part, app=self._app) for part in parts), app=self._app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Any, n: int, app: Celery | None = None) -> Any:
        """Send `it` to `task` in chunks of `n`."""
        return cls(task, it, n, app=app)()
