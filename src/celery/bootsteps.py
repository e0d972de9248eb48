"""Steps: parts of a worker that require one another, and the blueprints that start and stop them in order.

    class Greeting(bootsteps.StartStopStep):
        requires = {"celery.worker.components:Pool"}

        def start(self, worker):
            print("hello")

    app.steps["worker"].add(Greeting)

This module only orders and calls; who runs the steps of a worker, and on which thread, is `celery.worker.steps`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from celery.utils.graph import DependencyGraph, GraphFormatter
from celery.utils.imports import instantiate, symbol_by_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("Blueprint", "ConsumerStep", "StartStopStep", "Step")

logger = logging.getLogger(__name__)

RUN, CLOSE, TERMINATE = 1, 2, 3

#: Exceptions that stopping a consumer's step ignores, besides those of its connection.
IGNORE_ERRORS: tuple[type[BaseException], ...] = ()


class Step:
    """A part of a worker. It is made, and then included if it is enabled.

    Args:
        parent: the worker, or its consumer.
        **kwargs: options of the command line, those of `app.user_options` included.
    """

    #: Its dotted path unless given.
    name: ClassVar[str] = "celery.bootsteps.Step"
    #: What logs and drawings call it; the last part of its name unless given.
    label: ClassVar[str | None] = None
    #: Only a mark in drawings: `include_if` decides.
    conditional = False
    #: Classes, or `module:Class`, that come before it.
    requires: ClassVar[Iterable[Any]] = ()
    #: Whether it comes after all others.
    last = False
    enabled = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = f"{cls.__module__}.{cls.__qualname__}"

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        pass

    def include_if(self, parent: Any) -> bool:
        """Whether it is wanted; default: `enabled`."""
        return self.enabled

    def instantiate(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Make an instance of a class given by its path."""
        return instantiate(name, *args, **kwargs)

    def include(self, parent: Any) -> Any:
        """Create it if it is wanted."""
        if not self.include_if(parent):
            return False
        self.create(parent)
        return True

    def create(self, parent: Any) -> Any:
        """Make what it consists of."""

    def info(self, obj: Any) -> Any:
        """What it says about itself, if anything."""

    @property
    def alias(self) -> str:
        """What logs call it."""
        return alias_of(self)

    def __repr__(self) -> str:
        return f"<step: {self.alias}>"


class StartStopStep(Step):
    """A step that starts and stops with its parent.

    Attributes:
        obj: what `create` returned; started and stopped with the step.
    """

    name = "celery.bootsteps.StartStopStep"
    obj: Any = None

    def start(self, parent: Any) -> Any:
        """Start `obj`."""
        return self.obj.start() if self.obj else None

    def stop(self, parent: Any) -> Any:
        """Stop `obj`."""
        return self.obj.stop() if self.obj else None

    def close(self, parent: Any) -> Any:
        """Called before anything is stopped."""

    def terminate(self, parent: Any) -> Any:
        """Stop `obj` at once, if it can."""
        if self.obj:
            getattr(self.obj, "terminate", self.obj.stop)()

    def include(self, parent: Any) -> Any:
        """Create it and add it to `parent.steps`, if it is wanted."""
        if not self.include_if(parent):
            return False
        self.obj = self.create(parent)
        parent.steps.append(self)
        return True


class ConsumerStep(StartStopStep):
    """A step of the consumer that takes messages with consumers of kombu.

    Attributes:
        consumers: what `get_consumers` returned.
    """

    name = "celery.bootsteps.ConsumerStep"
    requires = ("celery.worker.consumer:Connection",)
    consumers: Any = None

    def get_consumers(self, channel: Any) -> Any:
        """The list of `kombu.Consumer`, made for `channel`.

        Raises:
            NotImplementedError: the class does not say.
        """
        raise NotImplementedError("missing get_consumers")

    def start(self, c: Any) -> None:
        """Open a channel and consume. Called again whenever the connection was lost."""
        channel = c.connection.channel()
        self.consumers = self.get_consumers(channel)
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, c: Any) -> None:
        """Consume no more; what was not acknowledged goes back."""
        self._close(c, cancel=True)

    def shutdown(self, c: Any) -> None:
        """Called last."""
        self._close(c, cancel=False)

    def _close(self, c: Any, *, cancel: bool) -> None:
        consumers, self.consumers = self.consumers or (), None
        if not consumers:
            return
        errors = (*IGNORE_ERRORS, *c.connection.connection_errors, *c.connection.channel_errors)
        channels = {id(consumer.channel): consumer.channel for consumer in consumers if consumer.channel}
        for consumer in consumers if cancel else ():
            with contextlib.suppress(*errors):
                consumer.cancel()
        for channel in channels.values():
            with contextlib.suppress(*errors):
                channel.close()


