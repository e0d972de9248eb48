"""What depends on what, in which order to do it, and a drawing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ("DOT", "CycleError", "DependencyGraph", "GraphFormatter")


class DOT:
    """Pieces of the DOT language (graphviz)."""

    HEAD = "{IN}{type} {id} {{\n{INp}graph [{attrs}]"
    ATTR = '{name}="{value}"'
    NODE = '{INp}"{0}" [{attrs}]'
    EDGE = '{INp}"{0}" {dir} "{1}" [{attrs}]'
    ATTRSEP = ", "
    DIRS: ClassVar[dict[str, str]] = {"graph": "--", "digraph": "->"}
    TAIL = "{IN}}}"


class CycleError(Exception):
    """Things depend on one another in a circle."""


class DependencyGraph:
    """Objects, and what each depends on.

    Args:
        it: pairs of an object and those it depends on.
        formatter: draws it; default a `GraphFormatter`.
    """

    def __init__(
        self,
        it: Iterable[tuple[Any, Iterable[Any]]] | None = None,
        formatter: GraphFormatter | None = None,
    ) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, obj: Any) -> None:
        """Add an object."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, A: Any, B: Any) -> None:  # noqa: N803, RUF100 - public names
        """Have `A` depend on `B`.

        Raises:
            KeyError: `A` was not added.
        """
        self[A].append(B)

    def connect(self, graph: DependencyGraph) -> None:
        """Add all of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add objects with what they depend on."""
        pairs = list(it)
        for obj, _ in pairs:
            self.add_arc(obj)
        for obj, deps in pairs:
            for dep in deps:
                self.add_edge(obj, dep)

    def topsort(self) -> list[Any]:
        """All objects, each after those it depends on.

        Raises:
            CycleError: they depend on one another in a circle; its message names one.
        """
        order: list[Any] = []
        done: set[Any] = set()
        path: list[Any] = []

        def visit(obj: Any) -> None:
            if obj in done:
                return
            if obj in path:
                raise CycleError(" -> ".join(map(str, [*path[path.index(obj) :], obj])))
            path.append(obj)
            for dep in self.adjacent.get(obj, ()):
                visit(dep)
            path.pop()
            done.add(obj)
            order.append(obj)

        for obj in self.adjacent:
            visit(obj)
        return order

    def valency_of(self, obj: Any) -> int:
        """How many lines lead down from `obj`, those of what it depends on included.

        Raises:
            KeyError: it was not added.
        """
        deps = self[obj]
        return len(deps) + sum(self.valency_of(dep) for dep in deps if dep in self.adjacent)

    def edges(self) -> Iterator[Any]:
        """Objects that depend on something."""
        return (obj for obj, deps in self.items() if deps)

    def to_dot(self, fh: Any, formatter: GraphFormatter | None = None) -> None:
        """Write a drawing of the graph in the DOT language to a text file."""
        draw = formatter or self.formatter
        seen: set[str] = set()
        print(draw.head(), file=fh)
        for obj, deps in self.items():
            if draw.label(obj) not in seen:
                seen.add(draw.label(obj))
                print(draw.node(obj) if deps else draw.terminal_node(obj), file=fh)
            for dep in deps:
                print(draw.edge(obj, dep), file=fh)
        print(draw.tail(), file=fh)

    def format(self, obj: Any) -> str:
        """An object's name in a drawing."""
        return self.formatter.label(obj)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, obj: object) -> bool:
        return obj in self.adjacent

    def items(self) -> Iterator[tuple[Any, list[Any]]]:
        """Objects with what they depend on."""
        return iter(self.adjacent.items())

    iteritems = _iterate_items = items

    def __repr__(self) -> str:
        return "\n".join(self.repr_node(node) for node in self)

    def repr_node(self, obj: Any, level: int = 1, fmt: str = "{0}({1})") -> str:
        """An object and, indented, what it depends on."""
        lines = [fmt.format(obj, self.valency_of(obj))]
        for dep in self[obj]:
            text = self.repr_node(dep, level + 1, fmt) if dep in self.adjacent else str(dep)
            lines.append("     " * level + text)
        return "\n".join(lines)


