"""The rules of a plan, checked on programs: what is planned passes, and every change that breaks a rule is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Findings
from nmap.mapping import Mapping, Shard
from nmap.partition.problem import PackingSolution
from nmap.place.problem import PlacementSolution
from nmap.program import ConvTile, Program
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import Machine, build_machine
from nmap.verify.mapping import verify_mapping
from nmap_akida import TARGET
from nmap_akida.audit import audit
from nmap_akida.demand import demand
from nmap_akida.form import Form
from nmap_akida.layers import layers_of
from nmap_akida.measure import measure
from nmap_akida.plan import layer_sizes
from tests.akida_chains import Chain, arranged, programmed, tampered
from tests.akida_networks import IMAGES, KINDS, LINES, with_layer


def _conv() -> Chain:
    return Chain(3, 12, 16).conv("image", 8, form=Form.IMAGE).conv("c", 6).pool("p").conv("d", 4).dense("fc", 10)


def _dense() -> Chain:
    return Chain(1958).dense("a", 100).dense("b", 900).dense("c", 10)


def _placed(network: QuantizedNetwork, parts: list[tuple[str, Any, int]], variant: str = "AKD1000") -> tuple[Program, Machine]:
    """Return the program of parts (population, slice, number of the core), whatever the rules say."""
    machine = build_machine(TARGET.spec, variant)
    numbers = sorted({core for _, _, core in parts})
    order = [p.name for p in network.populations]
    shards = tuple(sorted(
        (Shard(name, part, numbers.index(core), demand(network, name, part)) for name, part, core in parts),
        key=lambda shard: order.index(shard.population),
    ))
    by_number = {core.core: core for core in machine.cores}
    mapping = Mapping(
        machine, shards, tuple(by_number[core] for core in numbers), PackingSolution((), len(numbers), 1, "feasible"),
        PlacementSolution(np.zeros(len(numbers), np.int64), 0.0, 0.0, "feasible", 0), False,
    )
    return build_program(network, "akida", mapping), machine


def _told(program: Program, machine: Machine) -> str:
    found = audit(program, machine)
    assert all(d.code == "NM702" and d.severity == "error" for d in found)
    return "\n".join(f"{d.data['kind']}: {d.message}" for d in found)


@pytest.mark.parametrize("variant", ["AKD1000", "AKD1500"])
@pytest.mark.parametrize("chain", [
    _conv(), _dense(), Chain(3, 4, 34).conv("c", 510).pool("p").conv("d", 4).dense("fc", 10),
    Chain(4, 9, 9).conv("s", 12, form=Form.SEPARABLE).over_image("g", 5).dense("fc", 3),
], ids=["image", "dense", "tiles", "separable"])
def test_plans_are_sound(chain: Chain, variant: str) -> None:
    program, machine = programmed(chain.network(), variant)
    assert audit(program, machine) == ()
    assert verify_mapping(program, TARGET, machine) == ()


@pytest.mark.parametrize("kind", [*KINDS, *LINES, *IMAGES])
def test_quantized_networks_of_every_kind_are_planned_soundly(kind: str) -> None:
    case = with_layer(kind, 3)
    findings = Findings()
    network = TARGET.quantize(case.network, case.options, findings)
    findings.raise_errors()
    sizes, _ = layer_sizes(network)
    assert [(size.name, size.weight_bytes(size.filters)) for size in sizes] == [
        (layer.name, layer.weight_bytes) for layer in layers_of(network)
    ]
    for variant in ("AKD1000", "AKD1500"):
        mapping, machine = arranged(network, variant)
        program = build_program(network, "akida", mapping)
        assert list(measure(program)) == mapping.used()
        assert audit(program, machine) == ()
        assert verify_mapping(program, TARGET, machine) == ()


def test_plans_of_several_passes_are_sound() -> None:
    chain = Chain(300)
    for k in range(40):
        chain.dense(f"fc{k}", 300)
    program, machine = programmed(chain.network(), "AKD1500")
    assert max(core.core for core in program.cores) >= 33
    assert audit(program, machine) == ()


@pytest.mark.parametrize(("settings", "told"), [
    ({"mode": 3}, "what an inference stands for"), ({"mode": 2}, "how many steps"), ({"c.form": 9}, "how `c` is computed"),
])
def test_settings_must_be_known(settings: dict[str, int], told: str) -> None:
    program, machine = programmed(_conv().network())
    assert told in _told(tampered(program, **settings), machine)


def _core_of(program: Program, name: str) -> int:
    index = next(k for k, p in enumerate(program.populations) if p.name == name)
    return next(group.core for group in program.groups if group.population == index)


def _moved(program: Program, name: str, number: int) -> Program:
    """Return a program in which the first part of a population, and what lies beside it, is on another core."""
    cores = list(program.cores)
    at = _core_of(program, name)
    cores[at] = replace(cores[at], core=number)
    return replace(program, cores=tuple(cores))


def _block(program: Program, name: str, change: Callable[[Any], Any]) -> Program:
    index = next(k for k, p in enumerate(program.populations) if p.name == name)
    blocks = [change(b) if program.groups[b.group].population == index else b for b in program.blocks]
    return replace(program, blocks=tuple(blocks))


def test_an_image_lies_on_the_input_unit_and_nothing_else_does() -> None:
    program, machine = programmed(_conv().network())
    assert "unit: `image` lies on core 3, which is an NP for convolutions" in _told(_moved(program, "image", 3), machine)
    swapped = _moved(_moved(program, "image", 3), "c", 78)
    text = _told(swapped, machine)
    assert "`c` lies on core 78, which is an input convolution unit (HRC)" in text
    assert verify_mapping(swapped, TARGET, machine) != ()


def test_an_image_is_the_first_layer_and_whole() -> None:
    network = Chain(3, 12, 16).conv("image", 8, form=Form.IMAGE).dense("fc", 10).network()
    halves = [("image", ((0, 4), (0, 12), (0, 16)), 78), ("image", ((4, 8), (0, 12), (0, 16)), 0), ("fc", ((0, 10),), 74)]
    assert "only the first layer can be" in _told(*_placed(network, halves))
    late = Chain(3, 12, 16).conv("c", 3).conv("image", 8, form=Form.IMAGE).dense("fc", 10).network()
    parts = [("c", ((0, 3), (0, 12), (0, 16)), 0), ("image", ((0, 8), (0, 12), (0, 16)), 78), ("fc", ((0, 10),), 74)]
    assert "`image` is the convolution of an image: only the first layer" in _told(*_placed(late, parts))


def test_a_core_computes_one_layer() -> None:
    network = Chain(20).dense("a", 8).dense("b", 8).network()
    program, machine = _placed(network, [("a", ((0, 8),), 0), ("b", ((0, 8),), 0)])
    assert "core 0 computes parts of 2 layers: `a`, `b`" in _told(program, machine)
    assert verify_mapping(program, TARGET, machine) != ()


def test_two_parts_of_a_layer_on_a_core_break_its_budget() -> None:
    program, machine = _placed(Chain(20).dense("a", 8).network(), [("a", ((0, 4),), 0), ("a", ((4, 8),), 0)])
    assert any("layers" in d.message for d in verify_mapping(program, TARGET, machine))


def test_what_is_pooled_lies_beside_its_layer() -> None:
    network = Chain(3, 12, 16).conv("c", 6).pool("p").conv("d", 4).network()
    c, d = ((0, 6), (0, 12), (0, 16)), ((0, 4), (0, 6), (0, 8))
    p = ((0, 6), (0, 6), (0, 8))
    good, machine = _placed(network, [("c", c, 0), ("p", p, 0), ("d", d, 1)])
    assert audit(good, machine) == ()
    apart = _told(*_placed(network, [("c", c, 0), ("p", p, 1), ("d", d, 2)]))
    assert "`p` is pooled by the layer of `c`, and does not lie beside it" in apart
    tiles = [((0, 6), (0, 6), (0, 16)), ((0, 6), (6, 12), (0, 16))]
    halves = [((0, 6), (0, 3), (0, 8)), ((0, 6), (3, 6), (0, 8))]
    fine = [("c", tiles[0], 0), ("c", tiles[1], 1), ("p", halves[0], 0), ("p", halves[1], 1), ("d", d, 2)]
    assert audit(*_placed(network, fine)) == ()
    crossed = [("c", tiles[0], 0), ("c", tiles[1], 1), ("p", halves[0], 1), ("p", halves[1], 0), ("d", d, 2)]
    assert "part by part" in _told(*_placed(network, crossed))
    odd = [("c", ((0, 6), (0, 5), (0, 16)), 0), ("c", ((0, 6), (5, 12), (0, 16)), 1), ("p", p, 0), ("d", d, 2)]
    assert "even rows and columns" in _told(*_placed(network, odd))


def test_what_is_pooled_comes_between_convolutions() -> None:
    network = Chain(3, 12, 16).conv("c", 6).pool("p").dense("fc", 4).network()
    program, machine = programmed(network)
    assert "`p` is pooled, and no convolution follows it" in _told(program, machine)
    first = Chain(3, 12, 16).pool("p").conv("d", 4).network()
    program, machine = _placed(first, [("p", ((0, 3), (0, 6), (0, 8)), 0), ("d", ((0, 4), (0, 6), (0, 8)), 1)])
    assert "`p` is pooled, and what comes before it is no convolution" in _told(program, machine)


def test_a_chain_has_one_listener_each() -> None:
    program, machine = programmed(_dense().network())
    late = list(program.populations)
    late[2] = replace(late[2], latency=3)
    assert "chain: `b` is 3 steps behind the input at place 2" in _told(replace(program, populations=tuple(late)), machine)
    # In a network with delays all its time may be late, and no population behind is less so than one before it.
    for latencies in ((0, 0, 1, 2), (0, 0, 0, 0), (0, 1, 2, 2), (0, 0, 2, 3), (0, 1, 1, 3)):
        sound = latencies not in ((0, 0, 2, 3), (0, 1, 1, 3))
        shifted = tuple(replace(p, latency=t) for p, t in zip(program.populations, latencies, strict=True))
        assert (audit(replace(program, populations=shifted), machine) == ()) == sound
    ends = list(program.populations)
    ends[1] = replace(ends[1], is_output=True)
    assert "chain: `a` is an output" in _told(replace(program, populations=tuple(ends)), machine)
    delayed = _block(program, "b", lambda b: replace(b, delay=1))
    assert "a connection onto `b` has delays" in _told(delayed, machine)
    port = list(program.populations)
    port[0] = replace(port[0], is_input=False)
    assert "how `in` is computed" in _told(replace(program, populations=tuple(port)), machine)


def test_branches_are_found_in_the_routes() -> None:
    program, machine = programmed(Chain(8).dense("a", 8).dense("b", 8).dense("c", 8).network())
    routes = list(program.routes)
    # What `a` sends goes to where `c` listens, too.
    routes[0], routes[1] = replace(routes[1]), replace(routes[0])
    text = _told(replace(program, routes=tuple(routes)), machine)
    assert "chain: `a` is heard by `c`; in a chain the next one does, alone" in text
    assert "chain: `b` is heard by `b`" in text
    silent = replace(routes[0], indptr=np.zeros(9, np.int64), core=np.zeros(0, np.int32), axon=np.zeros(0, np.int32))
    assert "`a` is heard by nobody" in _told(replace(program, routes=(silent, *program.routes[1:])), machine)


def test_a_large_dense_layer_is_whole_on_an_fnp2() -> None:
    network = Chain(1958).dense("a", 100).network()
    assert audit(*_placed(network, [("a", ((0, 100),), 74)])) == ()
    program, machine = _placed(network, [("a", ((0, 60),), 74), ("a", ((60, 100),), 0)])
    assert "part: a part of `a` takes 58740 bytes of weights on an NP for convolutions, which has 44800" in _told(program, machine)
    # On an FNP3 or a plain NP it is over the budget.
    for core in (0, 60):
        assert any("weight memory" in d.message for d in verify_mapping(*_checked(network, core)))


def _checked(network: QuantizedNetwork, core: int) -> tuple[Program, Any, Machine]:
    program, machine = _placed(network, [("a", ((0, 100),), core)])
    return program, TARGET, machine


def test_a_convolution_on_an_fnp2_keeps_its_weights_inside() -> None:
    network = Chain(512, 6, 6).conv("c", 40).network()
    program, machine = _placed(network, [("c", ((0, 40), (0, 6), (0, 6)), 74)])
    assert "takes 92160 bytes of weights on an NP for convolutions" in _told(program, machine)


def test_a_dense_layer_as_convolution_has_limits() -> None:
    wide = Chain(2049).dense("a", 30).network()
    assert "2049 channels; the most is 2048" in _told(*_placed(wide, [("a", ((0, 15),), 0), ("a", ((15, 30),), 1)]))
    many = Chain(8).dense("a", 2050).network()
    text = _told(*_placed(many, [("a", ((0, 1025),), 0), ("a", ((1025, 2050),), 1)]))
    assert "2050 filters; the most is 2048" in text
    assert "1025 filters on one NP; the most is 504" in text
    over = Chain(2, 6, 6).conv("c", 4).dense("a", 20).network()
    parts = [("c", ((0, 4), (0, 6), (0, 6)), 0), ("a", ((0, 10),), 1), ("a", ((10, 20),), 2)]
    assert "`a` hears an image" in _told(*_placed(over, parts))
    assert audit(*_placed(over, [parts[0], ("a", ((0, 20),), 60)])) == ()


def test_a_fully_connected_layer_has_a_limit_of_inputs() -> None:
    network = Chain(57335).dense("a", 2).network()
    assert "fully connected layer of 57335 inputs; an FNP takes 57334" in _told(*_placed(network, [("a", ((0, 2),), 74)]))


def test_tiles_and_filters_have_limits() -> None:
    network = Chain(2, 257, 33).conv("c", 2).network()
    text = _told(*_placed(network, [("c", ((0, 2), (0, 257), (0, 33)), 0)]))
    for words in ("given 257 rows of its image; the most is 256", "given 33 columns"):
        assert words in text
    many = Chain(2, 3, 3).conv("c", 505).network()
    assert "505 filters on one NP; the most is 504" in _told(*_placed(many, [("c", ((0, 505), (0, 3), (0, 3)), 0)]))
    assert audit(*_placed(many, [("c", ((0, 505), (0, 3), (0, 3)), 0)], "AKD1500")) == ()
    # A tile stands for as many columns of the image as strides: 17 of 33.
    conv = Conv2d(np.ones((4, 2, 3, 3), np.int32), (2, 9, 65), (2, 2), (1, 1))
    strided = Chain(2, 9, 65).add("c", Form.CONV, conv, conv.out_shape).network()
    text = _told(*_placed(strided, [("c", ((0, 4), (0, 5), (0, 16)), 0), ("c", ((0, 4), (0, 5), (16, 33)), 1)]))
    assert "given 33 columns of its image; the most is 32" in text
    single = Chain(1, 6, 6).conv("c", 24).network()
    assert "24 filters of one channel on one NP, 3 times 8" in _told(*_placed(single, [("c", ((0, 24), (0, 6), (0, 6)), 0)]))
    assert audit(*_placed(single, [("c", ((0, 24), (0, 6), (0, 6)), 0)], "AKD1500")) == ()


def test_a_sum_over_a_wide_image_is_not_held() -> None:
    network = Chain(2, 3, 40).over_image("g", 4).network()
    assert "given 40 columns of its image; the most is 32" in _told(*_placed(network, [("g", ((0, 4), (0, 1), (0, 1)), 0)]))


def test_weights_have_the_bits_of_their_form() -> None:
    program, machine = programmed(_conv().network())
    assert "`c` has weights of 3 bits; its form takes 1, 2, 4" in _told(_block(program, "c", lambda b: replace(b, bits=3)), machine)
    assert "`image` has weights of 4 bits; its form takes 8" in _told(_block(program, "image", lambda b: replace(b, bits=4)), machine)
    low = _block(program, "fc", lambda b: replace(b, synapses=Dense(b.synapses.weights - 9)))
    assert "`fc` has weights -8..-8 of 4 bits, outside -7..7" in _told(low, machine)
    binary, machine = programmed(Chain(8, bits=1).dense("a", 4).network())
    assert "`a` has weights -1..-1 of 1 bits, outside 0..1" in _told(
        _block(binary, "a", lambda b: replace(b, synapses=Dense(-b.synapses.weights))), machine,
    )
    separable, machine = programmed(Chain(4, 9, 9).conv("s", 4, form=Form.SEPARABLE).dense("fc", 3).network())
    assert "its form takes 2, 4" in _told(_block(separable, "s", lambda b: replace(b, bits=1)), machine)


def test_connections_have_their_form() -> None:
    program, machine = programmed(_conv().network())
    assert "does not have the connection of its form, dense" in _told(tampered(program, **{"c.form": int(Form.DENSE)}), machine)
    assert "does not have the connection of its form, conv" in _told(tampered(program, **{"fc.form": int(Form.CONV)}), machine)


@pytest.mark.parametrize("layer", ["image", "c", "d"])
def test_a_sum_over_the_image_that_is_none_is_told(layer: str) -> None:
    program, machine = programmed(_conv().network())
    changed = replace(program, settings={**program.settings, f"{layer}.global": 1})
    told = _told(changed, machine)
    assert f"part: the connection of `{layer}` is no" in told
    assert "summed over its image" in told
    # What is no layer is counted, not stopped at.
    verify_mapping(changed, TARGET, machine)


def test_passes_are_in_order() -> None:
    network = Chain(20).dense("a", 8).dense("b", 8).dense("c", 8).network()
    a, b, c = ((name, ((0, 8),), 24) for name in "abc")
    later = 33
    assert audit(*_placed(network, [a, (*b[:2], 25), (*c[:2], 24 + later)], "AKD1500")) == ()
    back = _told(*_placed(network, [(*a[:2], 24 + later), b, (*c[:2], 25)], "AKD1500"))
    assert "pass: `b` is computed in pass 0, behind a layer of pass 1" in back
    far = _told(*_placed(network, [a, (*b[:2], 24 + 2 * later), (*c[:2], 25 + 2 * later)], "AKD1500"))
    assert "pass: `b` is computed in pass 2, behind a layer of pass 0" in far
    split = _told(*_placed(network, [a, ("b", ((0, 4),), 0), ("b", ((4, 8),), later), (*c[:2], 24 + later)], "AKD1500"))
    assert "pass: `b` is computed in passes 0, 1" in split


def test_many_problems_are_counted() -> None:
    chain = Chain(20)
    for k in range(14):
        chain.dense(f"fc{k}", 20)
    program, machine = programmed(chain.network())
    late = tuple(replace(p, latency=p.latency + 1) for p in program.populations)
    found = audit(replace(program, populations=late), machine)
    assert len(found) == 11
    assert found[-1].message == "and 5 more problems of this kind: chain"
    assert found[-1].data == {"kind": "chain", "count": 15}


def test_tiles_of_programs_are_tiles() -> None:
    """The chains above have the connections that their tests mean."""
    program, _ = programmed(_conv().network())
    assert sum(isinstance(block.synapses, ConvTile) for block in program.blocks) == 4
