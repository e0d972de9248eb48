"""`celery purge`: throw away the messages of queues."""

from __future__ import annotations

import click

from celery.bin.base import COMMA_SEPARATED_LIST, CeleryCommand, CeleryOption, handle_preload_options
from celery.utils import text

GROUP = "Purging Options"


@click.command(cls=CeleryCommand)
@click.option(
    "-f", "--force", cls=CeleryOption, is_flag=True, help_group=GROUP, help="Don't prompt for verification."
)
@click.option(
    "-Q",
    "--queues",
    cls=CeleryOption,
    type=COMMA_SEPARATED_LIST,
    help_group=GROUP,
    help="Comma separated list of queue names to purge.",
)
@click.option(
    "-X",
    "--exclude-queues",
    cls=CeleryOption,
    type=COMMA_SEPARATED_LIST,
    help_group=GROUP,
    help="Comma separated list of queues names not to purge.",
)
@click.pass_context
@handle_preload_options
def purge(
    ctx: click.Context, force: bool, queues: list[str] | None, exclude_queues: list[str] | None
) -> None:
    """Erase all messages from all known task queues.

    Warning: there is no undo operation for this command.
    """
    app = ctx.obj.app
    names = sorted(set(queues or app.amqp.queues) - set(exclude_queues or ()))
    if not names:
        return
    what = text.pluralize(len(names), "queue")
    if not force:
        warning = ctx.obj.style("WARNING", fg="red")
        ctx.obj.echo(
            f"{warning}:This will remove all tasks from {what}: {', '.join(names)}.\n"
            "         There is no undo for this operation!\n\n"
            "(to skip this prompt use the -f option)"
        )
        click.confirm("Are you sure you want to delete all tasks?", abort=True)
    broker = app.broker_for_write()
    gone = sum(broker.purge(name) for name in names)
    if gone:
        messages = text.pluralize(gone, "message")
        ctx.obj.echo(f"Purged {gone} {messages} from {len(names)} known task {what}.")
    else:
        ctx.obj.echo(f"No messages purged from {len(names)} {what}.")
