"""Peer `lava`: Lava's fixed-point process models on the CPU, the oracle of every spike.

The first step builds and starts the processes and does not count. Only the last population's spikes are collected in the timed run; a
second run, which is not timed, collects those of all populations. Lava waits for ever when a process of it dies: run this with a time
limit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from emulator_networks import Net, digest, fan_out, folded, load
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF
from lava.proc.sparse.process import Sparse
from scipy.sparse import csr_matrix


class Sink(AbstractProcess):
    """Takes spikes and, when step `last` is over, writes which neurons spiked when to a file: Lava hands over memory number by number."""

    def __init__(self, size: int, last: int, path: str | None) -> None:
        super().__init__(size=size, last=last, path=path)
        self.a_in = InPort(shape=(size,))


@implements(proc=Sink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SinkModel(PyLoihiProcessModel):
    """What a `Sink` does."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """Take the spikes of one step."""
        spikes = np.flatnonzero(self.a_in.recv())
        if self.proc_params["path"] is None:
            return
        if self.time_step == 1:
            self.events = []
        self.events.append((np.full(spikes.size, self.time_step - 1), spikes))
        if self.time_step == self.proc_params["last"]:
            np.save(self.proc_params["path"], np.concatenate(self.events, axis=1))


def build(net: Net, steps: int, collected: dict[str, str | None], unroll: bool) -> tuple[dict[str, LIF], list[Sink]]:
    """Connect everything, with a sink for each population in `collected`, by the file it writes; return neurons by population, and sinks.

    Args:
        unroll: list a convolution's synapses for Lava's Sparse, which may be faster than its Conv.
    """
    senders, neurons = {}, {}
    for cells in net.cells:
        if cells.vth is None:
            raster = np.ascontiguousarray(net.rasters[0, :steps].T, np.int32)
            senders[cells.name] = Source(data=raster).s_out
        else:
            neurons[cells.name] = LIF(
                shape=(cells.size,), du=cells.du, dv=cells.dv, vth=cells.vth, bias_mant=np.asarray(cells.bias_mant),
                bias_exp=cells.bias_exp, v=np.broadcast_to(np.asarray(cells.start), (cells.size,)).copy(),
            )
            senders[cells.name] = neurons[cells.name].s_out
    for link in net.links:
        whole, receiver = folded(net, link), neurons[link.target].a_in
        weights = np.asarray(whole.weights, np.int32)
        if whole.kind == "conv" and not unroll:
            channels, height, width = net[link.source].shape
            # Its weights are taken as they are, without an exponent.
            kernel = np.rint(weights * 2.0**link.exponent).astype(np.int32)
            # Lava's axes are (width, height, channel), and its kernels are flipped; populations count channel by channel and row by row.
            process = Conv(
                weight=np.ascontiguousarray(kernel[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)), input_shape=(width, height, channels),
                stride=whole.stride[::-1], padding=whole.padding[::-1], groups=whole.groups,
            )
            senders[link.source].reshape((channels, height, width)).transpose((2, 1, 0)).connect(process.s_in)
            process.a_out.transpose((2, 1, 0)).flatten().connect(receiver)
            continue
        if whole.kind == "dense":
            process = Dense(weights=weights, weight_exp=link.exponent)
        else:
            shape = (net[link.target].size, net[link.source].size)
            if whole.kind == "conv":
                pointer, targets, values = fan_out(net, link)
                listed = csr_matrix((values.astype(np.int32), targets, pointer), shape=shape[::-1]).T.tocsr()
            else:
                listed = csr_matrix((weights, np.asarray(whole.indices), np.asarray(whole.indptr)), shape=shape)
            process = Sparse(weights=listed, weight_exp=link.exponent)
        senders[link.source].connect(process.s_in)
        process.a_out.connect(receiver)
    sinks = []
    for name, path in collected.items():
        sinks.append(Sink(net.sizes[name], steps, path))
        neurons[name].s_out.connect(sinks[-1].a_in)
    return neurons, sinks


def run(net: Net, steps: int, collected: dict[str, str | None], stretches: int, unroll: bool) -> list[float]:
    """Run step by step; return milliseconds per step of each of the stretches that the steps but for the first are cut into."""
    neurons, sinks = build(net, steps, collected, unroll)
    last = neurons[net.cells[-1].name]
    # Named here, because Lava looks for a model by importing every module beside this one.
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=dict.fromkeys(sinks, SinkModel))
    last.run(condition=RunSteps(num_steps=1), run_cfg=config)
    edges = np.linspace(1, steps, stretches + 1).astype(int)
    taken = []
    for count in np.diff(edges).tolist():
        begin = time.perf_counter()
        last.run(condition=RunSteps(num_steps=count), run_cfg=config)
        taken.append(1e3 * (time.perf_counter() - begin) / count)
    last.stop()
    return taken


def main() -> None:
    """Time, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--unroll", action="store_true", help="list the synapses of convolutions")
    args = parser.parse_args()
    net = load(args.folder)
    steps = net.steps if args.steps is None else min(args.steps, net.steps)
    timed = run(net, steps, {net.cells[-1].name: None}, args.repeat, args.unroll)
    digests, counts = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        files = {c.name: f"{folder}/{k}.npy" for k, c in enumerate(net.cells) if c.vth is not None}
        run(net, steps, dict(files), 1, args.unroll)
        for name, file in files.items():
            events = np.load(file)
            digests[name], counts[name] = digest(events[0], events[1]), events.shape[1]
    print(json.dumps({
        "version": version("lava-nc"), "ms": timed, "steps": steps, "counts": counts, "digests": digests,
        "note": "convolutions as lists" if args.unroll else "",
    }))
    sys.stdout.flush()
    # An ordinary end waits for processes that wait for each other.
    os._exit(0)


if __name__ == "__main__":
    main()
