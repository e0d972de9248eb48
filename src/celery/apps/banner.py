"""What a worker says first: who it is, where its tasks come from, what it can run."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Any

import celery
from celery.app.addresses import shown
from celery.app.utils import appstr, sanitize_url
from celery.utils.text import pluralize

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD = """\

 {art0}
 {art1}   {hostname}
 {art2}   celeriac {ours} (celery {level}) on Python {python}
 {art3}   {machine} {now}
"""
#: A celeriac, root and leaves.
_ART = (r"  \|/  ", r" .-'-. ", r"( o o )", r" `-w-' ")


def configuration_lines(worker: Any, *, embedded: str | None = None) -> list[tuple[str, str]]:
    """Label and value of each line of the `[config]` part.

    Args:
        embedded: path of the embedded store, if that is used because nothing is configured.
    """
    conf = worker.app.conf
    if embedded:
        transport = f"{embedded} (embedded: no broker is configured)"
        results = "the same file"
    else:
        transport = shown(worker.app.conf.broker_read_url)
        results = str(sanitize_url(conf.result_backend) or "disabled://")
    return [
        ("app", appstr(worker.app).replace(" at ", ":")),
        ("transport", transport),
        ("results", results),
        ("concurrency", f"{worker.concurrency} ({worker.pool_name})"),
        ("task events", "ON" if worker.task_events else "OFF (enable -E to monitor tasks in this worker)"),
    ]


def banner(worker: Any, *, embedded: str | None = None) -> str:
    """The lines a worker prints at start; ends with a newline."""
    art = dict(zip(("art0", "art1", "art2", "art3"), _ART, strict=True))
    head = _HEAD.format(
        **art,
        hostname=worker.hostname,
        ours=celery.celeriac_version,
        level=celery.__version__,
        python=platform.python_version(),
        machine=platform.platform(terse=True),
        now=time.strftime("%Y-%m-%d %H:%M:%S"),
    )
    lines = [head, " [config]"]
    lines += [
        f" .> {label + ':':<13} {value}" for label, value in configuration_lines(worker, embedded=embedded)
    ]
    lines += ["", " [queues]", *(f" {line}" for line in queue_lines(worker)), ""]
    return "\n".join(lines) + "\n"


def queue_lines(worker: Any) -> list[str]:
    """One line for each queue it takes messages from."""
    return [
        f".> {queue.name:<16} exchange={queue.exchange.name}({queue.exchange.type}) key={queue.routing_key}"
        for queue in sorted(worker.consumed_queues(), key=lambda queue: queue.name)
    ]


def task_list(tasks: Mapping[str, Any], *, builtins: bool) -> str:
    """The `[tasks]` part.

    Args:
        tasks: by name.
        builtins: list Celery's own tasks too. They are told by their module: a user's file may be called celery.py.
    """
    shown = sorted(
        name for name, task in tasks.items() if builtins or type(task).__module__ != "celery.app.builtins"
    )
    return "\n".join([" [tasks]", *(f"  . {name}" for name in shown), ""])


def erased(count: int) -> str:
    """What `--purge` says."""
    return f"purge: Erased {count} {pluralize(count, 'message')} from the queue.\n"
