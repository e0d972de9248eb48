"""`celery dlq`: look at dead letters, send them back to their queues, or throw them away."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from celery.bin.base import CeleryCommand, handle_preload_options
from celery.utils import text

if TYPE_CHECKING:
    from celery.brokers.base import DeadLetter

ROW = "{0:>6}  {1:<19}  {2:<16}  {3:<28}  {4}"


@click.group(name="dlq")
@click.pass_context
@handle_preload_options
def dlq(ctx: click.Context) -> None:
    """Dead letters: messages set aside because no worker could handle them."""


@dlq.command(name="list", cls=CeleryCommand)
@click.option("-Q", "--queue", help="Only those of this queue.")
@click.option("-n", "--limit", type=int, default=100, show_default=True, help="At most so many.")
@click.pass_context
@handle_preload_options
def list_(ctx: click.Context, queue: str | None, limit: int) -> None:
    """Show dead letters: number, when, queue, task and id, and why."""
    letters = _letters(ctx.obj.app, ctx.obj.app.broker_for_read(), queue, limit)
    if not letters:
        ctx.obj.echo("No dead letters.")
        return
    ctx.obj.echo(ROW.format("No.", "Died at", "Queue", "Task", "Reason"))
    for letter in letters:
        died = datetime.fromtimestamp(letter.died_at).isoformat(" ", "seconds")
        ctx.obj.echo(ROW.format(letter.id, died, letter.queue, _task_of(letter), _one_line(letter.reason)))


@dlq.command(cls=CeleryCommand)
@click.argument("numbers", nargs=-1, type=int)
@click.option("--all", "everything", is_flag=True, help="Every dead letter.")
@click.option("-Q", "--queue", help="Every dead letter of this queue.")
@click.pass_context
@handle_preload_options
def retry(ctx: click.Context, numbers: tuple[int, ...], everything: bool, queue: str | None) -> None:
    """Send dead letters back to their queues: by NUMBERS, of a queue, or all."""
    if not (numbers or everything or queue):
        raise click.UsageError("Say which: numbers (see 'celery dlq list'), --queue or --all.")
    app, broker = ctx.obj.app, ctx.obj.app.broker_for_write()
    if numbers:
        _letters(app, broker, queue, 1)  # names the queues to a broker that cannot list them
    sent = broker.revive(numbers) if numbers else _revive_all(app, broker, queue)
    ctx.obj.echo(f"Sent {sent} {text.pluralize(sent, 'message')} back.")


@dlq.command(cls=CeleryCommand)
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
@click.option("-f", "--force", is_flag=True, help="Don't prompt for verification.")
@click.pass_context
@handle_preload_options
def purge(ctx: click.Context, queues: tuple[str, ...], force: bool) -> None:
    """Throw away the dead letters of each QUEUE, or all there are.

    Warning: there is no undo operation for this command. What waits in the queues themselves stays: that is
    for 'celery purge'.
    """
    app = ctx.obj.app
    if not force:
        whose = (
            f"of {text.pluralize(len(queues), 'queue')} {', '.join(queues)}" if queues else "of all queues"
        )
        ctx.obj.echo(f"{ctx.obj.style('WARNING', fg='red')}: This will throw away the dead letters {whose}.")
        click.confirm("Are you sure?", abort=True)
    broker = app.broker_for_write()
    everywhere = (None,) if broker.capabilities.lists_all_dead else tuple(app.amqp.queues)
    gone = sum(broker.purge_dead(queue) for queue in queues or everywhere)
    ctx.obj.echo(f"Threw away {gone} dead {text.pluralize(gone, 'letter')}.")


def _letters(app: Any, broker: Any, queue: str | None, limit: int) -> list[DeadLetter]:
    """Dead letters of one queue, or of all: of the app's, where the broker cannot list others."""
    if queue is None and not broker.capabilities.lists_all_dead:
        found = [letter for name in app.amqp.queues for letter in broker.dead(name, limit)]
        return sorted(found, key=lambda letter: letter.died_at)[:limit]
    letters: list[DeadLetter] = broker.dead(queue, limit)
    return letters


def _revive_all(app: Any, broker: Any, queue: str | None) -> int:
    total = 0
    # In batches: what is sent back is a dead letter no longer.
    while letters := _letters(app, broker, queue, 500):
        sent = broker.revive([letter.id for letter in letters])
        total += sent
        if not sent:
            break
    return total


def _task_of(letter: DeadLetter) -> str:
    name = letter.headers.get("task") or "?"
    return text.truncate(f"{name}[{letter.headers.get('id') or '?'}]", 80)


def _one_line(reason: str) -> str:
    return text.truncate(" ".join(reason.split()), 100)