class GraphFormatter:
    """Draws a graph in the DOT language.

    Args:
        root: what it is a drawing of.
        type: `digraph` or `graph`.
        id: the drawing's name.
        indent: levels to indent by.
        inw: one level.
        scheme: further attributes of everything.
    """

    _attr = DOT.ATTR
    _node = DOT.NODE
    _edge = DOT.EDGE
    _head = DOT.HEAD
    _tail = DOT.TAIL
    _attrsep = DOT.ATTRSEP
    _dirs: ClassVar[dict[str, str]] = DOT.DIRS

    scheme: ClassVar[dict[str, Any]] = {
        "shape": "box",
        "arrowhead": "vee",
        "style": "filled",
        "fontname": "HelveticaNeue",
    }
    edge_scheme: ClassVar[dict[str, Any]] = {
        "color": "darkseagreen4",
        "arrowcolor": "black",
        "arrowsize": 0.7,
    }
    node_scheme: ClassVar[dict[str, Any]] = {"fillcolor": "palegreen3", "color": "palegreen4"}
    term_scheme: ClassVar[dict[str, Any]] = {"fillcolor": "palegreen1", "color": "palegreen2"}
    graph_scheme: ClassVar[dict[str, Any]] = {"bgcolor": "mintcream"}

    def __init__(
        self,
        root: Any = None,
        type: str | None = None,  # noqa: A002 - the public name
        id: str | None = None,  # noqa: A002 - the public name
        indent: int = 0,
        inw: str = " " * 4,
        **scheme: Any,
    ) -> None:
        self.id = id or "dependencies"
        self.root = root
        self.type = type or "digraph"
        self.direction = self._dirs[self.type]
        self.IN = inw * (indent or 0)
        self.INp = self.IN + inw
        self._scheme = {**self.scheme, **scheme}
        self._graph_scheme = {**self.graph_scheme, "root": self.label(self.root)}

    def attr(self, name: str, value: Any) -> str:
        """One attribute."""
        return self.FMT(self._attr, name=name, value=value)

    def attrs(self, d: dict[str, Any] | None, scheme: dict[str, Any] | None = None) -> str:
        """Attributes, those of a scheme and of everything included."""
        merged = {**self._scheme, **(scheme or {}), **(d or {})}
        return self._attrsep.join(self.attr(name, value) for name, value in merged.items())

    def head(self, **attrs: Any) -> str:
        """How the drawing begins."""
        return self.FMT(self._head, id=self.id, type=self.type, attrs=self.attrs(attrs, self._graph_scheme))

    def tail(self) -> str:
        """How the drawing ends."""
        return self.FMT(self._tail)

    def label(self, obj: Any) -> str:
        """An object's name."""
        return str(obj)

    def node(self, obj: Any, **attrs: Any) -> str:
        """An object that depends on others."""
        return self.draw_node(obj, self.node_scheme, attrs)

    def terminal_node(self, obj: Any, **attrs: Any) -> str:
        """An object that depends on none."""
        return self.draw_node(obj, self.term_scheme, attrs)

    def edge(self, a: Any, b: Any, **attrs: Any) -> str:
        """The line from an object to one it depends on."""
        return self.draw_edge(a, b, None, attrs)

    def FMT(self, fmt: str, *args: Any, **kwargs: Any) -> str:  # noqa: N802, RUF100 - the public name
        """Fill in a piece."""
        return fmt.format(*args, **{**kwargs, "IN": self.IN, "INp": self.INp})

    def draw_edge(
        self, a: Any, b: Any, scheme: dict[str, Any] | None = None, attrs: dict[str, Any] | None = None
    ) -> str:
        """A line, with the attributes of a scheme."""
        text = self.attrs(attrs, scheme or self.edge_scheme)
        return self.FMT(self._edge, self.label(a), self.label(b), dir=self.direction, attrs=text)

    def draw_node(
        self, obj: Any, scheme: dict[str, Any] | None = None, attrs: dict[str, Any] | None = None
    ) -> str:
        """An object, with the attributes of a scheme."""
        return self.FMT(self._node, self.label(obj), attrs=self.attrs(attrs, scheme))
