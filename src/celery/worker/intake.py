"""What comes in from the broker: decide about each delivery, and say so to the rest of the worker."""

from __future__ import annotations

import itertools
import logging
import signal
import time
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.app import trace
from celery.brokers.base import Settlement
from celery.exceptions import InvalidTaskError, NotRegistered, WorkerLostError
from celery.message.errors import MalformedMessage, UndecodableBody, UnknownMessage
from celery.message.protocol1 import normalize
from celery.message.task import decode_headers, decode_properties

from . import state as worker_state
from .acks import DONE, GIVEN_BACK, Ending
from .discards import discard, is_held
from .rates import RateLimits
from .request import Message
from .runs import Run, delivery_info
from .strategy import Discard, Park, Poison, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery.brokers.base import BrokerError, Delivery
    from celery.message.headers import LazyObject
    from celery.message.task import TaskHeaders

    from .crew import Crew
    from .strategy import Decision

logger = logging.getLogger("celery.worker.strategy")

#: How often, and for how long, a message of an unknown task is offered again (`task_unknown='park'`).
UNKNOWN_EVERY = 5.0
UNKNOWN_FOR = 3600.0
#: At most this many bytes of a strange message are shown in the log.
SHOWN = 1024
#: At most so many task ids are named in one line.
NAMED = 20

UNKNOWN_TASK = """\
Received unregistered task of type %r.
The message has been ignored and discarded.

Did you remember to import the module containing this task?
Or maybe you're using relative imports?
The message was set aside as a dead letter, so nothing of it is lost.

The full contents of the message body was:
%s

The full contents of the message headers:
%s

The delivery info for this task is:
%s
"""
INVALID_TASK = """\
Received invalid task message: %s
The message has been ignored and discarded: it is kept as a dead letter.

Please ensure your message conforms to the task
message protocol as described here:
https://docs.celeryq.dev/en/latest/internals/protocol.html

The full contents of the message body was:
%s
"""
UNDECODABLE = "Can't decode message body: %s [type:%r encoding:%r headers:%s]\n\nbody: %s"
UNKNOWN_MESSAGE = """\
Received and deleted unknown message.  Wrong destination?!?

The full contents of the message body was: %s
It is kept as a dead letter: %s
"""


