"""Peer `brian2`: C++ standalone, one thread, float32 and float64; the time of the compiled program's run alone counts.

The synapses of every pair of populations add into `a`, which the next step takes up: the same order of events as in the integer network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import brian2 as b2
import numpy as np
from emulator_networks import Net, fan_out, load


def build(net: Net) -> tuple[b2.Network, dict[str, b2.SpikeMonitor]]:
    """Return the network and what counts its populations' spikes."""
    parts: list[object] = []
    groups, monitors = {}, {}
    for cells in net.cells:
        if cells.vth is None:
            step, neuron = np.nonzero(net.rasters[0])
            group = b2.SpikeGeneratorGroup(cells.size, neuron, step * b2.ms, name=f"c_{cells.name}")
        else:
            constants = {"alpha": (4095 - cells.du) / 4096, "beta": (4096 - cells.dv) / 4096, "vth": float(cells.vth << 6)}
            group = b2.NeuronGroup(
                cells.size, "u : 1\nv : 1\na : 1\nbias : 1", threshold="v > vth", reset="v = 0", namespace=constants,
                name=f"c_{cells.name}",
            )
            group.run_regularly("u = alpha * u + a\nv = beta * v + u + bias\na = 0", when="groups")
            group.v, group.bias = np.asarray(cells.start, float), np.asarray(cells.bias, float)
            monitors[cells.name] = b2.SpikeMonitor(group, record=False, name=f"m_{cells.name}")
        groups[cells.name] = group
        parts.append(group)
    for k, link in enumerate(net.links):
        pointer, targets, weights = fan_out(net, link)
        synapses = b2.Synapses(groups[link.source], groups[link.target], "w : 1", on_pre="a_post += w", name=f"s{k}")
        synapses.connect(i=np.repeat(np.arange(pointer.size - 1), np.diff(pointer)), j=targets)
        synapses.w = weights.astype(float) * 2.0 ** (6 + link.exponent)
        parts.append(synapses)
    return b2.Network(*parts, *monitors.values()), monitors


def main() -> None:
    """Build, compile, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--bits", type=int, choices=(32, 64), default=64)
    args = parser.parse_args()
    net = load(args.folder)
    with tempfile.TemporaryDirectory() as folder:
        b2.prefs.core.default_float_dtype = np.float32 if args.bits == 32 else np.float64
        b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
        b2.defaultclock.dt = 1 * b2.ms
        network, monitors = build(net)
        network.run(net.steps * b2.ms)
        device = b2.get_device()
        device.build(run=False, compile=True, directory=folder)
        taken = []
        for _ in range(args.repeat):
            device.run()
            taken.append(1e3 * device._last_run_time / net.steps)
        counts = {name: int(monitor.num_spikes) for name, monitor in monitors.items()}
    print(json.dumps({"version": b2.__version__, "ms": taken, "steps": net.steps, "counts": counts, "note": f"float{args.bits}"}))


if __name__ == "__main__":
    main()
