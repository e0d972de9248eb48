"""Tasks that every app has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery._state import connect_on_app_finalize
from celery.app.unlocking import look_at_chord
from celery.canvas import chord as canvas_chord
from celery.canvas import chunks as canvas_chunks
from celery.canvas import group as canvas_group
from celery.canvas import signature

if TYPE_CHECKING:
    from celery.app.base import Celery


@connect_on_app_finalize
def add_backend_cleanup_task(app: Celery) -> Any:
    """Add `celery.backend_cleanup`: let the result backend delete what has expired."""

    @app.task(name="celery.backend_cleanup", shared=False, lazy=False)
    def backend_cleanup() -> None:
        app.backend.cleanup()

    return backend_cleanup


@connect_on_app_finalize
def add_accumulate_task(app: Celery) -> Any:
    """Add `celery.accumulate`: returns its arguments, or one of them."""

    @app.task(name="celery.accumulate", shared=False, lazy=False)
    def accumulate(*args: Any, **kwargs: Any) -> Any:
        index = kwargs.get("index")
        return args if index is None else args[index]

    return accumulate


@connect_on_app_finalize
def add_map_task(app: Celery) -> Any:
    """Add `celery.map`: calls a task for each item, here."""

    @app.task(name="celery.map", shared=False, lazy=False)
    def xmap(task: Any, it: Any) -> list[Any]:
        call = signature(task, app=app).type
        return [call(item) for item in it]

    return xmap


@connect_on_app_finalize
def add_starmap_task(app: Celery) -> Any:
    """Add `celery.starmap`: calls a task for each tuple of arguments, here."""

    @app.task(name="celery.starmap", shared=False, lazy=False)
    def xstarmap(task: Any, it: Any) -> list[Any]:
        call = signature(task, app=app).type
        return [call(*item) for item in it]

    return xstarmap


@connect_on_app_finalize
def add_chunk_task(app: Celery) -> Any:
    """Add `celery.chunks`: sends an iterable in chunks."""

    @app.task(name="celery.chunks", shared=False, lazy=False)
    def chunks(task: Any, it: Any, n: int) -> Any:
        return canvas_chunks.apply_chunks(signature(task, app=app), it, n, app=app)

    return chunks


@connect_on_app_finalize
def add_group_task(app: Celery) -> Any:
    """Add `celery.group`: sends the members of a group."""

    @app.task(name="celery.group", bind=True, shared=False, lazy=False)
    def group(
        self: Any, tasks: Any, result: Any, group_id: str, partial_args: Any, add_to_parent: bool = True
    ) -> Any:
        members = canvas_group([signature(task, app=app) for task in tasks], app=app)
        return members.apply_async(partial_args, task_id=group_id, add_to_parent=add_to_parent)

    return group


@connect_on_app_finalize
def add_chain_task(app: Celery) -> Any:
    """Add `celery.chain`, which stands for chains in signatures and cannot be run by a worker."""

    @app.task(name="celery.chain", shared=False, lazy=False)
    def chain(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("chain is not a real task")

    return chain


@connect_on_app_finalize
def add_chord_task(app: Celery) -> Any:
    """Add `celery.chord`: sends a chord."""

    @app.task(name="celery.chord", bind=True, ignore_result=False, shared=False, lazy=False)
    def chord(
        self: Any,
        /,
        header: Any,
        body: Any,
        partial_args: Any = (),
        interval: float | None = None,
        **options: Any,
    ) -> Any:
        options.pop("eager", None)
        made = canvas_chord(header, body, app=app)
        return made.apply_async(partial_args, interval=interval, **options)

    return chord


@connect_on_app_finalize
def add_unlock_chord_task(app: Celery) -> Any:
    """Add `celery.chord_unlock`: looks whether the members of a chord are over, for stores that cannot count."""

    @app.task(
        name="celery.chord_unlock",
        bind=True,
        max_retries=None,
        ignore_result=True,
        acks_late=True,
        shared=False,
        lazy=False,
    )
    def unlock_chord(
        self: Any,
        /,
        group_id: str,
        callback: Any,
        interval: float | None = None,
        max_retries: int | None = None,
        result: Any = None,
        **kwargs: Any,
    ) -> None:
        look_at_chord(self, group_id, callback, interval, max_retries, result or ())

    return unlock_chord
