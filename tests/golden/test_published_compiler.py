"""Core counts of Intel's published compiler outputs: reproduced when asked to cut its way, and beaten by nmap's own.

Source of the published numbers: tables stored in lava-dl's netx notebooks (tutorials/lava/lib/dl/netx/*), layers from input to output.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from nmap.diagnostics import Findings, NmapError
from nmap.flow import check
from nmap.options import Options
from nmap.partition import pack_network
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner, find_target
from tests.golden.published import fewest_bits, from_file, mnist, yolo_kp
from tests.support import shared_data

TARGET = find_target("loihi2")
BOARD = build_machine(TARGET.spec, "kapoho-point")


def lava_dl(name, skip=0):
    return from_file(shared_data() / "lava_dl" / name, skip)


NETWORKS = {
    "oxford": (lambda: lava_dl("oxford.net"), [3, 2]),
    "pilotnet_lif": (lambda: lava_dl("pilotnet_lif.net"), [13, 25, 13, 3, 3, 2, 12, 1, 1, 1]),
    "pilotnet_sdnn": (lambda: lava_dl("pilotnet_sdnn.net", skip=1), [25, 13, 3, 3, 2, 12, 1, 1, 1]),
    "mnist": (mnist, [3, 1, 1]),
    "yolo_kp": (yolo_kp, [224, 112, 56, 28, 56, 16, 32, 14, 32, 4]),
}
TOTALS = {"oxford": 5, "pilotnet_lif": 74, "pilotnet_sdnn": 61, "mnist": 5, "yolo_kp": 574}


def pack(network, partitioner, machine=BOARD, effort=0):
    return pack_network(network, TARGET, machine, find_partitioner(partitioner), Options(effort=effort, slack=0.0))


def by_layer(packed, network):
    shards = Counter(shard.population for shard in packed.shards)
    return [shards[p.name] for p in network.populations if p.kernel is not None]


@pytest.mark.parametrize("name", NETWORKS)
def test_published_counts_are_reproduced_layer_by_layer(name):
    network = NETWORKS[name][0]()
    packed = pack(network, "loihi-reference")
    assert by_layer(packed, network) == NETWORKS[name][1]
    assert packed.packing.clusters == TOTALS[name]
    cores = Counter(shard.cluster for shard in packed.shards)
    assert set(cores.values()) == {1}, "two objects never share a core"


# Partitioner, effort and the cores it takes at slack 0; the solver's on the larger ones are in docs/mapping.md.
OURS = {
    "oxford": ("cpsat", 1, 3), "pilotnet_lif": ("greedy", 0, 43), "pilotnet_sdnn": ("greedy", 0, 33), "mnist": ("cpsat", 1, 3),
    "yolo_kp": ("greedy", 0, 494),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_ours_are_fewer(name):
    network, (partitioner, effort, cores) = NETWORKS[name][0](), OURS[name]
    packing = pack(network, partitioner, effort=effort).packing
    assert packing.clusters <= cores < TOTALS[name]
    # What is proved of the network does not depend on how it was cut.
    reference = pack(network, "loihi-reference").packing
    assert reference.lower_bound <= packing.clusters
    assert (reference.status, packing.lower_bound <= packing.clusters) == ("feasible", True)


def narrowed(network: QuantizedNetwork) -> QuantizedNetwork:
    """Return the network with weights stored in as few bits as hold them, as netx stores them."""
    projections = tuple(
        replace(p, format=replace(p.format, bits=fewest_bits(p.connectivity.weights))) if p.format.sign == "mixed" else p
        for p in network.projections
    )
    return replace(network, projections=projections)


@pytest.mark.parametrize(("name", "cores"), [("oxford", 5), ("pilotnet_lif", 74), ("pilotnet_sdnn", 13 + 61)])
def test_files_as_nmap_stores_them_are_cut_alike(name, cores):
    """Zeros that nmap drops count, as the published compiler stores them; the file of the SDNN has an input layer, too."""
    network = read(shared_data() / "lava_dl" / f"{name}.net")
    quantized = narrowed(TARGET.quantize(network, Options(), Findings()))
    assert pack(quantized, "loihi-reference").packing.clusters == cores


def test_check_takes_the_published_way():
    (outcome,) = check(
        shared_data() / "lava_dl" / "oxford.net", targets=["loihi2"], options=Options(partitioner="loihi-reference", effort=0)
    )
    assert outcome.status == "ok"
    assert outcome.mapping.packing.clusters == 5
    assert (outcome.mapping.packing.lower_bound, outcome.mapping.packing.status) == (3, "feasible")


def test_a_machine_too_small_is_told_apart_from_a_way_too_wasteful():
    """YOLO-KP's 2 016 448 neurons need 493 cores of 4095 at least, which one chip has not; Oxford fits three cores, but not this way."""
    with pytest.raises(NmapError) as error:
        pack(yolo_kp(), "loihi-reference", build_machine(TARGET.spec, "oheo-gulch"))
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, diagnostic.data["lower_bound"], diagnostic.data["enough"]) == ("NM402", 493, 574)
    small = build_machine(TARGET.spec, "oheo-gulch", dead=[(0, k) for k in range(4, 128)])
    with pytest.raises(NmapError) as error:
        pack(lava_dl("oxford.net"), "loihi-reference", small)
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, diagnostic.data) == ("NM501", {"available": 4, "lower_bound": 3, "found": 5})


def test_dead_cores_are_left_out():
    machine = build_machine(TARGET.spec, "oheo-gulch", dead=[(0, k) for k in range(100)])
    assert pack(lava_dl("oxford.net"), "loihi-reference", machine).packing.clusters == 5
