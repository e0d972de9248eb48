"""`celery report`: what to put into a bug report."""

from __future__ import annotations

import click

from celery.bin.base import CeleryCommand, handle_preload_options


@click.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def report(ctx: click.Context) -> None:
    """Shows information useful to include in bug-reports."""
    app = ctx.obj.app
    app.loader.import_default_modules()
    ctx.obj.echo(app.bugreport())
