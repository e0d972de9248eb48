"""`celery graph`: drawings."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import click

from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from celery.bin.cluster import workers
from celery.result import workflow_of

GROUP = "Graph Options"


@click.group(name="graph")
@click.pass_context
@handle_preload_options
def graph(ctx: click.Context) -> None:
    """The `celery graph` command."""


@graph.command(cls=CeleryCommand)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--format",
    "form",
    cls=CeleryOption,
    type=click.Choice(["dot", "tree", "json"]),
    default="dot",
    show_default=True,
    help_group=GROUP,
    help="For graphviz, for people, for programs.",
)
@click.pass_context
@handle_preload_options
def workflow(ctx: click.Context, ids: tuple[str, ...], form: str) -> None:
    """Draw the workflow that a task is of, by the stored results: also while it runs.

    ID is that of any of its tasks (the first one tells most), or of a group that was saved.
    """
    found = workflow_of(*(_result(ctx.obj.app, one) for one in ids))
    if all(node.state == "PENDING" for node in found.nodes.values()):
        ctx.obj.error(
            f"Nothing is stored of {', '.join(ids)} (not begun, expired, or no such task): what follows is all "
            "that is known. The first task of a workflow tells most."
        )
    ctx.obj.echo({"dot": found.to_dot, "tree": found.to_tree, "json": found.to_json}[form]())


@graph.command(cls=CeleryCommand)
@click.argument("blueprints", nargs=-1, metavar="[worker] [consumer]")
@click.pass_context
@handle_preload_options
def bootsteps(ctx: click.Context, blueprints: tuple[str, ...]) -> None:
    """Draw the steps of a worker and of its consumer, and what requires what, for graphviz.

    No step is made. A worker's parts are there as places in the order; the rest are those in `app.steps`.
    """
    from celery.worker.components import WorkerBlueprint  # noqa: PLC0415 - workers need not load this
    from celery.worker.consumer.blueprint import ConsumerBlueprint  # noqa: PLC0415 - the same

    known = {"worker": WorkerBlueprint, "consumer": ConsumerBlueprint}
    wrong = sorted(set(blueprints) - set(known))
    if wrong:
        raise click.UsageError(
            f"There is no blueprint {wrong[0]!r}: expected worker, consumer, or both.", ctx
        )
    wanted = [name for name in known if not blueprints or name in blueprints]
    drawn = [known[name](ctx.obj.app.steps.get(name)) for name in wanted]
    for blueprint in drawn:
        blueprint.connect()
    if len(drawn) > 1:
        drawn[0].connect_with(drawn[1])
    text = io.StringIO()
    drawn[0].graph.to_dot(text)
    ctx.obj.echo(text.getvalue().rstrip("\n"))


graph.add_command(workers)


def _result(app: Any, given: str) -> Any:
    """The result of a group if one was saved under this id, else that of a task."""
    with contextlib.suppress(NotImplementedError):
        found = app.GroupResult.restore(given)
        if found is not None:
            return found
    return app.AsyncResult(given)
