"""`celery result`: what a task returned."""

from __future__ import annotations

import click

from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options

GROUP = "Result Options"


@click.command(cls=CeleryCommand)
@click.argument("task_id")
@click.option("-t", "--task", cls=CeleryOption, help_group=GROUP, help="Name of task (if custom backend).")
@click.option("--traceback", cls=CeleryOption, is_flag=True, help_group=GROUP, help="Show traceback instead.")
@click.pass_context
@handle_preload_options
def result(ctx: click.Context, task_id: str, task: str | None, traceback: bool) -> None:
    """Print the return value for a given task id."""
    app = ctx.obj.app
    if task and task not in app.tasks:
        raise click.UsageError(f"There is no task {task!r} in this application.", ctx)
    make = app.tasks[task].AsyncResult if task else app.AsyncResult
    found = make(task_id)
    ctx.obj.echo(found.traceback if traceback else found.get())
