"""`celery resume`: going on with workflows that failed."""

from __future__ import annotations

import click

from celery.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from celery.utils import text

GROUP = "Resume Options"


@click.command(cls=CeleryCommand)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--force",
    cls=CeleryOption,
    is_flag=True,
    help_group=GROUP,
    help="Although somebody else has begun to: if that was broken off.",
)
@click.pass_context
@handle_preload_options
def resume(ctx: click.Context, ids: tuple[str, ...], force: bool) -> None:
    """Run again what failed of a workflow, and what depends on it.

    ID is that of the workflow's result, of any task of it that failed, of the header of a chord, or of a group that was
    saved. What has succeeded keeps its results.
    """
    sent = ctx.obj.app.backend.resume(ids, force=force)
    ctx.obj.echo(f"Sent {len(sent)} {text.pluralize(len(sent), 'task')} again: {', '.join(sent)}")
