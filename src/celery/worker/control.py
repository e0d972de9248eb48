"""What a worker can be told and asked by remote control.

A command is a function `(state, **arguments)`; `state` is an `AttributeDict` with `app`, `hostname`, `consumer` and `tset`.
They run on threads, never on the worker's loop: what has to happen there goes through `Core.ask`. Loaded when the first message
comes.
"""

from __future__ import annotations

import io
import logging
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery.app.broadcasts import packed
from celery.brokers.base import BrokerError
from celery.exceptions import WorkerShutdown
from celery.platforms import signals as _signals
from celery.utils.collections import AttributeDict
from celery.utils.functional import maybe_list
from celery.utils.time import rate as parse_rate

from . import revokes
from . import state as worker_state
from .descriptions import broker_info, plain, queue_info, task_info
from .panel import Panel, control_command, controller_info_t, inspect_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .events import EventSender
    from .loops import Core
    from .request import Request
    from .runs import Run

__all__ = ("Panel", "control_command", "controller_info_t", "inspect_command")

logger = logging.getLogger("celery.worker.control")

DEFAULT_TASK_INFO_ITEMS = ("exchange", "routing_key", "rate_limit")
TERM_SIGNAME = "SIGTERM"
#: Seconds that a reply may take to get to the broker.
REPLY_WITHIN = 5.0


def ok(value: Any) -> dict[str, Any]:
    """A reply that says it went well."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """A reply that says it did not."""
    return {"error": value}


class Desk:
    """Carries commands out, and replies.

    Args:
        controller: the `WorkController`.
    """

    def __init__(self, controller: Any) -> None:
        self._controller = controller
        self.state = AttributeDict(
            app=controller.app, hostname=controller.hostname, consumer=controller.consumer, tset=set
        )

    def handle(self, body: dict[str, Any]) -> None:
        """Carry out what a message asks for. Functions of the user's go to the extension thread."""
        method, arguments = body.get("method"), body.get("arguments") or {}
        handler = Panel.data.get(method) if isinstance(method, str) else None
        logger.debug("pidbox received method %s(%s)", method, arguments)
        if handler is None or handler.__module__ == __name__:
            self._perform(handler, method, arguments, body)
        else:
            extension = self._controller.core.crew.extension
            extension.call(self._perform, handler, method, arguments, body)

    def _perform(
        self,
        handler: Callable[..., Any] | None,
        method: Any,
        arguments: dict[str, Any],
        body: dict[str, Any],
    ) -> None:
        try:
            if handler is None:
                logger.error("No such control command: %s", method)
                raise KeyError(method)
            reply = handler(self.state, **arguments)
        except SystemExit as request:  # WorkerShutdown, WorkerTerminate
            self._controller.obey(request)
            return
        except Exception as error:  # it is told to whoever has sent the command
            if handler is not None:
                logger.error("Error in remote control command %s: %r", method, error, exc_info=error)
            reply = nok(repr(error))
        if body.get("reply_to"):
            self._answer(reply, body["reply_to"], body.get("ticket"))

    def _answer(self, reply: Any, reply_to: dict[str, Any], ticket: str | None) -> None:
        app = self._controller.app
        headers = {"ticket": ticket, "clock": app.clock.forward()}
        exchange, key = reply_to["exchange"], reply_to["routing_key"]
        try:
            message = packed({self.state.hostname: reply}, headers, exchange, key, mode=1)
        except Exception:  # noqa: BLE001 - a function of the user's may return anything
            message = packed({self.state.hostname: plain(reply)}, headers, exchange, key, mode=1)
        try:
            outcomes = (
                app.broker_for_write()
                .publisher()
                .publish([message], deadline=time.monotonic() + REPLY_WITHIN)
            )
        except BrokerError as error:
            logger.warning("A reply to remote control could not be sent: %s", error)
        else:
            if outcomes[0] is not None:  # who has asked waits no more
                logger.debug("reply not taken: %s", outcomes[0])


def _core(state: Any) -> Core:
    core: Core | None = state.consumer.controller.core
    if core is None:
        raise RuntimeError("this worker is not running")
    return core


# -- revoking -------------------------------------------------------------------------------------
@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """Revoke task by task id (or list of ids)."""
    ids = set(maybe_list(task_id) or ())
    signum = _signum(signal) if terminate else 0
    core = _core(state)
    if not terminate:
        core.ask(revokes.revoke, core.crew, ids)
        return ok(f"tasks {ids} flagged as revoked")
    here = core.ask(_revoke_and_terminate, core, ids, signum)
    return ok(f"terminate: {', '.join(here)}" if here else "terminate: tasks unknown")


