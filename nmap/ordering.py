"""Orders of directed graphs: strongly connected components and topological orders, without a graph library's start of a quarter second."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

__all__ = ["components", "topological_order"]

Node = TypeVar("Node", bound=Hashable)


def _successors(nodes: Iterable[Node], edges: Iterable[tuple[Node, Node]]) -> dict[Node, list[Node]]:
    following: dict[Node, list[Node]] = {node: [] for node in nodes}
    for source, target in edges:
        following.setdefault(source, []).append(target)
        following.setdefault(target, [])
    return following


def components(nodes: Iterable[Node], edges: Iterable[tuple[Node, Node]]) -> list[list[Node]]:
    """Return the strongly connected components, those before others that edges lead to from them (Tarjan 1972).

    Args:
        nodes: in the order in which they are visited; the ends of edges belong to them without being named.
        edges: pairs of source and target; several between two nodes, and from a node to itself, are allowed.
    """
    following = _successors(nodes, edges)
    number: dict[Node, int] = {}
    lowest: dict[Node, int] = {}
    open_nodes: list[Node] = []
    is_open: set[Node] = set()
    found: list[list[Node]] = []
    for start in following:
        if start in number:
            continue
        path = [(start, iter(following[start]))]
        number[start] = lowest[start] = len(number)
        open_nodes.append(start)
        is_open.add(start)
        while path:
            node, rest = path[-1]
            for target in rest:
                if target not in number:
                    number[target] = lowest[target] = len(number)
                    open_nodes.append(target)
                    is_open.add(target)
                    path.append((target, iter(following[target])))
                    break
                if target in is_open:
                    lowest[node] = min(lowest[node], number[target])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == number[node]:
                    component: list[Node] = []
                    while not component or component[-1] != node:
                        component.append(open_nodes.pop())
                    is_open.difference_update(component)
                    found.append(component[::-1])
    return found[::-1]


def topological_order(nodes: Iterable[Node], edges: Iterable[tuple[Node, Node]], key: Callable[[Node], Any]) -> list[Node]:
    """Return the nodes in an order in which all edges point forward, of several that may come next the one with the least key.

    Args:
        nodes: the ends of edges belong to them without being named.
        edges: pairs of source and target.
        key: of equal ones, the node named first comes first.

    Raises:
        ValueError: there is a loop.
    """
    following = _successors(nodes, dict.fromkeys(edges))
    number = {node: k for k, node in enumerate(following)}
    waiting = dict.fromkeys(following, 0)
    for targets in following.values():
        for target in targets:
            waiting[target] += 1
    ready = [(key(node), number[node], node) for node, count in waiting.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        node = heapq.heappop(ready)[2]
        order.append(node)
        for target in following[node]:
            waiting[target] -= 1
            if not waiting[target]:
                heapq.heappush(ready, (key(target), number[target], target))
    if len(order) < len(following):
        raise ValueError("a loop has no topological order")
    return order