def alias_of(step: Any) -> str:
    """What a step, or a class of steps, is called: its label, or the last part of its name."""
    return str(step.label or step.name.rpartition(".")[2])


class StepFormatter(GraphFormatter):
    """Draws steps: `∘` marks conditional ones, `⧉` those that come last."""

    conditional_prefix = "∘"
    blueprint_prefix = "⧉"
    blueprint_scheme: ClassVar[dict[str, Any]] = {
        "shape": "parallelogram",
        "color": "slategray4",
        "fillcolor": "slategray3",
    }

    def label(self, obj: Any) -> str:
        """A step's alias with its mark."""
        if not obj:
            return str(obj)
        mark = self.blueprint_prefix if obj.last else self.conditional_prefix if obj.conditional else ""
        return mark + alias_of(obj)

    def node(self, obj: Any, **attrs: Any) -> str:
        """A step that requires others."""
        return self.draw_node(obj, self.blueprint_scheme if obj.last else self.node_scheme, attrs)

    def edge(self, a: Any, b: Any, **attrs: Any) -> str:
        """What a step requires; that it comes last is shown otherwise."""
        if a.last:
            attrs = {"arrowhead": "none", "color": "darkseagreen3", **attrs}
        return self.draw_edge(a, b, self.edge_scheme, attrs)