def _revoke_and_terminate(core: Core, ids: set[str], signum: int) -> list[str]:
    crew = core.crew
    parked = [task_id for task_id in sorted(ids) if crew.parked.forget(task_id)]
    waiting = {run.id for run in crew.state.runs.values() if run.id in ids}
    revokes.revoke(crew, ids)
    ended = revokes.terminate(crew, lambda run: run.id in ids, signum)
    return list(dict.fromkeys([*ended, *sorted(waiting), *parked]))


def _signum(signal: Any) -> int:
    if isinstance(signal, str) and signal.isdigit():
        signal = int(signal)
    return int(_signals.signum(signal or TERM_SIGNAME))


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: Any, signal: Any, task_id: Any, **kwargs: Any) -> dict[str, Any]:
    """Terminate task by task id (or list of ids)."""
    return revoke(state, task_id, terminate=True, signal=signal)


@control_command(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(
    state: Any, headers: Any, terminate: bool = False, signal: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """Revoke task by header (or list of headers)."""
    if isinstance(headers, (list, tuple)):
        headers = _headers_of(headers)
    core, signum = _core(state), _signum(signal) if terminate else 0
    if not terminate:
        core.ask(revokes.revoke_stamped, core.crew, headers)
        return ok(f"headers {headers} flagged as revoked, but not terminated")
    here = core.ask(_revoke_and_terminate_stamped, core, headers, signum)
    return ok(f"headers {headers} {'revoked' if here else 'were not terminated'}")


def _headers_of(words: Iterable[Any]) -> dict[str, Any]:
    """Read `key=value` words; a key that comes again has all of its values."""
    found: dict[str, Any] = {}
    for word in words:
        key, value = word.split("=", 1) if isinstance(word, str) else word
        known = found.get(key)
        found[key] = value if known is None else [*(known if isinstance(known, list) else [known]), value]
    return found


def _revoke_and_terminate_stamped(core: Core, headers: dict[str, Any], signum: int) -> list[str]:
    crew = core.crew

    def picks(run: Run) -> bool:
        return bool(worker_state.revoked_by(run.headers.stamps))

    revokes.revoke_stamped(crew, headers)
    waiting = [run.id for run in crew.state.runs.values() if picks(run)]
    return waiting and revokes.terminate(crew, picks, signum)


# -- limits ---------------------------------------------------------------------------------------
@control_command(
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
)
def rate_limit(state: Any, task_name: str, rate_limit: Any, **kwargs: Any) -> dict[str, Any]:
    """Tell worker(s) to modify the rate limit for a task by type."""
    try:
        parse_rate(rate_limit)
    except (ValueError, KeyError, TypeError) as error:
        return nok(f"Invalid rate limit string: {error!r}")
    task = state.app.tasks.get(task_name)
    if task is None:
        logger.error("Rate limit attempt for unknown task %s", task_name)
        return nok("unknown task")
    task.rate_limit = rate_limit
    core = _core(state)
    core.ask(state.consumer.controller.reread_policy, task_name)
    core.ask(core.reception.rates.reset, task_name)
    if not rate_limit:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def time_limit(
    state: Any, task_name: str | None = None, hard: Any = None, soft: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """Tell worker(s) to modify the time limit for task by type."""
    task = state.app.tasks.get(task_name)
    if task is None:
        logger.error("Change time limit attempt for unknown task %s", task_name)
        return nok("unknown task")
    controller = state.consumer.controller
    pool = controller.pool
    for name, value, able in (("soft", soft, pool.soft_limits), ("hard", hard, pool.hard_limits)):
        if not _is_limit(value):
            return nok(f"Invalid {name} time limit: {value!r}")
        if value and not able:
            return nok(f"the {controller.pool_name} pool cannot enforce {name} time limits")
    task.soft_time_limit, task.time_limit = soft, hard
    _core(state).ask(controller.reread_policy, task_name)
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


def _is_limit(seconds: Any) -> bool:
    """Whether messages can be judged by it: one that cannot be read would set all of them aside."""
    return seconds is None or (isinstance(seconds, (int, float)) and 0 <= seconds < math.inf)


# -- the pool and the worker ----------------------------------------------------------------------
@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: Any, n: int = 1, **kwargs: Any) -> dict[str, Any]:
    """Grow pool by n processes/threads."""
    state.consumer.controller.resize(n)
    return ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: Any, n: int = 1, **kwargs: Any) -> dict[str, Any]:
    """Shrink pool by n processes/threads."""
    state.consumer.controller.resize(-n)
    return ok("pool will shrink")


@control_command()
def pool_restart(
    state: Any, modules: Any = None, reload: bool = False, reloader: Any = None, **kwargs: Any
) -> dict[str, Any]:
    """Restart execution pool."""
    if not state.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    if modules or reload:
        raise ValueError(
            "modules cannot be loaded anew in a worker that runs: restart the worker (HUP) for new code"
        )
    state.consumer.controller.restart_pool()
    return ok("reload started")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: Any, max: Any = None, min: Any = None) -> dict[str, Any]:  # noqa: A002 - Celery's names
    """Modify autoscale settings."""
    scaler = state.consumer.controller.autoscaler
    if scaler is None:
        raise ValueError("Autoscale not enabled")
    largest, smallest = scaler.update(max, min)
    return ok(f"autoscale now max={largest} min={smallest}")


