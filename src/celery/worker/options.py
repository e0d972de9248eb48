"""What a worker was told, read once at start."""

from __future__ import annotations

import datetime as _dt

import msgspec


class WorkerOptions(msgspec.Struct, frozen=True):
    """Settings and command-line options of one worker.

    Attributes:
        hostname: node name.
        concurrency: how many tasks run at once.
        prefetch_bound: upper bound of the window; None: none was set.
        fetch_ahead: False: fetch only what a free slot can run (`worker_disable_prefetch`).
        max_deliveries: 0 for no limit.
        park_unknown: messages of unknown tasks are offered again for an hour first.
        soft_shutdown_timeout, shutdown_grace: seconds; a grace of None waits for ever.
        local: zone of dates that name none.
        accept: content types that may be read.
        cancel_on_loss: end running tasks that are acknowledged late when the broker cannot be reached.
        task_events: tell what happens to tasks.
        heartbeat_interval: seconds between events that say that this worker lives; None: there are none.
        heartbeat: seconds between signs of life of the broker; 0: none are expected.
        guarded: tasks run in this process and may hold the interpreter for long: somebody else must see to the
            lease.
    """

    hostname: str
    concurrency: int
    prefetch_bound: int | None = None
    fetch_ahead: bool = True
    time_limit: float | None = None
    soft_time_limit: float | None = None
    max_deliveries: int = 5
    park_unknown: bool = False
    deduplicate: bool = False
    soft_shutdown_timeout: float = 0.0
    soft_shutdown_on_idle: bool = False
    shutdown_grace: float | None = None
    connection_retry: bool = True
    connection_retry_on_startup: bool = True
    connection_max_retries: int | None = None
    local: _dt.tzinfo = _dt.UTC
    accept: frozenset[str] | None = None
    heartbeat: float = 0.0
    cancel_on_loss: bool = False
    guarded: bool = False
    task_events: bool = False
    heartbeat_interval: float | None = None
