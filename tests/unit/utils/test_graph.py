import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery.utils.graph import CycleError, DependencyGraph, GraphFormatter


@pytest.fixture
def graph():
    return DependencyGraph([("A", []), ("B", ["A"]), ("C", ["A"]), ("D", ["C", "B"])])


def test_questions(graph):
    assert list(graph) == ["A", "B", "C", "D"]
    assert len(graph) == 4
    assert "A" in graph
    assert graph["D"] == ["C", "B"]
    assert (graph.valency_of("D"), graph.valency_of("A")) == (4, 0)
    assert list(graph.edges()) == ["B", "C", "D"]
    assert dict(graph.items())["B"] == ["A"]
    assert graph.repr_node("B") == "B(1)\n     A(0)"
    assert repr(graph).startswith("A(0)\nB(1)\n     A(0)")


def test_changes(graph):
    graph.connect(DependencyGraph([("Z", [])]))
    graph.add_edge("Z", "D")
    assert graph.topsort()[-1] == "Z"
    with pytest.raises(KeyError):
        graph.add_edge("nobody", "A")


def test_a_circle_is_named(graph):
    graph.add_edge("A", "D")
    with pytest.raises(CycleError, match=r"A -> D -> (C|B) -> A"):
        graph.topsort()


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
def test_everything_comes_after_what_it_depends_on(pairs):
    edges = [(max(pair), min(pair)) for pair in pairs if pair[0] != pair[1]]
    graph = DependencyGraph([(n, []) for n in range(13)])
    for after, before in edges:
        graph.add_edge(after, before)
    order = graph.topsort()
    assert sorted(order) == list(range(13))
    assert all(order.index(after) > order.index(before) for after, before in edges)


def test_drawing():
    graph = DependencyGraph([("X", []), ("Y", ["X"])])
    file = io.StringIO()
    graph.to_dot(file, GraphFormatter(root="R", type="graph", id="foo"))
    text = file.getvalue()
    assert text.startswith("graph foo {\n    graph [")
    assert '"Y" -- "X" [' in text
    assert 'root="R"' in text
    assert 'fillcolor="palegreen1"' in text.split('"X" [')[1].splitlines()[0]
    assert text.endswith("}\n")
    other = io.StringIO()
    graph.to_dot(other)
    assert '"Y" -> "X"' in other.getvalue()
    assert graph.format("X") == "X"
