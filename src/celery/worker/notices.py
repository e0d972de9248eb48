"""What a worker says at start about settings that do not do here what their name promises."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery.app.defaults import DEFAULTS
from celery.exceptions import ImproperlyConfigured

from . import strategy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from celery.concurrency.base import Pool

logger = logging.getLogger("celery.worker")

#: Settings that are accepted and have no effect in this version, and what happens instead.
NOT_EFFECTIVE: dict[str, str] = {
    "worker_agent": "no agent is started",
    "worker_autoscaler": "the pool keeps its size",
    "worker_consumer": "the worker's own consumer is used",
    "worker_timer": "the worker's own event loop keeps the time",
}
#: The same for settings that begin so: one warning for all of them.
NOT_EFFECTIVE_FAMILIES: dict[str, str] = {
    "security_": "messages are not signed yet",
}
#: Settings that are right without having an effect: what they are for is done in another way.
NOT_NEEDED: dict[str, str] = {
    "redis_retry_on_timeout": "an operation that timed out is tried again like any other",
    "result_chord_join_timeout": "values come with the members, so nothing is joined",
    "result_exchange": "Celery does not use it either",
    "result_exchange_type": "Celery does not use it either",
    "worker_enable_prefetch_count_reduction": "fetch-ahead follows measured run times",
    "worker_eta_task_limit": "tasks that are not due wait in the broker",
    "worker_lost_wait": "the death of a child is known at once",
    "worker_pool_putlocks": "a child never gets more than it has room for",
    "worker_timer_precision": "the event loop wakes at the time itself",
}
#: Values of these are what happens anyway, so nothing needs to be said.
_SILENT: dict[str, tuple[Any, ...]] = {
    "worker_autoscaler": ("celery.worker.autoscale:Autoscaler",),
    "worker_consumer": ("celery.worker.consumer:Consumer",),
}


def warn_not_effective(conf: Any) -> list[str]:
    """Warn about settings that somebody set and that have no effect yet; return their names."""
    named = []
    for name, instead in NOT_EFFECTIVE.items():
        if not conf.value_set_for(name):
            continue
        value = conf[name]
        if value is None or value in _SILENT.get(name, ()):
            continue
        named.append(name)
        shown = "********" if "password" in name else repr(value)
        logger.warning("Setting %s=%s has no effect in this version: %s.", name, shown, instead)
    return named + _warn_families(conf)


def _warn_families(conf: Any) -> list[str]:
    found: dict[str, list[str]] = {}
    for name, default in DEFAULTS.items():
        family = f"{name.partition('_')[0]}_"
        if family in NOT_EFFECTIVE_FAMILIES and conf.value_set_for(name) and conf[name] != default:
            found.setdefault(family, []).append(name)
    for family, names in found.items():
        instead = NOT_EFFECTIVE_FAMILIES[family]
        logger.warning("No effect in this version, as %s: %s.", instead, ", ".join(names))
    return [name for names in found.values() for name in names]


def warn_not_cancelled(conf: Any, pool: Pool, pool_name: str) -> None:
    """Say so if running tasks are to be cancelled with the link, and the pool cannot do that."""
    if conf.worker_cancel_long_running_tasks_on_connection_loss and not pool.can_terminate:
        logger.warning(
            "worker_cancel_long_running_tasks_on_connection_loss has no effect: the %s pool cannot end a running task",
            pool_name,
        )


def check_time_limits(
    pool: Pool, pool_name: str, time_limit: float | None, soft_time_limit: float | None, tasks: Iterable[Any]
) -> None:
    """Refuse limits of this worker that its pool cannot enforce; warn about those of single tasks.

    Raises:
        ImproperlyConfigured: `time_limit` or `soft_time_limit` is set and cannot be kept.
    """
    for what, limit, able in (
        ("task_time_limit (--time-limit)", time_limit, pool.hard_limits),
        ("task_soft_time_limit (--soft-time-limit)", soft_time_limit, pool.soft_limits),
    ):
        if limit and not able:
            raise ImproperlyConfigured(
                f"{what} is {limit}, but the {pool_name} pool cannot enforce it: "
                "use the prefork pool, or unset the limit for this worker"
            )
    for task in tasks:
        hard = task.time_limit and not pool.hard_limits
        soft = task.soft_time_limit and not pool.soft_limits
        if hard or soft:
            kind = "time_limit" if hard else "soft_time_limit"
            limit = task.time_limit if hard else task.soft_time_limit
            logger.warning(
                "Task %s has %s=%s, which the %s pool cannot enforce: it runs without",
                task.name,
                kind,
                limit,
                pool_name,
            )


def warn_of_long_tasks(most: float | None, time_limit: float | None, tasks: Iterable[Any]) -> None:
    """Warn about late acknowledged tasks that may run for longer than the broker waits for an acknowledgement.

    Args:
        most: seconds that the broker waits; None: for ever.
        time_limit: of this worker, for tasks that have none.
    """
    if most is None:
        return
    for task in tasks:
        limit = task.time_limit or time_limit
        if task.acks_late and limit and limit > most:
            logger.warning(
                "Task %s is acknowledged late and may run for %s seconds, but the broker waits for %d unless it is "
                "configured otherwise (consumer_timeout): its message would be offered again meanwhile",
                task.name,
                limit,
                most,
            )


def warn_of_strategies(tasks: Iterable[Any]) -> None:
    """Warn about tasks with a `Strategy` of their own."""
    for task in tasks:
        if task.Strategy != "celery.worker.strategy:default" and task.Strategy is not strategy.default:
            logger.warning(
                "Task %s has a Strategy of its own: it has no effect, the worker decides about messages before it decodes "
                "them. A class of its own in `Request` is told what happens to its calls",
                task.name,
            )
