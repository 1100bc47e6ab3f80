"""Chains of Akida layers in whole numbers, made directly: for what planning and checking see, no quantization is needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nmap.compile import build_program
from nmap.connectivity import Connectivity, Conv2d, Dense
from nmap.mapping import Mapping
from nmap.network import Provenance
from nmap.options import Options
from nmap.partition.partitioner import Budget
from nmap.place.problem import PlacementSolution
from nmap.program import Program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine, build_machine
from nmap_akida import TARGET
from nmap_akida.form import Form

WHERE = Provenance("chain.nir", "/nodes")


class Chain:
    """Layers one behind the other; every weight is 1."""

    def __init__(self, *shape: int, bits: int = 4, input_bits: int = 1) -> None:
        self.bits, self.input_bits = bits, input_bits
        self.populations = [QuantizedPopulation("in", shape, None, {}, WHERE)]
        self.projections: list[QuantizedProjection] = []
        self.settings = {"mode": 1}

    def add(self, name: str, form: Form, connectivity: Connectivity, shape: tuple[int, ...], bits: int | None = None) -> Chain:
        source = self.populations[-1]
        width = 8 if form is Form.IMAGE else self.input_bits
        style = SynapseFormat(bits or (8 if form is Form.IMAGE else self.bits), message_bits=0 if width == 1 else width + 1)
        self.projections.append(QuantizedProjection(f"to {name}", source.name, name, connectivity, style, 0, WHERE))
        n = int(np.prod(shape))
        self.populations.append(
            QuantizedPopulation(name, shape, "akida.binary", {"threshold": np.zeros(n)}, WHERE, latency=len(self.populations))
        )
        self.settings[f"{name}.form"] = int(form)
        self.input_bits = 1
        return self

    def dense(self, name: str, outputs: int, bits: int | None = None) -> Chain:
        return self.add(name, Form.DENSE, Dense(np.ones((outputs, self.populations[-1].size), np.int32)), (outputs,), bits)

    def conv(self, name: str, filters: int, size: int = 3, stride: int = 1, form: Form = Form.CONV, bits: int | None = None) -> Chain:
        shape = self.populations[-1].shape
        conv = Conv2d(np.ones((filters, shape[0], size, size), np.int32), shape, (stride, stride), (size // 2, size // 2))
        return self.add(name, form, conv, conv.out_shape, bits)

    def pool(self, name: str) -> Chain:
        shape = self.populations[-1].shape
        conv = Conv2d(np.ones((shape[0], 1, 2, 2), np.int32), shape, (2, 2), groups=shape[0])
        return self.add(name, Form.POOLED, conv, conv.out_shape, 1)

    def over_image(self, name: str, filters: int) -> Chain:
        """A convolution with a kernel of 1, summed over the image."""
        shape = self.populations[-1].shape
        conv = Conv2d(np.ones((filters, *shape), np.int32), shape)
        self.settings[f"{name}.global"] = 1
        return self.add(name, Form.CONV, conv, conv.out_shape)

    def network(self) -> QuantizedNetwork:
        return QuantizedNetwork(
            tuple(self.populations), tuple(self.projections), ("in",), (self.populations[-1].name,), (), dict(self.settings),
        )


def arranged(network: QuantizedNetwork, variant: str = "AKD1000", dead: tuple[int, ...] = ()) -> tuple[Mapping, Machine]:
    """Return the mapping of a network, as nmap's flow makes it from what the target arranges."""
    machine = build_machine(TARGET.spec, variant, dead=[(0, core) for core in dead])
    packed = TARGET.arrange(network, machine, Options(), Budget())
    assert packed.slot is not None
    cores = tuple(machine.cores[slot] for slot in packed.slot.tolist())
    placement = PlacementSolution(packed.slot, 0.0, 0.0, "optimal", 0)
    return Mapping(machine, packed.shards, cores, packed.packing, placement, False), machine


def programmed(network: QuantizedNetwork, variant: str = "AKD1000") -> tuple[Program, Machine]:
    """Return the program of a network."""
    mapping, machine = arranged(network, variant)
    return build_program(network, "akida", mapping), machine


def tampered(program: Program, **settings: int) -> Program:
    """Return a program with other settings."""
    return replace(program, settings={**program.settings, **settings})
