"""What results of one task and of many have in common: ids that can be stored, and the graph of calls."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from celery._state import app_or_default
from celery.exceptions import IncompleteStream
from celery.utils.graph import DependencyGraph, GraphFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.app.base import Celery


class ResultBase:
    """Base of results of one task and of many."""

    #: The result of the task that called this one, in a chain.
    parent: Any = None

    def as_tuple(self) -> Any:
        """The id in a form that can be stored; `result_from_tuple` reads it."""
        raise NotImplementedError(f"{type(self).__name__} has no as_tuple()")

    # -- the graph of calls

    def iterdeps(self: Any, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield `(parent, result)` for this task and all that it led to, breadth first.

        Args:
            intermediate: leave out what is not known yet, rather than complain.

        Raises:
            IncompleteStream: a task is not over yet.
        """
        queue: deque[tuple[Any, Any]] = deque([(None, self)])
        while queue:
            parent, node = queue.popleft()
            yield parent, node
            if node.ready():
                queue.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """Yield `(result, value)` for this task and all that it led to, waiting for each.

        Args:
            kwargs: for `get`.
        """
        for _, result in self.iterdeps(intermediate=intermediate):
            yield result, result.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last task that this one led to."""
        value = None
        for _, result in self.iterdeps():
            value = result.get()
        return value

    def build_graph(
        self: Any, intermediate: bool = False, formatter: GraphFormatter | None = None
    ) -> DependencyGraph:
        """The graph of this task and all that it led to; `to_dot()` draws it.

        Args:
            intermediate: leave out what is not known yet, rather than complain.
            formatter: draws it; default: ovals.

        Raises:
            IncompleteStream: a task is not over yet.
        """
        graph = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id, shape="oval"))
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @property
    def graph(self) -> DependencyGraph:
        """As `build_graph()`."""
        return self.build_graph()


def result_from_tuple(r: Any, app: Celery | None = None) -> Any:
    """The result that a tuple stands for; a result is returned as it is.

    Raises:
        ValueError: `r` is neither.
    """
    if isinstance(r, ResultBase):
        return r
    app = app_or_default(app)
    head, members = r
    id, parent = head if isinstance(head, (list, tuple)) else (head, None)  # noqa: A001 - Celery's name
    if parent:
        parent = result_from_tuple(parent, app)
    if members is not None:
        return app.GroupResult(id, [result_from_tuple(member, app) for member in members], parent=parent)
    return app.AsyncResult(id, parent=parent)
