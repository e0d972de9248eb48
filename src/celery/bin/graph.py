"""`celery graph`: drawings."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options
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


def _result(app: Any, given: str) -> Any:
    """The result of a group if one was saved under this id, else that of a task."""
    with contextlib.suppress(NotImplementedError):
        found = app.GroupResult.restore(given)
        if found is not None:
            return found
    return app.AsyncResult(given)
