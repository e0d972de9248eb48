"""What calling a workflow has in common, whatever its kind: arguments, launching, results run in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import ChordError
from celery.result import EagerResult, allow_join_result

from .plans import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .signatures import Signature


def given(
    sig: Signature[Any], args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any] | None, dict[str, Any]]:
    """Arguments and options of a call, with those that the workflow has itself.

    What a workflow has as `kwargs` are its parts, so keyword arguments are those of the call alone.
    """
    said = {key: value for key, value in options.items() if value is not None}
    merged_args, _, merged = sig._merge(args, None, said)
    return merged_args, None if sig.immutable else kwargs, merged


def launch(
    sig: Signature[Any],
    args: Any,
    kwargs: Mapping[str, Any] | None,
    options: dict[str, Any],
    *,
    eager: bool | None = None,
) -> Any:
    """Send what a workflow begins with; return its result."""
    app = sig.app
    if app.conf.task_always_eager if eager is None else eager:
        return _apply_eagerly(sig, args, kwargs, options)
    plan = Plan()
    result = sig.clone()._plan(plan, args, kwargs, options)
    app._launch(plan)
    return _with_trail(app, result, options)


async def alaunch(
    sig: Signature[Any], args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
) -> Any:
    """`launch` that awaits the broker instead of blocking the event loop."""
    app = sig.app
    if app.conf.task_always_eager:
        return _apply_eagerly(sig, args, kwargs, options)
    plan = Plan()
    result = sig.clone()._plan(plan, args, kwargs, options)
    await app._alaunch(plan)
    return _with_trail(app, result, options)


def _with_trail(app: Any, result: Any, options: Mapping[str, Any]) -> Any:
    """Tell the task that is running here that it has called a workflow."""
    task = app.current_worker_task
    if result is not None and task is not None and options.get("add_to_parent", True):
        task.add_trail(root_of(result))
    return result


def _apply_eagerly(
    sig: Signature[Any], args: Any, kwargs: Mapping[str, Any] | None, options: dict[str, Any]
) -> Any:
    with allow_join_result():
        return sig.apply(args, kwargs, **options)


# -- results


def root_of(result: Any) -> Any:
    """The result at the beginning: that which has no parent yet."""
    while result.parent is not None:
        result = result.parent
    return result


def after(previous: Any, result: Any) -> Any:
    """`result`, which `previous` leads to."""
    if previous is not None:
        root_of(result).parent = previous
    return result


def value_of(result: Any) -> Any:
    """The value of something that ran in place; a list for a group."""
    members = getattr(result, "results", None)
    return result.result if members is None else [value_of(member) for member in members]


def failure_of(result: Any) -> Any:
    """The result that failed first in what ran in place, if any did."""
    for member in getattr(result, "results", None) or ([] if hasattr(result, "results") else [result]):
        if hasattr(member, "results"):
            found = failure_of(member)
        else:
            found = member if member.state in states.PROPAGATE_STATES else None
        if found is not None:
            return found
    return None


def failed_like(sig: Any, failure: Any, *, parent: Any = None) -> Any:
    """The result of a part that did not run because of `failure`: a group for a group."""
    result = _failed(sig, failure.result, failure.state, failure.traceback)
    root_of(result).parent = parent
    return result


def chord_failure(failure: Any) -> ChordError:
    """What the body of a chord is told about a member that failed."""
    return ChordError(f"Dependency {failure.id} raised {failure.result!r}")


def _failed(sig: Any, exc: Any, state: str, traceback: Any) -> Any:
    while sig.subtask_type == "chord":
        sig = sig.body
    if sig.subtask_type == "chain":
        return _failed(sig.tasks[-1], exc, state, traceback)
    if sig.subtask_type == "group":
        return sig.app.GroupResult(sig.id, [_failed(task, exc, state, traceback) for task in sig.tasks])
    return EagerResult(sig.id or "", exc, state, traceback=traceback, name=sig.task)
