"""A consumer's lease: renewed, guarded while tasks hog the interpreter, and a look around with every renewal."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

from celery.wire.resp import ErrorReply, pack

from . import scripts
from .exchanges import lifetime

if TYPE_CHECKING:
    import asyncio

    from .aio import Link
    from .core import Core
    from .keeper import Keeper
    from .settings import Target

logger = logging.getLogger("celery.brokers.redis")

#: Part of a lease after which it is renewed.
_RENEW = 0.3
#: Seconds between looks for messages that stock workers have left: as the visibility timeout, but between these.
_RESTORE, _RESTORE_LONG = 20.0, 60.0
#: Seconds between mending what may have been evicted (bindings) and forgetting what is too old (dead letters).
_SWEEP = 300.0
#: Dead letters forgotten in one go.
_AT_ONCE = 1000


class Lease:
    """The part of a consumer that shows that it lives.

    Args:
        guarded: tasks run in this process: a keeper renews while one of them keeps all threads from running.

    Attributes:
        trusting_from: the time from which on leases of others that are over count as over: after a stall they have
            had no chance to renew them.
        seen_at: when the server answered last.
    """

    def __init__(self, core: Core, *, guarded: bool) -> None:
        self._core = core
        self.guarded = guarded
        self.keeper: Keeper | None = None
        self.trusting_from = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.ticking = False
        self.seen_at = 0.0
        self.sweep_at = 0.0
        self.restore_at = 0.0
        self._ticked_at = 0.0

    def guard(self, link: Link | None) -> None:
        """Tell the keeper that the lease was renewed, and how to go on with that."""
        core = self._core
        if not self.guarded or link is None or link.target is None:
            return
        if self.keeper is None:
            from .keeper import Keeper  # noqa: PLC0415 - few workers need one

            self.keeper = Keeper(core.lease_seconds)
        keys = core.keys
        renew = (
            "EVAL",
            scripts.KEEP.text,
            3,
            keys.leases,
            keys.worker(core.incarnation),
            keys.index,
            core.incarnation,
            self.ms,
        )
        try:
            self.keeper.keep(entry_of(link.target) | {"renew": renew})
        except OSError as error:  # the next renewal tries again
            logger.warning("Could not start the process that guards this worker's lease: %s", error)

    @property
    def ms(self) -> int:
        return int(self._core.lease_seconds * 1000)

    def tick(self) -> None:
        """Renew the lease and look around; again and again."""
        core = self._core
        if self.timer is not None:
            self.timer.cancel()
        link = core.link
        if link is None or core.stopped:
            return
        now = core.loop.time()
        self.timer = core.loop.call_at(now + core.lease_seconds * _RENEW, self.tick)
        if self.ticking:
            if now - max(link.heard_at, self._ticked_at) > (core.broker.options.heartbeat or 30.0):
                link.abort("it does not answer any more")
            return
        self.ticking = True
        self._ticked_at = now
        keys = core.keys
        names = list(core.queues.by_name)
        call = scripts.TICK.call(
            [
                keys.leases,
                keys.worker(core.incarnation),
                keys.index,
                *(key for name in names for key in (keys.due(name), keys.orphans(name))),
                *(place.ready for place in core.queues.all()),
            ],
            [core.incarnation, self.ms, core.numbers(), core.since(), len(names)],
        )
        link.write(pack(*call), 1, lambda replies: self._looked_around(names, now, replies[0]))

    def _looked_around(self, names: list[str], asked_at: float, reply: Any) -> None:
        try:
            self.ticking = False
            self._read_tick(names, asked_at, reply)
        except Exception as error:  # noqa: BLE001 - see `broken`
            self._core.broke(error)

    def _read_tick(self, names: list[str], asked_at: float, reply: Any) -> None:
        core = self._core
        if isinstance(reply, ErrorReply):
            core.trouble(reply)
            return
        if reply is None:
            core.fenced_now()
            return
        core.short.clear()  # said twice, then
        self.guard(core.link)
        now = core.loop.time()
        if now - asked_at > core.lease_seconds * _RENEW or asked_at - self.seen_at > core.lease_seconds * 0.8:
            # The server or this worker stood still: the others may not yet have had their turn to renew.
            self.trusting_from = now + core.lease_seconds
        self.seen_at = now
        dead, next_end, queues, ready = reply
        if ready and core.drained:
            core.more()
        for name, left, orphans in zip(names, queues[::2], queues[1::2], strict=True):
            core.dues.next_due(name, left)
            if orphans:
                core.reaper.take_orphans(name)
        if dead and now >= self.trusting_from:
            core.reaper.reap([one.decode() for one in dead if one.decode() != core.incarnation])
        if next_end and self.timer is not None:
            # When the lease of another one is about to end, look again just then.
            at = now + float(next_end) + 0.02
            if at < self.timer.when():
                self.timer.cancel()
                self.timer = core.loop.call_at(at, self.tick)
        self._keep_expiring()
        if now >= self.restore_at:
            self.restore_at = now + min(max(core.broker.visibility_timeout, _RESTORE), _RESTORE_LONG)
            core.reaper.restore_overdue()
        if now >= self.sweep_at:
            self.sweep_at = now + _SWEEP
            self._sweep()

    def _sweep(self) -> None:
        """Mend bindings that may have been evicted, forget old dead letters."""
        core = self._core
        for queue in core.queues.by_name.values():
            commands = core.declaring(queue)
            if commands:
                core.say(*commands)
            keys, options = core.keys, core.broker.options
            core.say(
                scripts.FORGET_DEAD.call(
                    [keys.dead(queue.name), keys.dead_queues], [options.dead_letter_ttl, queue.name, _AT_ONCE]
                )
            )

    def _keep_expiring(self) -> None:
        """A queue that expires with disuse is in use as long as it is consumed."""
        core = self._core
        for queue in core.queues.by_name.values():
            if (ms := lifetime(queue)) is not None:
                core.say(*(("PEXPIRE", ready, ms) for ready in core.keys.lists(queue.name)))


def _text(certificates: str | bytes | None) -> str | None:
    """Certificates as text."""
    return ssl.DER_cert_to_PEM_cert(certificates) if isinstance(certificates, bytes) else certificates


def entry_of(target: Target) -> dict[str, Any]:
    """How another process connects to the same server, in plain values."""
    place, tls = target.place, None
    if place.tls is not None:
        context, options = place.tls.context, place.tls.options
        tls = {
            "name": place.tls.server_hostname,
            "check_hostname": context.check_hostname,
            "verify_mode": int(context.verify_mode),
            "ca_certs": options.get("ca_certs"),
            "ca_path": options.get("ca_path"),
            "ca_data": _text(options.get("ca_data")),
            "ciphers": options.get("ciphers"),
            "certfile": options.get("certfile"),
            "keyfile": options.get("keyfile"),
            "password": options.get("password") or options.get("keyfile_password"),
        }
    enter: list[list[Any]] = []
    if target.password is not None:
        enter.append(["AUTH", *([target.username] if target.username else []), target.password])
    if target.database:
        enter.append(["SELECT", target.database])
    where = {"host": place.host, "port": place.port, "path": place.path, "tls": tls}
    return {"where": where, "enter": enter}