@control_command()
def shutdown(state: Any, msg: str = "Got shutdown from remote", **kwargs: Any) -> None:
    """Shutdown worker(s)."""
    logger.warning(msg)
    raise WorkerShutdown(0)


# -- queues ---------------------------------------------------------------------------------------
@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(
    state: Any,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Tell worker(s) to consume from task queue by name."""
    state.consumer.add_task_queue(
        queue, exchange, exchange_type or "direct", routing_key, wait=True, **options
    )
    return ok(f"add consumer {queue}")


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: Any, queue: str, **_: Any) -> dict[str, Any]:
    """Tell worker(s) to stop consuming from task queue by name."""
    state.consumer.cancel_task_queue(queue, wait=True)
    return ok(f"no longer consuming from {queue}")


@inspect_command()
def active_queues(state: Any) -> list[dict[str, Any]]:
    """List the task queues a worker is currently consuming from."""
    return [queue_info(queue) for queue in list(state.app.amqp.queues.consume_from.values())]


# -- events ---------------------------------------------------------------------------------------
def _events(state: Any) -> EventSender:
    return _core(state).crew.events


@control_command()
def enable_events(state: Any) -> dict[str, Any]:
    """Tell worker(s) to send task-related events."""
    if not _core(state).ask(_events(state).enable):
        return ok("task events already enabled")
    logger.info("Events of group {task} enabled by remote.")
    return ok("task events enabled")


@control_command()
def disable_events(state: Any) -> dict[str, Any]:
    """Tell worker(s) to stop sending task-related events."""
    if not _core(state).ask(_events(state).disable):
        return ok("task events already disabled")
    logger.info("Events of group {task} disabled by remote.")
    return ok("task events disabled")


@control_command()
def heartbeat(state: Any) -> None:
    """Tell worker(s) to send event heartbeat immediately."""
    logger.debug("Heartbeat requested by remote.")
    _events(state).answer()


@control_command()
def election(state: Any, id: Any, topic: str, action: Any = None, **kwargs: Any) -> None:  # noqa: A002
    """Hold election."""
    gossip = getattr(state.consumer, "gossip", None)
    if gossip is not None:
        gossip.election(id, topic, action)


# -- questions about tasks ------------------------------------------------------------------------
def _request(state: Any, run: Run, running: dict[int, tuple[int, float]]) -> Request:
    request = _core(state).crew.requests.of(run)
    pid, at = running.get(run.tag, (run.pid, run.started_at))
    request.worker_pid, request.time_start = pid, at
    return request


def _info(state: Any, run: Run, running: dict[int, tuple[int, float]], safe: bool = False) -> dict[str, Any]:
    """The row of a task. Arguments that cannot be read are shown as the message describes them."""
    request = _request(state, run, running)
    try:
        return dict(plain(request.info(safe=bool(safe))))
    except Exception as error:  # noqa: BLE001 - whatever a body makes a decoder raise
        logger.debug("arguments of %s not decoded: %r", run.id, error)
        return dict(plain(request.info(safe=True)))


def _held(core: Core) -> tuple[list[Run], dict[int, tuple[int, float]]]:
    """What this worker has, and what of it runs; on its loop."""
    return list(core.crew.state.runs.values()), core.crew.pool.running()


@inspect_command(alias="dump_active")
def active(state: Any, safe: Any = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List of tasks currently being executed."""
    core = _core(state)
    runs, running = core.ask(_held, core)
    return [_info(state, run, running, safe) for run in runs if run.tag in running]


@inspect_command(alias="dump_reserved")
def reserved(state: Any, safe: Any = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List of currently reserved tasks, not including scheduled/active."""
    core = _core(state)
    runs, running = core.ask(_held, core)
    waiting = [run for run in runs if run.tag not in running] + core.crew.parked.limited()
    return [_info(state, run, running, safe) for run in waiting]


@inspect_command(alias="dump_schedule")
def scheduled(state: Any, safe: Any = False, **kwargs: Any) -> list[dict[str, Any]]:
    """List of currently scheduled ETA/countdown tasks."""
    return [
        {
            "eta": datetime.fromtimestamp(due, UTC).isoformat(),
            "priority": 6,
            "request": _info(state, run, {}, safe),
        }
        for due, run in _core(state).crew.parked.scheduled()
    ]


@inspect_command(args=[("ids", str)], variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def query_task(state: Any, ids: Any, **kwargs: Any) -> dict[str, list[Any]]:
    """Query for task information by id."""
    core, wanted = _core(state), set(maybe_list(ids) or ())
    runs, running = core.ask(_held, core)
    found: dict[str, list[Any]] = {}
    for _, run in core.crew.parked.scheduled():
        if run.id in wanted:
            found[run.id] = ["scheduled", _info(state, run, running)]
    for run in [*core.crew.parked.limited(), *runs]:
        if run.id in wanted:
            found[run.id] = ["active" if run.tag in running else "reserved", _info(state, run, running)]
    return found


@inspect_command(alias="dump_revoked")
def revoked(state: Any, **kwargs: Any) -> list[str]:
    """List of revoked task-ids."""
    return list(worker_state.revoked)


@inspect_command(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]")
def registered(state: Any, taskinfoitems: Any = None, builtins: bool = False, **kwargs: Any) -> list[str]:
    """List of registered tasks."""
    items = [item for item in taskinfoitems or DEFAULT_TASK_INFO_ITEMS if not item.startswith("_")]
    tasks = state.app.tasks
    names = [name for name in tasks if builtins or not name.startswith("celery.")]
    return [task_info(tasks[name], items) for name in sorted(names)]


# -- questions about the worker -------------------------------------------------------------------
@inspect_command(default_timeout=0.2)
def ping(state: Any, **kwargs: Any) -> dict[str, Any]:
    """Ping worker(s)."""
    return ok("pong")


@inspect_command()
def clock(state: Any, **kwargs: Any) -> dict[str, int]:
    """Get current logical clock value."""
    return {"clock": state.app.clock.value}


@inspect_command()
def stats(state: Any, **kwargs: Any) -> dict[str, Any]:
    """Request worker statistics/information."""
    figures = state.consumer.controller.stats()
    return {**figures, "broker": broker_info(state.app)}


@inspect_command(alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", "bool")])
def conf(state: Any, with_defaults: bool = False, **kwargs: Any) -> dict[str, Any]:
    """List configuration."""
    shown: dict[str, Any] = plain(state.app.conf.table(with_defaults=with_defaults))
    return shown


@inspect_command()
def report(state: Any) -> dict[str, Any]:
    """Information about Celery installation for bug reports."""
    return ok(state.app.bugreport())


@inspect_command(visible=False)
def hello(state: Any, from_node: str, revoked: Any = None, **kwargs: Any) -> dict[str, Any] | None:
    """Request mingle sync-data."""
    if from_node == state.hostname:
        return None
    logger.info("sync with %s", from_node)
    if revoked:
        worker_state.merge_revoked(list(revoked))
    return {"revoked": list(worker_state.revoked), "clock": state.app.clock.forward()}


# -- memory ---------------------------------------------------------------------------------------
@inspect_command()
def memsample(state: Any, **kwargs: Any) -> str | None:
    """Sample current RSS memory usage."""
    from celery.utils.debug import sample_mem  # noqa: PLC0415 - for those who look for leaks

    return sample_mem()


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: Any, samples: int = 10, **kwargs: Any) -> str:
    """Dump statistics of previous memsample requests."""
    from celery.utils import debug  # noqa: PLC0415 - as above

    text = io.StringIO()
    debug.memdump(samples, file=text)
    return text.getvalue()


@inspect_command(
    default_timeout=60.0,
    args=[("type", str), ("num", int), ("max_depth", int)],
    signature="[object_type=Request] [num=200 [max_depth=10]]",
)
def objgraph(
    state: Any,
    num: int = 200,
    max_depth: int = 10,
    type: str = "Request",  # noqa: A002 - Celery's name
) -> dict[str, str]:
    """Create graph of uncollected objects (memory-leak debugging)."""
    try:
        import objgraph as graphs  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise ImportError("Requires the objgraph library") from None
    import tempfile  # noqa: PLC0415 - for this command alone

    logger.info("Dumping graph for type %r", type)
    with tempfile.NamedTemporaryFile(prefix="cobjg", suffix=".png", delete=False) as file:
        graphs.show_backrefs(
            graphs.by_type(type)[:num],
            max_depth=max_depth,
            highlight=lambda value: False,
            filename=file.name,
        )
        return {"filename": file.name}
