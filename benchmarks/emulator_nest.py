"""Peer `nest`: `iaf_psc_exp` at a resolution of one step, one thread, float64.

Decays are the integer network's, and so is what one spike does to the voltage; a synaptic current acts one step later than there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import nest
import numpy as np
from emulator_networks import Cells, Net, fan_out, load


def _neurons(cells: Cells) -> nest.NodeCollection:
    alpha, beta = (4095 - cells.du) / 4096, (4096 - cells.dv) / 4096
    tau, synaptic = -1 / np.log(beta), -1 / np.log(alpha)
    # What a current of 1 pA adds to the voltage in one step, over the capacitance in pF, so that the capacitance makes it 1.
    gain = tau * synaptic / (tau - synaptic) * (beta - alpha)
    made = nest.Create("iaf_psc_exp", cells.size, {
        "tau_m": tau, "tau_syn_ex": synaptic, "tau_syn_in": synaptic, "C_m": gain, "E_L": 0.0, "V_reset": 0.0, "t_ref": 0.0,
        "V_th": float(cells.vth << 6),
    })
    # A constant current c adds c tau (1 - beta) / C_m per step.
    made.set(I_e=np.broadcast_to(cells.bias * (gain / (tau * (1 - beta))), (cells.size,)).astype(float))
    made.set(V_m=np.broadcast_to(np.asarray(cells.start, float), (cells.size,)))
    return made


def build(net: Net) -> dict[str, nest.NodeCollection]:
    """Make everything; return the neurons by population."""
    nodes: dict[str, nest.NodeCollection] = {}
    for cells in net.cells:
        if cells.vth is None:
            made = nest.Create("spike_generator", cells.size)
            for k in range(cells.size):
                times = np.flatnonzero(net.rasters[0, :, k]) + 1.0
                if times.size:
                    made[k].set(spike_times=times)
        else:
            made = _neurons(cells)
        nodes[cells.name] = made
    for link in net.links:
        pointer, targets, weights = fan_out(net, link)
        pre, post = (np.array(nodes[name].tolist(), np.int64) for name in (link.source, link.target))
        source = np.repeat(np.arange(pointer.size - 1), np.diff(pointer))
        scaled = weights.astype(np.float64) * 2.0 ** (6 + link.exponent)
        # In pieces: Connect keeps several copies of what it is given.
        for a in range(0, source.size, 5_000_000):
            part = slice(a, a + 5_000_000)
            nest.Connect(
                pre[source[part]], post[targets[part]], "one_to_one",
                {"synapse_model": "static_synapse", "weight": scaled[part], "delay": np.ones(source[part].size)},
            )
    return nodes


def main() -> None:
    """Build, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    net = load(args.folder)
    taken, counts = [], {}
    begin = time.perf_counter()
    for turn in range(args.repeat if net.synapses < 10_000_000 else 1):
        nest.ResetKernel()
        nest.verbosity = nest.VerbosityLevel.ERROR
        nest.set(resolution=1.0, local_num_threads=1)
        nodes = build(net)
        if turn == 0:
            made = time.perf_counter() - begin
            recorders = {name: nest.Create("spike_recorder") for name in nodes if net[name].vth is not None}
            for name, recorder in recorders.items():
                nest.Connect(nodes[name], recorder)
        with nest.RunManager():
            # Prepared outside the time; a recorder costs little, and only the first run has them.
            start = time.perf_counter()
            nest.Run(float(net.steps))
            taken.append(1e3 * (time.perf_counter() - start) / net.steps)
        if turn == 0:
            counts = {name: int(recorder.n_events) for name, recorder in recorders.items()}
    print(json.dumps({
        "version": nest.__version__, "ms": taken, "steps": net.steps, "counts": counts, "note": f"float64; built in {made:.1f} s",
    }))


if __name__ == "__main__":
    main()