class Blueprint:
    """Starts steps in the order of what they require, and stops them in the reverse.

    Args:
        steps: classes of steps, or their paths, beside the default ones.
        name: what logs call it.
        on_start, on_close, on_stopped: called before steps are started, before they are closed, after they stopped.

    Attributes:
        order: the steps, once `apply` has made them.
        graph: which class requires which.
        started: how many were started.
    """

    name: str | None = None
    default_steps: ClassVar[Iterable[Any]] = frozenset()
    state: int | None = None
    started = 0
    state_to_name: ClassVar[dict[int, str]] = {
        0: "initializing",
        RUN: "running",
        CLOSE: "closing",
        TERMINATE: "terminating",
    }

    def __init__(
        self,
        steps: Iterable[Any] | None = None,
        name: str | None = None,
        on_start: Callable[[], Any] | None = None,
        on_close: Callable[[], Any] | None = None,
        on_stopped: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name or self.name or f"{type(self).__module__}.{type(self).__qualname__}"
        self.types = [*_in_order(self.default_steps), *_in_order(steps or ())]
        self.on_start = on_start
        self.on_close = on_close
        self.on_stopped = on_stopped
        self.shutdown_complete = threading.Event()
        self.steps: dict[str, Any] = {}
        self.order: list[Any] = []
        self.graph = DependencyGraph(formatter=StepFormatter())

    @property
    def alias(self) -> str:
        """What logs call it."""
        return str(self.name).rpartition(".")[2]

    def human_state(self) -> str:
        """`initializing`, `running`, `closing` or `terminating`."""
        return self.state_to_name[self.state or 0]

    # -- making -----------------------------------------------------------------------------------
    def load_step(self, step: Any) -> tuple[str, Any]:
        """The name and the class of a step."""
        cls = symbol_by_name(step)
        return cls.name, cls

    def claim_steps(self) -> dict[str, Any]:
        """Classes by name: those given, and those they require."""
        found: dict[str, Any] = {}
        waiting = list(self.types)
        while waiting:
            name, cls = self.load_step(waiting.pop(0))
            if name not in found:
                found[name] = cls
                waiting += _in_order(cls.requires)
        return found

    def connect(self) -> DependencyGraph:
        """Find what requires what; no step is made."""
        required = {
            cls: [self.load_step(one)[1] for one in _in_order(cls.requires)]
            for cls in self.claim_steps().values()
        }
        for cls, mine in required.items():
            if cls.last:
                mine += [
                    one for one in required if not (one.last or one in mine or _needs(one, cls, required))
                ]
        root = next((cls for cls in required if cls.last), None)
        self.graph = DependencyGraph(required.items(), formatter=StepFormatter(root))
        return self.graph

    def apply(self, parent: Any, **kwargs: Any) -> Blueprint:
        """Make every step and include those that are wanted.

        Raises:
            CycleError: steps require one another in a circle.
        """
        self._debug("Preparing bootsteps.")
        self._debug("Building graph...")
        order = self.connect().topsort()
        self.steps = {cls.name: cls(parent, **kwargs) for cls in order}
        self.order = list(self.steps.values())
        self._debug("New boot order: {%s}", ", ".join(step.alias for step in self.order))
        for step in self.order:
            step.include(parent)
        return self

    def connect_with(self, other: Blueprint) -> None:
        """Draw another blueprint's steps below this one's."""
        mine, others = list(self.graph.topsort()), list(other.graph.topsort())
        self.graph.connect(other.graph)
        self.graph.add_edge(others[0], mine[-1])

    def __getitem__(self, name: str) -> Any:
        return self.steps[name]

    def __contains__(self, name: object) -> bool:
        return name in self.steps

    # -- running ----------------------------------------------------------------------------------
    def start(self, parent: Any) -> None:
        """Start every step of the parent's. What one raises is raised; the rest are not started."""
        self.state = RUN
        if self.on_start:
            self.on_start()
        for number, step in enumerate(parent.steps, 1):
            self._debug("Starting %s", step.alias)
            self.started = number
            step.start(parent)
            logger.debug("^-- substep ok")

    def info(self, parent: Any) -> dict[str, Any]:
        """What all steps say about themselves."""
        told: dict[str, Any] = {}
        for step in parent.steps:
            told.update(step.info(parent) or {})
        return told

    def close(self, parent: Any) -> None:
        """Tell every step that was started that stopping is near."""
        if self.on_close:
            self.on_close()
        self.send_all(parent, "close", "closing", reverse=False, propagate=False)

    def restart(
        self, parent: Any, method: str = "stop", description: str = "restarting", propagate: bool = False
    ) -> None:
        """Stop every step; `start` starts them again."""
        self.send_all(parent, method, description, propagate=propagate)

    def send_all(
        self,
        parent: Any,
        method: str,
        description: str | None = None,
        reverse: bool = True,
        propagate: bool = True,
        args: tuple[Any, ...] = (),
    ) -> None:
        """Call a method of every step that was started and has it.

        Args:
            description: what the log says; the method's name unless given.
            propagate: raise what one raises; else it is logged, and the others are called.
        """
        saying = description or method.replace("_", " ")
        steps = parent.steps[: self.started]
        for step in reversed(steps) if reverse else list(steps):
            call = getattr(step, method, None)
            if call is None:
                continue
            self._debug("%s %s...", saying.capitalize(), step.alias)
            try:
                call(parent, *args)
            except (Exception, SystemExit) as error:
                if propagate:
                    raise
                logger.error("Error on %s %s: %r", saying, step.alias, error, exc_info=error)

    def stop(self, parent: Any, close: bool = True, terminate: bool = False) -> None:
        """Stop, or terminate, every step that was started. What they raise is logged."""
        if self.state in (CLOSE, TERMINATE):
            return
        if self.state == RUN:
            if close:
                self.close(parent)
            self.state = CLOSE
            method, saying = ("terminate", "terminating") if terminate else ("stop", "stopping")
            self.send_all(parent, method, saying, propagate=False)
            if self.on_stopped:
                self.on_stopped()
        self.state = TERMINATE
        self.shutdown_complete.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has stopped, or for so many seconds."""
        self.shutdown_complete.wait(timeout)

    def _debug(self, message: str, *args: Any) -> None:
        logger.debug("| %s: %s", self.alias, message % args)


def _needs(cls: Any, other: Any, required: dict[Any, list[Any]]) -> bool:
    """Whether a class requires another one, perhaps through others."""
    seen, waiting = set(), [cls]
    while waiting:
        one = waiting.pop()
        if one is other:
            return True
        if one not in seen:
            seen.add(one)
            waiting += required[one]
    return False


def _in_order(steps: Iterable[Any]) -> list[Any]:
    """A list; a set in the order of names, so that it is the same in every process."""
    if isinstance(steps, set | frozenset):
        return sorted(steps, key=lambda step: step if isinstance(step, str) else step.name)
    return [steps] if isinstance(steps, str) else list(steps)
