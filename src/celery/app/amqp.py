"""`app.amqp`: what an app knows about queues, routes and messages, under the documented names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import _foreign
from celery._public import publish
from celery.brokers import delaying
from celery.brokers.kombu.entities import kombu_queue
from celery.brokers.topology import Exchange, Queue
from celery.message.writing import TaskMessage, build_v1, build_v2
from celery.utils.saferepr import saferepr

from . import arguments, dates, routes
from .options import origin as anon_origin
from .queues import QUEUE_FORMAT, Queues
from .snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery.app.base import Celery

__all__ = ("AMQP", "QUEUE_FORMAT", "Queues", "utf8dict")


def utf8dict(d: Mapping[Any, Any], encoding: str = "utf-8") -> dict[Any, Any]:
    """A copy of `d` whose keys are text."""
    return {key.decode(encoding) if isinstance(key, bytes) else key: value for key, value in d.items()}


#: The class, where `AMQP.Queues` hides its name.
_Queues = Queues


class AMQP:
    """What an app knows about queues and messages. All of it is made when first needed.

    Attributes:
        argsrepr_maxsize, kwargsrepr_maxsize: length of the representations in the headers.
        queues_cls: may be replaced by a subclass of `Queues`.
        autoexchange: a function of a queue's name that makes the exchange of an automatic queue.
    """

    argsrepr_maxsize = 1024
    kwargsrepr_maxsize = 1024
    queues_cls: type[_Queues] = Queues
    autoexchange: Callable[[str], Any] | None = None

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.task_protocols: dict[int, Callable[..., TaskMessage]] = {1: self.as_task_v1, 2: self.as_task_v2}
        self._snapshot: Snapshot | None = None
        self._queues: _Queues | None = None
        self._router: routes.Router | None = None
        self._default_exchange: Exchange | None = None
        self._router_of = (0, 0)

    @property
    def snapshot(self) -> Snapshot:
        """The settings that sending reads, and what was made from them; made anew after a change."""
        known, conf = self._snapshot, self.app.conf
        if known is None or known.version != conf.version or known.conf is not conf:
            known = self._snapshot = Snapshot.of(self.app)
        return known

    def delays_natively(self, exchange: str, routing_key: str) -> bool:
        """Whether RabbitMQ's native delayed delivery fits messages to there: see `celery.brokers.delaying`."""
        known = self.snapshot.delays
        key = (self.queues.version, exchange, routing_key)
        if key not in known:
            if len(known) > 1000:  # keys made up by the call
                known.clear()
            queues = list(map(self.queues.topology, self.queues.values()))
            known[key] = delaying.fits(queues, exchange, routing_key)
        return known[key]

    # -- queues

    def Queues(  # noqa: N802, RUF100 - the documented name
        self,
        queues: Any,
        create_missing: bool | None = None,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Callable[[str], Any] | None = None,
        max_priority: int | None = None,
    ) -> _Queues:
        """Make the mapping of queues out of `task_queues`; what is None is read from the settings.

        No queues at all means the default queue.
        """
        conf = self.app.conf
        if create_missing is None:
            create_missing = conf.task_create_missing_queues
        if create_missing_queue_type is None:
            create_missing_queue_type = conf.task_create_missing_queue_type
        if create_missing_queue_exchange_type is None:
            create_missing_queue_exchange_type = conf.task_create_missing_queue_exchange_type
        if max_priority is None:
            max_priority = conf.task_queue_max_priority
        routing_key = conf.task_default_routing_key
        if not queues and conf.task_default_queue:
            quorum = conf.task_default_queue_type == "quorum"
            arguments = {"x-queue-type": "quorum"} if quorum else {}
            queues = (
                Queue(conf.task_default_queue, self.default_exchange, routing_key, arguments=arguments),
            )
        return self.queues_cls(
            queues,
            self.default_exchange,
            create_missing,
            create_missing_queue_type,
            create_missing_queue_exchange_type,
            self.autoexchange if autoexchange is None else autoexchange,
            max_priority,
            routing_key,
        )

    @property
    def queues(self) -> _Queues:
        """The configured queues by name, and those that were named since."""
        if self._queues is None:
            self._queues = self.Queues(self.app.conf.task_queues)
        return self._queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        self._queues = self.Queues(queues)
        self._router = None
        self._snapshot = None

    @property
    def default_queue(self) -> Any:
        """The queue for what says none."""
        return self.queues[self.app.conf.task_default_queue]

    @property
    def default_exchange(self) -> Exchange:
        """The exchange for queues that say none."""
        if self._default_exchange is None:
            conf = self.app.conf
            self._default_exchange = Exchange(conf.task_default_exchange, conf.task_default_exchange_type)
        return self._default_exchange

    # -- routes

    def Router(self, queues: Any = None, create_missing: bool | None = None) -> routes.Router:  # noqa: N802, RUF100 - the documented name
        """Make a router over `queues` (default: the app's) for `task_routes`."""
        if create_missing is None:
            create_missing = self.app.conf.task_create_missing_queues
        return routes.Router(self.routes, queues or self.queues, create_missing, app=self.app)

    @property
    def router(self) -> routes.Router:
        """The router of `task_routes`; made anew after a change of the settings."""
        conf = self.app.conf
        if self._router is None or self._router_of != (id(conf), conf.version):
            self._router = self.Router()
            self._router_of = (id(conf), conf.version)
        return self._router

    @property
    def routes(self) -> list[Any]:
        """The prepared `task_routes`."""
        return routes.prepare(self.app.conf.task_routes)

    def flush_routes(self) -> None:
        """Read `task_routes` again: only needed when the value itself was changed in place."""
        self._router = None
        self._snapshot = None

    # -- messages

    @property
    def utc(self) -> bool:
        """Whether dates in messages are UTC."""
        return bool(self.app.conf.enable_utc)

    @property
    def create_task_message(self) -> Callable[..., TaskMessage]:
        """`as_task_v1` or `as_task_v2`, as `task_protocol` says."""
        return self.task_protocols[self.app.conf.task_protocol]

    @property
    def send_task_message(self) -> Callable[..., None]:
        """A function `(producer, name, message, **options)` that publishes a message made by `create_task_message`."""
        from . import sending  # noqa: PLC0415 - sending builds on this module

        return sending.message_sender(self.app)

    @property
    def producer_pool(self) -> Any:
        """The app's pool of kombu producers."""
        return self.app.producer_pool

    @property
    def publisher_pool(self) -> Any:
        """Old name of `producer_pool`."""
        return self.app.producer_pool

    def TaskConsumer(self, channel: Any, queues: Any = None, accept: Any = None, **kw: Any) -> Any:  # noqa: N802, RUF100 - the documented name
        """A `kombu.Consumer` on `channel` for the queues that a worker consumes."""
        if accept is None:
            accept = self.app.conf.accept_content
        chosen = queues or list(self.queues.consume_from.values())
        return _foreign.kombu_object("Consumer")(
            channel, accept=accept, queues=[kombu_queue(queue) for queue in chosen], **kw
        )

    def as_task_v2(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        chain: Any = None,
        now: Any = None,
        timezone: Any = None,
        origin: str | None = None,
        ignore_result: bool | None = False,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        stamped_headers: list[str] | None = None,
        replaced_task_nesting: int = 0,
        **options: Any,
    ) -> TaskMessage:
        """A message of protocol 2, not yet serialized.

        Args:
            countdown, eta, expires: as `apply_async` takes them.
            now: instead of the present time. timezone: of what is computed from it.
            **options: the values of `stamped_headers`; others are ignored.

        Raises:
            TypeError: `args` is no list or tuple, `kwargs` no mapping. ValueError: a date makes no sense.
        """
        args, kwargs = arguments.of_message(args, kwargs)
        clock = dates.Clock.of(self.app, now, timezone)
        due, until = clock.eta(countdown, eta), clock.expires(expires)
        levels = self.snapshot.repr_levels
        return build_v2(
            task_id,
            name,
            args,
            kwargs,
            eta=due,
            expires=until,
            group_id=group_id,
            group_index=group_index,
            retries=retries,
            chord=chord,
            callbacks=callbacks,
            errbacks=errbacks,
            chain=chain,
            reply_to=reply_to,
            time_limit=time_limit,
            soft_time_limit=soft_time_limit,
            root_id=root_id,
            parent_id=parent_id,
            shadow=shadow,
            origin=origin or anon_origin(),
            ignore_result=ignore_result,
            argsrepr=saferepr(args, self.argsrepr_maxsize, levels) if argsrepr is None else argsrepr,
            kwargsrepr=saferepr(kwargs, self.kwargsrepr_maxsize, levels)
            if kwargsrepr is None
            else kwargsrepr,
            stamped_headers=stamped_headers,
            stamps={key: options[key] for key in stamped_headers or ()},
            replaced_task_nesting=replaced_task_nesting,
            sent_event=create_sent_event,
        )

    def as_task_v1(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        group_id: str | None = None,
        group_index: int | None = None,
        expires: Any = None,
        retries: int = 0,
        chord: Any = None,
        callbacks: Any = None,
        errbacks: Any = None,
        reply_to: str | None = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        create_sent_event: bool = False,
        root_id: str | None = None,
        parent_id: str | None = None,
        shadow: str | None = None,
        now: Any = None,
        timezone: Any = None,
        **compat_kwargs: Any,
    ) -> TaskMessage:
        """A message of protocol 1, not yet serialized; see `as_task_v2`. What protocol 1 cannot say is left out."""
        args, kwargs = arguments.of_message(args, kwargs)
        clock = dates.Clock.of(self.app, now, timezone)
        levels = self.snapshot.repr_levels
        return build_v1(
            task_id,
            name,
            args,
            kwargs,
            eta=clock.eta(countdown, eta),
            expires=clock.expires(expires),
            group_id=group_id,
            group_index=group_index,
            retries=retries,
            chord=chord,
            callbacks=callbacks,
            errbacks=errbacks,
            reply_to=reply_to,
            time_limit=time_limit,
            soft_time_limit=soft_time_limit,
            utc=self.utc,
            argsrepr=saferepr(args, self.argsrepr_maxsize, levels) if create_sent_event else "",
            kwargsrepr=saferepr(kwargs, self.kwargsrepr_maxsize, levels) if create_sent_event else "",
            sent_event=create_sent_event,
        )


publish(globals(), "Queues")
