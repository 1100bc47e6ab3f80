"""Components and orders of small graphs against networkx."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmap.ordering import components, topological_order


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    count = draw(st.integers(1, 9))
    node = st.integers(0, count - 1)
    return draw(st.permutations(range(count))), draw(st.lists(st.tuples(node, node), max_size=14))


def as_graph(nodes: list[int], edges: list[tuple[int, int]]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


@given(graphs())
def test_components(given: tuple[list[int], list[tuple[int, int]]]) -> None:
    nodes, edges = given
    found = components(nodes, edges)
    assert {frozenset(part) for part in found} == {frozenset(part) for part in nx.strongly_connected_components(as_graph(nodes, edges))}
    number = {node: k for k, part in enumerate(found) for node in part}
    assert sum(len(part) for part in found) == len(nodes)
    assert all(number[source] <= number[target] for source, target in edges)


@given(graphs())
def test_topological_order(given: tuple[list[int], list[tuple[int, int]]]) -> None:
    nodes, edges = given
    graph = as_graph(nodes, edges)
    # Pairs of nodes have equal keys.
    if nx.is_directed_acyclic_graph(graph):
        assert topological_order(nodes, edges, lambda node: node // 2) == list(nx.lexicographical_topological_sort(graph, lambda n: n // 2))
    else:
        with pytest.raises(ValueError, match="loop"):
            topological_order(nodes, edges, lambda node: node // 2)


def test_long_chains_are_no_recursion() -> None:
    chain = [(k, k + 1) for k in range(20_000)]
    assert components([], [*chain, (20_000, 0)]) == [list(range(20_001))]
    assert [part[0] for part in components([], chain)] == list(range(20_001))
    assert topological_order([], chain[::-1], lambda node: -node) == list(range(20_001))
