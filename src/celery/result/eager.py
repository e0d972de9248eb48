"""The result of a task that ran in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from celery import states
from celery.exceptions import ResumeError, TaskRevokedError

from .progress import Tracker
from .single import AsyncResult, T

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from .progress import Progress


class EagerResult(AsyncResult[T]):
    """What `Task.apply()` returns: it is always there already.

    Args:
        id: the task's id.
        ret_value: what the task returned, or its exception.
        state: how it ended.
        traceback: text, if it failed.
        name: the task's name.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        # No super(): there is no backend and no app to look for.
        self.id = id
        self._result = ret_value
        self._state = state
        self._traceback = traceback
        self._name = name

    @property
    def _cache(self) -> dict[str, Any]:  # type: ignore[override]  # what the base keeps is computed here
        return {
            "task_id": self.id,
            "result": self._result,
            "status": self._state,
            "traceback": self._traceback,
            "name": self._name,
        }

    def _get_task_meta(self) -> dict[str, Any]:
        return self._cache

    def _to_remote_traceback(self, text: str | None) -> None:
        """The exception is the real one, and has its own traceback."""

    def ready(self) -> bool:
        """Always true."""
        return True

    def get(  # type: ignore[override]  # nothing to wait for: the base's other options mean nothing here
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        *,
        throw: bool | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **kwargs: Any,
    ) -> T:
        """Return what the task returned, at once.

        Args:
            propagate: raise the exception of a task that failed; else it is returned.
            throw: another name of `propagate`.
            on_progress: called, once, with a `Progress`.

        Raises:
            Exception: that of the task.
        """
        if on_progress is not None:
            with Tracker(self, on_progress) as tracker:
                tracker.tell()
        propagate = propagate if throw is None else throw
        if self.successful():
            return cast("T", self._result)
        if self._state in states.PROPAGATE_STATES:
            if propagate:
                self.throw(self._result)
            return cast("T", self._result)
        return cast("T", None)

    wait = get  # type: ignore[assignment]  # as above

    async def aget(self, *args: Any, **kwargs: Any) -> T:
        """As `get`."""
        return self.get(*args, **kwargs)

    def then(
        self,
        callback: Callable[[Self], object],
        on_error: Callable[[BaseException], object] | None = None,
        weak: bool = False,
    ) -> Self:
        """Call `callback(result)`, or `on_error(exc)` if that is given and the task failed; at once."""
        self._tell(callback, on_error)
        return self

    def resume(self, force: bool = False) -> Self:
        """Not possible.

        Raises:
            ResumeError: always.
        """
        raise ResumeError(f"{self.id} ran in place, so nothing is kept to resume it.")

    def forget(self) -> None:
        """Nothing is stored, so nothing is forgotten."""

    def exists(self) -> bool:
        """Always true."""
        return True

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Make it a revoked one."""
        self._state = states.REVOKED
        self._result = TaskRevokedError("revoked")

    @property
    def supports_native_join(self) -> bool:
        """There is no backend to do it."""
        return False

    def __copy__(self) -> Self:
        return type(self)(*self.__reduce_args__())

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self._result, self._state, self._traceback, self._name
