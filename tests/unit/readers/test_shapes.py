from __future__ import annotations

import numpy as np
import pytest

from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap.readers.graph import Graph, Node, Port
from nmap.readers.shapes import Shapes, at_shape, conv_of, core_shape, fits_layer, matrix_of, pair_of, plane_of, pool_window


def _node(kind: str, name: str = "n", **fields: object) -> Node:
    return Node((name,), kind, Provenance("net.nir", f"/node/nodes/{name}"), {k: np.asarray(v) for k, v in fields.items()})


def _inferred(*nodes: Node, edges: list[tuple[str, str]], ports: dict[str, Port] | None = None) -> tuple[Graph, Findings]:
    graph, findings = Graph({node.key: node for node in nodes}, [((a,), (b,)) for a, b in edges]), Findings()
    graph.ports = {(name,): port for name, port in (ports or {}).items()}
    Shapes(graph, findings).infer()
    return graph, findings


def test_leading_ones_of_a_weight_carry_nothing_and_others_are_blocks() -> None:
    assert [matrix_of(np.zeros(s)).shape for s in ((3, 2), (1, 1, 3, 2), (4, 3, 2), (1, 4, 3, 2), (1, 2))] == [
        (3, 2),
        (3, 2),
        (4, 3, 2),
        (4, 3, 2),
        (1, 2),
    ]


def test_pairs() -> None:
    assert pair_of(None, 7) == (7, 7)
    assert pair_of(np.array(3), 7) == (3, 3)
    assert pair_of(np.array([3, 4]), 7) == (3, 4)


def test_a_pool_without_stride_steps_by_its_window() -> None:
    assert pool_window(_node("SumPool2d", kernel_size=[2, 3])) == ((2, 3), (2, 3), (0, 0))
    assert pool_window(_node("SumPool2d", kernel_size=2, stride=[1, 2], padding=1)) == ((2, 2), (1, 2), (1, 1))


def test_a_line_is_an_image_of_height_one() -> None:
    node = _node("Conv1d", weight=np.ones((4, 2, 3)), stride=2, padding=1, dilation=2)
    conv = conv_of(node, (2, 9))
    assert plane_of(node, (2, 9)) == (2, 1, 9)
    assert (conv.weights.shape, conv.stride, conv.padding, conv.dilation) == ((4, 2, 1, 3), (1, 2), (0, 1), (1, 2))
    assert conv.out_shape == (4, 1, 4)


@pytest.mark.parametrize(
    ("values", "shape", "fits"),
    [
        ((), (2, 3), True),
        ((1,), (2, 3), True),
        ((2, 1), (2, 3), True),
        ((2, 3), (1, 2, 3), True),
        ((3,), (2, 3), False),
        ((3, 2), (2, 3), False),
    ],
)
def test_parameters_that_fit_a_layer(values: tuple[int, ...], shape: tuple[int, ...], fits: bool) -> None:
    array = np.arange(1.0, 1 + int(np.prod(values))).reshape(values)
    assert fits_layer(array, shape) == fits
    if fits:
        assert at_shape(array, shape).shape == shape


def test_core_shapes() -> None:
    assert [core_shape(s) for s in ((1, 1, 3), (1, 3, 1), (1,), (1, 1), ())] == [(3,), (3, 1), (1,), (1,), ()]


@pytest.mark.parametrize(
    ("start", "end", "shape"), [(0, -1, (24,)), (1, -1, (2, 12)), (0, 1, (6, 4)), (-2, -1, (2, 12)), (2, -1, (2, 3, 4))]
)
def test_flatten(start: int, end: int, shape: tuple[int, ...]) -> None:
    nodes = [_node("Input", "a", shape=[2, 3, 4]), _node("Flatten", "f", start_dim=start, end_dim=end), _node("Output", "o", shape=shape)]
    graph, findings = _inferred(*nodes, edges=[("a", "f"), ("f", "o")])
    assert graph.nodes[("f",)].shape_out == shape
    assert not len(findings)


def test_flatten_starts_at_the_second_dimension_where_it_does_not_say() -> None:
    graph, _ = _inferred(_node("Input", "a", shape=[2, 3, 4]), _node("Flatten", "f"), _node("Output", "o"), edges=[("a", "f"), ("f", "o")])
    assert graph.nodes[("f",)].shape_out == (2, 12)


def test_a_flatten_tells_the_shape_that_nothing_else_tells() -> None:
    nodes = [_node("Input", "a"), _node("Flatten", "f", start_dim=0, input_type=[2, 3]), _node("Output", "o")]
    graph, findings = _inferred(*nodes, edges=[("a", "f"), ("f", "o")])
    assert not len(findings)
    assert graph.nodes[("a",)].shape_out == (2, 3)


@pytest.mark.parametrize("kind", ["Scale", "Delay"])
def test_elementwise_nodes_take_the_arriving_shape(kind: str) -> None:
    entry = "scale" if kind == "Scale" else "delay"
    for values in (2.0, [2.0], np.ones((2, 1)), np.ones((1, 2, 3))):
        nodes = [_node("Input", "a", shape=[2, 3]), _node(kind, "s", **{entry: values}), _node("Output", "o", shape=[2, 3])]
        graph, findings = _inferred(*nodes, edges=[("a", "s"), ("s", "o")])
        assert graph.nodes[("s",)].shape_out == (2, 3)
        assert not len(findings)


def test_only_the_first_dimension_of_an_image_is_taken_as_a_batch() -> None:
    conv = _node("Conv2d", "c", weight=np.ones((1, 2, 1, 1)), stride=1, padding=0)
    graph, findings = _inferred(_node("Input", "a", shape=[5, 2, 4, 4]), conv, _node("Output", "o"), edges=[("a", "c"), ("c", "o")])
    assert graph.nodes[("a",)].shape_out == (2, 4, 4)
    assert not len(findings)
    matrix = _node("Linear", "w", weight=np.ones((3, 2)))
    _, findings = _inferred(_node("Input", "a", shape=[5, 2]), matrix, _node("Output", "o"), edges=[("a", "w"), ("w", "o")])
    assert [d.code for d in findings] == ["NM106"]


def test_ports_of_nested_graphs_are_compared_with_what_passes() -> None:
    nodes = [_node("Input", "a", shape=[3]), _node("IF", "n", r=np.ones(3), v_threshold=np.ones(3)), _node("Output", "o", shape=[3])]
    ports = {
        "wrong": Port(_node("Input", "wrong", shape=[2]), (("through",),), (("n",),)),
        "through": Port(_node("Input", "through", shape=[3]), (("a",),), (("wrong",),)),
    }
    graph, findings = _inferred(*nodes, edges=[("a", "n"), ("n", "o")], ports=ports)
    assert not len(findings)
    assert graph.notes == ["port `wrong` declares (2,), but what is connected to it has shape (3,): read as that"]
