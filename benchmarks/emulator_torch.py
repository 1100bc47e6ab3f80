"""Peers on torch, CPU, one thread: `snntorch`, `norse` and `sinabs` in float32, and `torch` with the chip's integers written by hand.

A layer's spikes reach the next layer in the same step, as these frameworks do it; by hand they take a step, as on the chip. Gradients
are off.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from emulator_networks import Cells, Net, digest, load
from torch.nn.functional import avg_pool2d, conv2d, linear

Neuron = Callable[[torch.Tensor], torch.Tensor]
_PACKAGES = {"snntorch": "snntorch", "norse": "norse", "sinabs": "sinabs", "torch": "torch"}


def _snntorch(cells: Cells) -> Neuron:
    import snntorch

    neuron = snntorch.Synaptic((4095 - cells.du) / 4096, (4096 - cells.dv) / 4096, _limit(cells), reset_mechanism="zero", reset_delay=False)
    state: list[Any] = list(neuron.reset_mem())

    def step(a: torch.Tensor) -> torch.Tensor:
        spikes, *state[:] = neuron(a, *state)
        return spikes

    return step


def _norse(cells: Cells) -> Neuron:
    from norse.torch import LIFCell, LIFParameters

    mem = torch.as_tensor(cells.dv / 4096)
    neuron = LIFCell(
        LIFParameters(tau_syn_inv=torch.as_tensor((cells.du + 1) / 4096), tau_mem_inv=mem, v_th=torch.as_tensor(_limit(cells))), dt=1.0,
    )
    state: list[Any] = [None]

    def step(a: torch.Tensor) -> torch.Tensor:
        spikes, state[0] = neuron(a, state[0])
        return spikes

    return step


def _sinabs(cells: Cells) -> Neuron:
    import sinabs

    alpha, beta = (4095 - cells.du) / 4096, (4096 - cells.dv) / 4096
    return sinabs.layers.LIF(
        tau_mem=float(-1 / np.log(beta)), tau_syn=float(-1 / np.log(alpha)), spike_threshold=torch.tensor(_limit(cells)),
        reset_fn=sinabs.activation.MembraneReset(), norm_input=False,
    )


def _decayed(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Return x * factor / 2^12 rounded toward zero without leaving 32 bits."""
    size = x.abs()
    return ((size >> 12) * factor + (((size & 4095) * factor) >> 12)) * x.sign()


def _integer(cells: Cells) -> Neuron:
    state: list[Any] = [0, 0]

    def step(a: torch.Tensor) -> torch.Tensor:
        a = a.to(torch.int32) << 6
        if not isinstance(state[0], torch.Tensor):
            state[:] = [torch.zeros_like(a), torch.zeros_like(a)]
        state[0] = _decayed(state[0], 4095 - cells.du) + a
        v = (_decayed(state[1], 4096 - cells.dv) + state[0]).clamp(1 - (1 << 23), (1 << 23) - 1)
        fired = v > cells.vth << 6
        state[1] = v.masked_fill(fired, 0)
        return fired.to(torch.float32)

    return step


def _limit(cells: Cells) -> float:
    return float(cells.vth << 6)


_NEURONS = {"snntorch": _snntorch, "norse": _norse, "sinabs": _sinabs, "torch": _integer}


def _weights(net: Net, engine: str) -> list[torch.Tensor]:
    made = []
    for link in net.links:
        target = net[link.target]
        # By hand the sum is shifted afterwards; norse scales what arrives by the membrane's leak, sinabs by the current's decay.
        scale = {"torch": 1.0, "norse": 64 * 4096 / target.dv, "sinabs": 64 * 4096 / (4095 - target.du)}.get(engine, 64.0)
        made.append(torch.as_tensor(np.array(link.weights, np.float32) * np.float32(scale)))
    return made


def _apply(net: Net, k: int, weights: torch.Tensor, spikes: torch.Tensor) -> torch.Tensor:
    link = net.links[k]
    if link.pool > 1:
        spikes = avg_pool2d(spikes.unflatten(-1, net[link.source].shape), link.pool, divisor_override=1)
        if link.kind == "dense":
            spikes = spikes.flatten(1)
    elif link.kind == "conv":
        spikes = spikes.unflatten(-1, net[link.source].shape)
    if link.kind == "conv":
        return conv2d(spikes, weights, stride=link.stride, padding=link.padding).flatten(1)
    return linear(spikes, weights)


def _by_step(net: Net, engine: str, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the spikes of every population, (steps, batch, neurons)."""
    cells = [c for c in net.cells if c.vth is not None]
    neurons = {c.name: _NEURONS[engine](c) for c in cells}
    weights = _weights(net, engine)
    port, batch = net.cells[0].name, inputs.shape[1]
    sent = {c.name: torch.zeros(batch, c.size) for c in net.cells}
    record: dict[str, list[torch.Tensor]] = {c.name: [] for c in cells}
    for step in range(inputs.shape[0]):
        before = dict(sent)
        sent[port] = inputs[step]
        for c in cells:
            a = 0
            for k, link in enumerate(net.links):
                if link.target == c.name:
                    source = before if engine == "torch" or link.source == c.name else sent
                    a = a + _apply(net, k, weights[k], source[link.source])
            sent[c.name] = neurons[c.name](a)
            record[c.name].append(sent[c.name])
    return {name: torch.stack(spikes) for name, spikes in record.items()}


def _by_layer(net: Net, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """As `_by_step` for sinabs, which takes all steps of a layer at once."""
    weights, steps = _weights(net, "sinabs"), inputs.shape[0]
    sent = {net.cells[0].name: inputs.transpose(0, 1)}
    for k, link in enumerate(net.links):
        drive = _apply(net, k, weights[k], sent[link.source].flatten(0, 1)).unflatten(0, (-1, steps))
        sent[link.target] = _sinabs(net[link.target])(drive)
    return {c.name: sent[c.name].transpose(0, 1) for c in net.cells[1:]}


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", choices=sorted(_NEURONS), required=True)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 256])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    net = load(args.folder)
    told: dict[str, Any] = {"version": version(_PACKAGES[args.engine]), "steps": net.steps, "batches": {}}
    for batch in [b for b in args.batches if b <= net.rasters.shape[0]]:
        inputs = torch.as_tensor(net.rasters[:batch].astype(np.float32)).transpose(0, 1).contiguous()
        taken = []
        for turn in range(args.repeat + 1):
            begin = time.perf_counter()
            spikes = _by_layer(net, inputs) if args.engine == "sinabs" else _by_step(net, args.engine, inputs)
            if turn:
                # The first one allocates what the others use again.
                taken.append(1e3 * (time.perf_counter() - begin) / net.steps / batch)
        told["batches"][batch] = taken
        if batch == 1:
            told["counts"] = {name: int(values.sum()) for name, values in spikes.items()}
            if args.engine == "torch":
                told["digests"] = {name: digest(*np.nonzero(values[:, 0].numpy())) for name, values in spikes.items()}
    best = min(told["batches"], key=lambda batch: float(np.median(told["batches"][batch])))
    told["ms"], told["batch"] = told["batches"][best], best
    told["note"] = f"torch {torch.__version__}, {'integers' if args.engine == 'torch' else 'float32'}"
    print(json.dumps(told))


if __name__ == "__main__":
    main()
