"""`celery graph workers`: a drawing of the workers that answer, their slots, their broker and result store."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import click

from celery.app.addresses import shown
from celery.bin.base import CeleryCommand, handle_preload_options
from celery.exceptions import CeleryCommandException
from celery.platforms import EX_UNAVAILABLE
from celery.utils.graph import DependencyGraph, GraphFormatter

#: A worker with more slots than this has one node for all of them.
MOST_SLOTS = 20


class Node:
    """Something drawn: equal by what it stands for."""

    scheme: ClassVar[dict[str, Any]] = {}
    edge: ClassVar[dict[str, Any]] = {"color": "darkseagreen4", "arrowcolor": "black", "arrowsize": 0.7}

    def __init__(self, name: str, label: str | None = None) -> None:
        self.name = name
        self.label = label

    def __str__(self) -> str:
        return self.name


class Broker(Node):
    """Where workers get messages."""

    scheme: ClassVar[dict[str, Any]] = {
        "shape": "circle",
        "fillcolor": "cadetblue3",
        "color": "cadetblue4",
        "height": 1,
    }


class Results(Node):
    """Where they store results."""

    scheme: ClassVar[dict[str, Any]] = {
        "shape": "folder",
        "fillcolor": "peachpuff3",
        "color": "black",
        "width": 2,
        "height": 1,
    }


class Worker(Node):
    """A worker."""

    scheme: ClassVar[dict[str, Any]] = {"fillcolor": "palegreen3", "color": "palegreen4"}


class Slot(Node):
    """What runs one task at a time."""

    scheme: ClassVar[dict[str, Any]] = {
        "shape": "oval",
        "fillcolor": "lightcyan4",
        "color": "black",
        "fontcolor": "yellow",
        "fontsize": 10,
        "width": 0.3,
    }
    edge: ClassVar[dict[str, Any]] = {**Node.edge, "arrowhead": "none", "arrowtail": "tee"}


class Formatter(GraphFormatter):
    """Draws each node in its own way."""

    def label(self, obj: Any) -> str:
        return str(obj)

    def node(self, obj: Any, **attrs: Any) -> str:
        more = {} if obj.label is None else {"label": obj.label}
        return super().draw_node(obj, obj.scheme, {**more, **attrs})

    terminal_node = node

    def edge(self, a: Any, b: Any, **attrs: Any) -> str:
        return super().draw_edge(a, b, self.edge_scheme, {**a.edge, **attrs})


def drawing(broker: str, results: str | None, slots: dict[str, int]) -> str:
    """The drawing in the language of graphviz.

    Args:
        broker, results: URLs without passwords.
        slots: of each worker, how many tasks it runs at once.
    """
    store = None if results is None else Results(results)
    places = [node for node in (Broker(broker), store) if node is not None]
    graph = DependencyGraph(formatter=Formatter())
    for place in places:
        graph.add_arc(place)
    number = 0
    for name in sorted(slots):
        worker = Worker(name)
        graph.add_arc(worker)
        for place in places:
            graph.add_edge(worker, place)
        count = slots[name]
        many = count > MOST_SLOTS
        for at in range(1 if many else count):
            number += 1
            slot = Slot(f"thr-{number}", f"x{count}" if many else str(at))
            graph.add_arc(slot)
            graph.add_edge(slot, worker)
    text = io.StringIO()
    graph.to_dot(text)
    return text.getvalue().rstrip("\n")


def _given(ctx: click.Context, words: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        name, colon, values = word.partition(":")
        if name not in ("nodes", "threads") or not colon:
            raise click.UsageError(f"expected nodes:A,B or threads:N,M, got {word!r}", ctx)
        found[name] = [value for value in values.split(",") if value]
    return found


@click.command(cls=CeleryCommand)
@click.argument("words", nargs=-1, metavar="[nodes:A,B] [threads:N,M]")
@click.pass_context
@handle_preload_options
def workers(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Display workers graph.

    Workers that are given by name are drawn as they are given, and are not asked.
    """
    app, given = ctx.obj.app, _given(ctx, words)
    if "nodes" in given:
        numbers = given.get("threads", [])
        try:
            slots = {
                name: int(numbers[at]) if at < len(numbers) else 0 for at, name in enumerate(given["nodes"])
            }
        except ValueError:
            raise click.UsageError("threads: takes numbers", ctx) from None
    else:
        stats = app.control.inspect().stats() or {}
        if not stats:
            raise CeleryCommandException(
                message="No nodes replied within time constraint", exit_code=EX_UNAVAILABLE
            )
        slots = {name: int(told["pool"].get("max-concurrency") or 0) for name, told in stats.items()}
    results = app.conf.result_backend
    ctx.obj.echo(
        drawing(
            shown(app.broker_for_write().url), shown(results) if isinstance(results, str) else None, slots
        )
    )