class Reception:
    """The `Intake` of a worker.

    Args:
        broke: called when the consumer cannot go on.
        link: called with the error when the broker cannot be reached, with None when it can again.
    """

    def __init__(
        self,
        crew: Crew,
        link: Callable[[BrokerError | None], None],
        broke: Callable[[BaseException], None],
    ) -> None:
        self._crew = crew
        self._broke = broke
        self._link = link
        self._tags = itertools.count(1)
        self._unknown_since: dict[str, float] = {}
        self.rates = RateLimits()

    # -- Intake -----------------------------------------------------------------------------------
    def delivered(self, batch: list[Delivery]) -> None:
        """Decide about each, then hand over what may run."""
        now, mono = time.time(), time.monotonic()
        shown = logger.isEnabledFor(logging.INFO)
        for delivery in batch:
            try:
                self._one(delivery, now, mono, shown)
            except Exception as error:  # a message must never stop the worker, whatever it is
                logger.critical("Internal error about a message: %r; it is set aside", error, exc_info=True)
                self._bury(delivery, f"internal error: {error!r}")
        self._crew.dispatcher.pump()

    def orphaned(self, batch: list[Delivery]) -> None:
        """Record what a dead worker had acknowledged and never ended."""
        self._crew.sweeps.expect()
        for delivery in batch:
            try:
                self._orphan(delivery)
            except Exception as error:  # it stays what it is: another worker finds it when this one has ended
                logger.critical("Internal error about a lost task: %r", error, exc_info=True)

    def _orphan(self, delivery: Delivery) -> None:
        made = self._read(delivery)
        if made is None:
            return
        headers, raw, properties, body = made
        error = WorkerLostError("The worker that ran this task died before it ended.")
        policy = self._crew.policies(headers.task)
        if policy is None:
            self._crew.errands.start(self._refuse(delivery, raw, properties, body, error, DONE))
            return
        run = Run(next(self._tags), delivery, headers, policy, raw, properties, body, time.monotonic())
        run.begun = True
        logger.error("Task %s[%s] was lost: the worker that ran it died", run.name, run.id)
        self._crew.state.add(run)
        self._crew.errands.start(self._record_orphan(run, error))

    def fenced(self, reason: str, *, begun: bool = True, ended: Sequence[str] = ()) -> None:
        """What this worker held belongs to others now: forget it, and go on."""
        crew = self._crew
        lost = [run for run in crew.state.runs.values() if begun or not run.begun]
        if lost:
            logger.error(
                "This worker was cut off%s (%s): %d messages it held now belong to other workers. It goes on "
                "with a new lease.",
                " for longer than its lease" if begun else "",
                reason,
                len(lost),
            )
        if ended:
            logger.warning(
                "%d tasks that have ended here were not acknowledged before this worker's lease was over (%s): "
                "other workers run them again: %s",
                len(ended),
                reason,
                ", ".join(ended[:NAMED]) + (", ..." if len(ended) > NAMED else ""),
            )
        for run in lost:
            run.fenced = True
            run.adrift = not begun
        crew.dispatcher.forget(begun=begun)
        crew.dispatcher.window = -1
        crew.dispatcher.pump()

    def disconnected(self, error: BrokerError) -> None:
        self._link(error)
        if self._crew.options.cancel_on_loss:
            self._cancel_late_runs()

    def _cancel_late_runs(self) -> None:
        """End what another worker may get before it ends here; what was acknowledged early goes on."""
        crew = self._crew
        for run in list(crew.state.runs.values()):
            if run.active and run.policy.acks_late and not run.begun and not run.cancelled:
                run.cancelled = crew.pool.terminate(run.tag, signal.SIGTERM)
                if run.cancelled:
                    logger.warning("Task %s[%s] is cancelled: the broker is away", run.name, run.id)

    def connected(self) -> None:
        self._link(None)

    def broken(self, error: BaseException) -> None:
        self._broke(error)

    # -- one delivery -----------------------------------------------------------------------------
    def _one(self, delivery: Delivery, now: float, mono: float, shown: bool) -> None:
        crew = self._crew
        made = self._read(delivery)
        if made is None:
            return
        headers, raw, properties, body = made
        policy = crew.policies(headers.task)
        if policy is None:
            self._unknown(delivery, headers, raw, properties, body, now)
            return
        decision = decide(
            headers,
            now=now,
            deliveries=delivery.deliveries,
            max_deliveries=crew.options.max_deliveries,
            revoked=worker_state.revoked,
            local=crew.options.local,
            revoked_by=worker_state.revoked_by if worker_state.revoked_stamps else None,
        )
        run = Run(next(self._tags), delivery, headers, policy, raw, properties, body, mono)
        if decision is None and policy.rate and self._waits(run, now):
            return
        if delivery.redelivered:
            crew.sweeps.expect()
        if (shown or signals.task_received or crew.events.tasks is not None) and (
            not delivery.announced or delivery.redelivered
        ):
            self._tell_received(run, decision, now, shown)
        if decision is None or (isinstance(decision, Poison) and self._running(run)):
            self._accept(run)
        elif isinstance(decision, Park):
            assert crew.settler.consumer is not None
            delivery.announced = True
            crew.parked.add(run, decision.due)
            crew.settler.consumer.park(delivery, decision.due)
        elif isinstance(decision, Discard):
            crew.state.add(run)
            crew.dispatcher.count_waiting(run)
            crew.errands.start(discard(crew, run, expired=decision.expired, stamps=decision.stamps))
        elif isinstance(decision, Poison):
            crew.state.add(run)
            crew.dispatcher.count_waiting(run)
            crew.errands.start(self._poison(run))

    def _waits(self, run: Run, now: float) -> bool:
        """Park a run that has to wait for its turn; False: it is its turn."""
        turn = self.rates.turn(run.headers.task, run.policy.rate, run.id, run.taken_at)
        if turn is None:
            return False
        due = now + (turn - run.taken_at)
        self._crew.parked.add(run, due, limited=True)
        assert self._crew.settler.consumer is not None
        self._crew.settler.consumer.park(run.delivery, due)
        return True

    def _read(self, delivery: Delivery) -> tuple[TaskHeaders, LazyObject, LazyObject, bytes] | None:
        """Headers (typed and raw), properties and body in protocol 2 form; None if it was set aside."""
        try:
            return decode_headers(delivery.headers), delivery.headers, delivery.properties, delivery.body
        except MalformedMessage:
            pass
        try:
            raw, body, properties = normalize(delivery, self._crew.options.accept)
        except UnknownMessage as error:
            self._unknown_message(delivery, error.reason)
            return None
        except UndecodableBody as error:
            self._undecodable(delivery, error.reason)
            return None
        except MalformedMessage as error:
            self._invalid(delivery, error.reason, delivery.headers, delivery.body)
            return None
        try:
            return decode_headers(raw), raw, properties, body
        except MalformedMessage as error:
            self._invalid(delivery, error.reason, raw, body)
        return None

    def _running(self, run: Run) -> Run | None:
        """The run of the same message here, if this one is a redelivery of it."""
        known = self._crew.state.ids.get(run.id)
        same = known is not None and run.delivery.redelivered and known.headers.retries == run.headers.retries
        return known if same else None

    def _accept(self, run: Run) -> None:
        crew = self._crew
        if crew.stopping:
            crew.state.add(run)
            crew.settler.settle(run, GIVEN_BACK)
            return
        running = self._running(run)
        if running is not None:
            logger.warning("Task %s[%s] was delivered again while it still runs here", run.name, run.id)
            run.tag = next(self._tags)
            if running.duplicates is None:
                running.duplicates = []
            running.duplicates.append(run)
            crew.dispatcher.count_waiting(run)
            return
        ended = crew.settler.ended_before(run)
        if ended is not None:
            logger.info("Task %s[%s] came back after it had ended here: not run again", run.name, run.id)
            crew.settler.settle_delivery(run.delivery, ended)
            return
        crew.state.add(run)
        crew.dispatcher.times.came_in(run.headers.task)
        policy = run.policy
        if (policy.hooks and "revoked" in policy.hooks) or (policy.deduplicate and run.delivery.redelivered):
            crew.dispatcher.count_waiting(run)
            crew.errands.start(self._ask_first(run))
        else:
            crew.dispatcher.add(run)

    async def _ask_first(self, run: Run) -> None:
        """Run it unless its own request class, or the stored result, says that it must not."""
        crew = self._crew
        if run.policy.deduplicate and run.delivery.redelivered and await crew.recorder.succeeded_before(run):
            logger.info("Task %s[%s] was delivered again, but has succeeded: not run", run.name, run.id)
            crew.settler.settle(run, DONE)
            return
        if "revoked" in run.policy.hooks:
            try:
                refused = await crew.extension.ask(crew.requests.of(run).revoked)
            except Exception:
                logger.exception("Request.revoked raised for %s[%s]; it runs", run.name, run.id)
                refused = False
            if refused:
                await discard(crew, run)
                return
        if run.tag in crew.state.runs:
            crew.dispatcher.uncount(run)
            crew.dispatcher.add(run)
            crew.dispatcher.pump()

    async def _poison(self, run: Run) -> None:
        if not await is_held(self._crew, run):
            return
        deliveries = run.delivery.deliveries - 1
        reason = f"delivered {deliveries} times, and each time the worker or its process died"
        logger.error("Task %s[%s] was %s: failed, and set aside", run.name, run.id, reason)
        error = WorkerLostError(f"Given up: {reason} (task_max_deliveries).")
        await self._crew.recorder.failed(run, error, tell_task=False)
        self._crew.settler.settle(run, Ending(Settlement.BURY, reason))
        self._crew.dispatcher.pump()

    async def _record_orphan(self, run: Run, error: Exception) -> None:
        stored = await self._crew.recorder.failed(run, error, tell_task=False)
        if stored:
            self._crew.settler.settle(run, DONE)
        else:
            self._crew.settler.leave(run)

    # -- what cannot run --------------------------------------------------------------------------
    def _unknown(
        self,
        delivery: Delivery,
        headers: TaskHeaders,
        raw: LazyObject,
        properties: LazyObject,
        body: bytes,
        now: float,
    ) -> None:
        crew = self._crew
        if crew.options.park_unknown and self._offer_again(delivery, headers, now):
            return
        error = NotRegistered(headers.task)
        logger.error(UNKNOWN_TASK, headers.task, _shown(body), raw.value, delivery_info(delivery))
        if signals.task_unknown:
            message = Message(delivery, raw, properties, body)
            crew.extension.call(
                signals.task_unknown.send,
                sender=crew.sender,
                message=message,
                exc=error,
                name=headers.task,
                id=headers.id,
            )
        ending = Ending(Settlement.BURY, f"unregistered task {headers.task!r}")
        crew.errands.start(self._refuse(delivery, raw, properties, body, error, ending))

    def _offer_again(self, delivery: Delivery, headers: TaskHeaders, now: float) -> bool:
        """Park a message of an unknown task, for an hour at most; False: its time is over."""
        since = self._unknown_since.get(headers.id)
        if since is None:
            since = self._unknown_since[headers.id] = now
            logger.warning(
                "Received unregistered task of type %r (%s): offered again for an hour",
                headers.task,
                headers.id,
            )
            if len(self._unknown_since) > 10_000:
                del self._unknown_since[next(iter(self._unknown_since))]
        if now - since >= UNKNOWN_FOR:
            self._unknown_since.pop(headers.id, None)
            return False
        assert self._crew.settler.consumer is not None
        self._crew.settler.consumer.park(delivery, now + UNKNOWN_EVERY)
        return True

    async def _refuse(
        self,
        delivery: Delivery,
        raw: LazyObject,
        properties: LazyObject,
        body: bytes,
        error: Exception,
        ending: Ending,
    ) -> None:
        if delivery.held is not None and not await delivery.held:
            return  # somebody else has it
        stored = await self._crew.recorder.refused(delivery, raw, properties, body, error)
        # Otherwise nothing of a lost task would be left: the next worker records it.
        if stored or ending is not DONE:
            self._crew.settler.settle_delivery(delivery, ending)

    def _invalid(self, delivery: Delivery, reason: str, raw: LazyObject, body: bytes) -> None:
        logger.error(INVALID_TASK, reason, _shown(body))
        if signals.task_rejected:
            self._crew.extension.call(
                signals.task_rejected.send,
                sender=self._crew.sender,
                message=Message(delivery, raw, delivery.properties, body),
                exc=InvalidTaskError(reason),
            )
        self._bury(delivery, f"invalid task message: {reason}")

    def _undecodable(self, delivery: Delivery, reason: str) -> None:
        props = decode_properties(delivery.properties)
        headers, body = _shown(delivery.headers.raw), _shown(delivery.body)
        logger.critical(UNDECODABLE, reason, props.content_type, props.content_encoding, headers, body)
        self._bury(delivery, reason[:SHOWN])

    def _unknown_message(self, delivery: Delivery, reason: str) -> None:
        logger.warning(UNKNOWN_MESSAGE, _shown(delivery.body), reason[:SHOWN])
        if signals.task_rejected:
            self._crew.extension.call(
                signals.task_rejected.send,
                sender=self._crew.sender,
                message=Message(delivery, delivery.headers, delivery.properties, delivery.body),
                exc=None,
            )
        self._bury(delivery, reason[:SHOWN])

    def _bury(self, delivery: Delivery, reason: str) -> None:
        self._crew.settler.settle_delivery(delivery, Ending(Settlement.BURY, reason))

    def _tell_received(self, run: Run, decision: Decision, now: float, shown: bool) -> None:
        crew = self._crew
        if shown:
            self._log_received(run)
        if signals.task_received:
            crew.extension.call(signals.task_received.send, sender=crew.sender, request=crew.requests.of(run))
        if crew.events.tasks is not None and not isinstance(decision, Discard):
            crew.events.tasks.received(run, now)

    def _log_received(self, run: Run) -> None:
        headers = run.headers
        context = {
            "id": headers.id,
            "name": run.name,
            "args": headers.argsrepr,
            "kwargs": headers.kwargsrepr,
            "eta": headers.eta,
        }
        logger.info(trace.LOG_RECEIVED, context, extra={"data": context})


def _shown(body: Any) -> str:
    """The start of a body, safe for a log."""
    text = repr(body[:SHOWN])
    return f"{text} ({len(body)}b)"
