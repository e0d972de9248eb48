"""The steps of a consumer, in their order."""

from __future__ import annotations

from celery.bootsteps import Blueprint
from celery.worker.components import Part

from .agent import Agent
from .connection import Connection
from .control import Control
from .delayed_delivery import DelayedDelivery
from .events import Events
from .gossip import Gossip
from .heart import Heart
from .mingle import Mingle
from .tasks import Tasks


class Evloop(Part):
    """The core at work: every other step comes before it."""

    label = "event loop"
    last = True


class ConsumerBlueprint(Blueprint):
    """The steps of a consumer."""

    name = "Consumer"
    default_steps = (
        Connection,
        Events,
        Mingle,
        Gossip,
        Heart,
        Tasks,
        Control,
        DelayedDelivery,
        Agent,
        Evloop,
    )
