"""`celery list`: what the broker has."""

from __future__ import annotations

from typing import Any

import click

from celery.bin.base import CeleryCommand, handle_preload_options
from celery.brokers.topology import Binding, queue_from_any

ROW = "{0:<28} {1:<28} {2}"


@click.group(name="list")
@click.pass_context
@handle_preload_options
def list_(ctx: click.Context) -> None:
    """Get info from broker."""


@list_.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def bindings(ctx: click.Context) -> None:
    """Inspect queue bindings."""
    ctx.obj.echo(ROW.format("Queue", "Exchange", "Routing Key").rstrip())
    ctx.obj.echo(ROW.format(*("-" * 16,) * 3))
    for entry in ctx.obj.app.amqp.queues.values():
        for row in _bindings_of(entry):
            ctx.obj.echo(ROW.format(*row))


def _bindings_of(entry: Any) -> list[tuple[str, str, str]]:
    queue = queue_from_any(entry)
    ways = queue.bindings or (Binding(queue.exchange, queue.routing_key),)
    return [(queue.name, way.exchange.name, way.routing_key) for way in ways]
